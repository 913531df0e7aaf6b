//! The page that a person reads after a demo.

mod layout;

use std::fmt::{self, Write as _};

use crate::sinks::{
    pretty::Styles,
    text::{Bytes, Nanos, Visible},
};

use super::{
    MEMORY_LIMIT, PERIOD_US, QUOTA_US, THREADS,
    outcome::Outcome,
    seen::{Kill, Seen},
};

use layout::{INDENT, Page};

/// What is about to happen.
pub fn introduction(styles: Styles, seconds: f64, cgroups: &str) -> Result<String, fmt::Error> {
    let mut page = Page::new(styles);
    page.paragraph(
        0,
        &format!(
            "Three small containers, each a process in a cgroup ({cgroups}) of its own, are traced \
             for {seconds} s:"
        ),
    )?;
    let quota = Nanos(QUOTA_US * 1000);
    let period = Nanos(PERIOD_US * 1000);
    for (name, what) in [
        (
            "leaking",
            format!("takes more and more memory; limit {}", Bytes(MEMORY_LIMIT)),
        ),
        (
            "burning",
            format!("{THREADS} busy threads; CPU quota {quota} in each {period}, half a CPU"),
        ),
        (
            "quiet",
            "wakes ten times a second and does next to nothing".to_owned(),
        ),
    ] {
        let bold = page.styles.bold;
        writeln!(page.text, "{:INDENT$}{bold}{name:<9}{bold:#}{what}", "")?;
    }
    Ok(page.text)
}

/// What was seen.
pub fn result(styles: Styles, outcome: &Outcome) -> Result<String, fmt::Error> {
    let mut page = Page::new(styles);
    page.leaking(outcome)?;
    page.burning(outcome)?;
    page.quiet(outcome)?;
    page.end(outcome)?;
    Ok(page.text)
}

impl Page {
    fn leaking(&mut self, outcome: &Outcome) -> fmt::Result {
        let error = self.styles.error;
        let Some(kill) = outcome.leaking.kills.first() else {
            return self.headline("leaking", "no OOM kill was seen", error);
        };
        self.headline(
            "leaking",
            "killed by the kernel, its memory limit was reached",
            error,
        )?;
        let summary = Visible(&kill.summary).to_string();
        self.paragraph(INDENT, &capitalised(&summary))?;
        self.text.push('\n');
        self.line("It held", &held(kill))?;
        let growth = outcome.leaking.growth_bytes_per_second;
        self.line(
            "It grew",
            &format!(
                "up to {} a second, and lived for {}",
                Bytes(growth as u64),
                Nanos(outcome.lived_ns)
            ),
        )?;
        self.line(
            "Whose limit",
            &format!(
                "{}: {}, all of it used ({}). {}",
                Visible(&kill.limit_cgroup),
                Bytes(kill.limit_bytes),
                Bytes(kill.usage_bytes),
                scope(kill)
            ),
        )?;
        self.line(
            "Exit code",
            &format!(
                "{}, which is all that a container's status shows: 128 and signal 9, and anybody \
                 may have sent that",
                outcome.exit_code
            ),
        )?;
        let kills = outcome.leaking.kills.len() as u64;
        self.comparison(
            outcome.oom_kills_file,
            &[(
                "OOM kills",
                kills.to_string(),
                outcome.oom_kills.to_string(),
                counts(kills, outcome.oom_kills),
            )],
        )?;
        // Of the same length as the life so far, as the growth is even.
        self.advice(&format!(
            "Find what grows. A higher limit alone buys time: {} more would have lasted another \
             {}. If the memory is really needed, set the limit above the largest need.",
            Bytes(kill.limit_bytes),
            Nanos(outcome.lived_ns)
        ))
    }

    fn burning(&mut self, outcome: &Outcome) -> fmt::Result {
        let seen = &outcome.burning;
        if seen.summed_ns == 0 {
            let error = self.styles.error;
            return self.headline("burning", "no throttling was seen", error);
        }
        let busy = outcome.busy_ns.max(1);
        let share = percent(seen.frozen_ns, busy);
        self.headline(
            "burning",
            &format!("over its CPU quota, at a standstill for {share} of the time"),
            self.styles.warning,
        )?;
        self.line(
            "Quota",
            &format!(
                "{} of CPU time in each period of {}",
                Nanos(QUOTA_US * 1000),
                Nanos(PERIOD_US * 1000)
            ),
        )?;
        self.burned(outcome)?;
        self.line(
            "Frozen",
            &format!(
                "{} of {} on the clock, in which not one of its threads could run",
                Nanos(seen.frozen_ns),
                Nanos(busy)
            ),
        )?;
        let note = if seen.summed_ns > seen.frozen_ns.saturating_add(seen.frozen_ns / 10) {
            "the same standstill counted once on each CPU, as cpu.stat does; not a length of time"
        } else {
            "as cpu.stat counts it, on each CPU by itself"
        };
        self.line(
            "Throttled",
            &format!(
                "{} summed over {}: {note}",
                Nanos(seen.summed_ns),
                plural(seen.cpus.len() as u64, "CPU")
            ),
        )?;
        self.line(
            "CPU time",
            &format!(
                "{}, {:.2} CPUs on average",
                Nanos(seen.cpu_time_ns),
                seen.cpu_time_ns as f64 / busy as f64
            ),
        )?;
        self.quota_comparison(outcome)?;
        let quota = QUOTA_US as f64 / PERIOD_US as f64;
        let fitting = quota.ceil() as u64;
        let usable = u64::from(outcome.cpus).min(THREADS);
        self.advice(&format!(
            "Run as many threads as the quota feeds: {fitting} here (GOMAXPROCS={fitting}, \
             -XX:ActiveProcessorCount={fitting}, a pool of {fitting}). The work done stays the \
             same, and the pauses get shorter. If it needs more CPU time, raise the limit from \
             {quota} CPUs; {} would never be throttled on this machine.",
            plural(usable, "CPU")
        ))
    }

    fn burned(&mut self, outcome: &Outcome) -> fmt::Result {
        let Some(burn) = outcome.burning.burn_ns() else {
            return Ok(());
        };
        let stand = (PERIOD_US * 1000).saturating_sub(burn);
        self.line(
            "Used up in",
            &format!(
                "{} (the middle one of all periods): {THREADS} threads on {} spend it together, \
                 then all stand still for the other {}",
                Nanos(burn),
                plural(outcome.burning.cpus.len() as u64, "CPU"),
                Nanos(stand)
            ),
        )
    }

    fn quota_comparison(&mut self, outcome: &Outcome) -> fmt::Result {
        let (seen, kernel) = (&outcome.burning, &outcome.cpu_stat);
        self.comparison(
            "cpu.stat",
            &[
                (
                    "throttled time",
                    seconds(seen.summed_ns),
                    seconds(kernel.throttled_ns),
                    times(seen.summed_ns, kernel.throttled_ns),
                ),
                (
                    "throttled periods",
                    seen.throttled_periods.to_string(),
                    kernel.throttled_periods.to_string(),
                    counts(seen.throttled_periods, kernel.throttled_periods),
                ),
            ],
        )
    }

    fn quiet(&mut self, outcome: &Outcome) -> fmt::Result {
        let seen = &outcome.quiet;
        let untouched = seen.kills.is_empty() && seen.summed_ns == 0;
        let (what, style) = if untouched {
            ("nothing killed, nothing throttled", self.styles.good)
        } else {
            ("not as quiet as it should be", self.styles.warning)
        };
        self.headline("quiet", what, style)?;
        self.line("It did", &switches(seen))?;
        if let Some(wait) = seen.waits.quantile(0.99) {
            self.line(
                "It waited",
                &format!(
                    "{} or less for a CPU in 99 of 100 cases, with the busy neighbour on the same \
                     CPUs",
                    Nanos(wait)
                ),
            )?;
        }
        self.line("Memory", &format!("{} at most", Bytes(seen.memory_bytes)))
    }

    fn end(&mut self, outcome: &Outcome) -> fmt::Result {
        self.text.push('\n');
        let agent = &outcome.agent;
        let cost = agent.cpu_ratio().map_or_else(String::new, |ratio| {
            format!(
                " limitscope itself took {:.1} % of one CPU and {} of memory.",
                ratio * 100.0,
                Bytes(agent.resident_bytes)
            )
        });
        let lost = if agent.lost == 0 {
            "Nothing was lost on the way.".to_owned()
        } else {
            format!("{} were lost on the way.", plural(agent.lost, "record"))
        };
        self.paragraph(
            0,
            &format!("{lost}{cost} The cgroups and processes are gone again."),
        )?;
        self.paragraph(
            0,
            "Next: `limitscope run --format pretty` shows your own containers, `limitscope run` \
             the same as JSON lines.",
        )
    }
}

fn held(kill: &Kill) -> String {
    let mut parts = vec![
        format!("{} anonymous", Bytes(kill.anon_bytes)),
        format!("{} in files", Bytes(kill.file_bytes)),
        format!("{} shared", Bytes(kill.shmem_bytes)),
        format!("{} swapped", Bytes(kill.swap_bytes)),
    ];
    if let Some(tables) = kill.page_tables_bytes {
        parts.push(format!("{} page tables", Bytes(tables)));
    }
    parts.join(", ")
}

fn scope(kill: &Kill) -> &'static str {
    if kill.scope == "memory_cgroup" {
        "The machine itself had memory left"
    } else {
        "The machine itself was out of memory"
    }
}

fn switches(seen: &Seen) -> String {
    let all = seen.voluntary + seen.involuntary;
    format!(
        "{} of CPU time in {}, {} of them of its own will",
        Nanos(seen.cpu_time_ns),
        plural(all, "turn"),
        seen.voluntary
    )
}

fn capitalised(text: &str) -> String {
    let mut characters = text.chars();
    characters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(characters).collect()
    })
}

fn plural(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.0} %", part as f64 * 100.0 / whole as f64)
}

/// Seconds with as many decimals as the comparison is about.
fn seconds(nanoseconds: u64) -> String {
    format!("{:.6} s", nanoseconds as f64 / 1e9)
}

fn counts(ours: u64, kernels: u64) -> String {
    match ours.abs_diff(kernels) {
        0 => "equal".to_owned(),
        difference if ours > kernels => format!("{difference} more"),
        difference => format!("{difference} fewer"),
    }
}

fn times(ours: u64, kernels: u64) -> String {
    if ours == kernels {
        return "equal".to_owned();
    }
    let percent = (ours as f64 - kernels as f64) * 100.0 / kernels.max(1) as f64;
    if percent.abs() < 0.0005 {
        "equal to 0.001 %".to_owned()
    } else {
        format!("{percent:+.3} %")
    }
}

#[cfg(test)]
mod tests;
