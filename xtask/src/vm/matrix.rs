//! The matrix as a person reads it, on the terminal and in the documentation.

use std::fmt::Write as _;

use super::{
    agreement::Figure,
    guest,
    passes::{Pass, SUITES},
    results::{Counts, GuestResults, Row, Signal},
    table::{Lines, aligned, line, markdown},
    verifier,
};

impl Counts {
    fn cell(self) -> String {
        let mut cell = self.passed.to_string();
        if self.skipped > 0 {
            let _ = write!(cell, " ({} skipped)", self.skipped);
        }
        if self.failed > 0 {
            let _ = write!(cell, ", {} FAILED", self.failed);
        }
        cell
    }
}

fn place(row: &Row) -> Vec<String> {
    let pass = match row.cpus {
        guest::CPUS => row.pass.name().to_owned(),
        cpus => format!("{}, {cpus} CPUs", row.pass.name()),
    };
    line([&row.kernel, row.cgroups.name(), &pass])
}

/// Tests that passed, by suite.
fn suites(guests: &[GuestResults]) -> Lines {
    let mut lines = vec![line(["kernel", "cgroup", "pass"])];
    lines[0].extend(SUITES.map(str::to_owned));
    lines[0].push("seconds".to_owned());
    for row in guests.iter().flat_map(|guest| &guest.rows) {
        let mut cells = place(row);
        for suite in SUITES {
            let counts = row.suites.get(suite);
            cells.push(counts.map_or_else(|| "-".to_owned(), |counts| counts.cell()));
        }
        cells.push(format!("{:.0}", row.seconds));
        lines.push(cells);
    }
    lines
}

fn planned(guest: &GuestResults) -> impl Iterator<Item = &Signal> {
    guest.check.plan.iter().flat_map(|plan| &plan.signals)
}

/// The source that a pass takes a signal from.
fn source(guest: &GuestResults, pass: Pass, signal: &str) -> String {
    if let Some(forced) = pass.forced_source(signal) {
        return forced.to_owned();
    }
    let found = planned(guest).find(|planned| planned.signal == signal);
    found.map_or_else(|| "?".to_owned(), |signal| signal.source.clone())
}

/// Kernel, signal, source, and the comparison that was furthest from the referee.
fn agreement(guests: &[GuestResults]) -> Lines {
    let mut lines = vec![line(["kernel", "cgroup", "pass"])];
    let mut last = "";
    for figure in Figure::ALL {
        if figure.signal() != last {
            last = figure.signal();
            lines[0].push(format!("{last} from"));
        }
        lines[0].push(figure.title().to_owned());
    }
    for guest in guests {
        // Where nothing works there is nothing to compare.
        for row in guest.rows.iter().filter(|row| row.pass != Pass::Locked) {
            let mut cells = place(row);
            let mut last = "";
            for figure in Figure::ALL {
                let signal = figure.signal();
                let told = row.pass == Pass::Auto || row.pass.forced_source(signal).is_some();
                if signal != last {
                    last = signal;
                    let source = told.then(|| source(guest, row.pass, signal));
                    cells.push(source.unwrap_or_else(|| "-".to_owned()));
                }
                cells.push(row.agreement.cell(figure));
            }
            lines.push(cells);
        }
    }
    lines
}

/// The source of each signal where none is forced.
fn sources(guests: &[GuestResults]) -> Lines {
    let mut signals: Vec<&str> = Vec::new();
    for signal in guests.iter().flat_map(planned) {
        if !signals.contains(&signal.signal.as_str()) {
            signals.push(&signal.signal);
        }
    }
    let mut lines = vec![line(["kernel", "cgroup"])];
    lines[0].extend(signals.iter().map(|&signal| signal.to_owned()));
    for guest in guests.iter().filter(|guest| guest.check.plan.is_some()) {
        let mut cells = line([&guest.kernel, guest.cgroups.name()]);
        cells.extend(
            signals
                .iter()
                .map(|signal| source(guest, Pass::Auto, signal)),
        );
        lines.push(cells);
    }
    lines
}

/// Why a source is not a better one, each reason once, with the kernels that give it.
fn notes(guests: &[GuestResults]) -> Vec<String> {
    let mut notes: Vec<(String, Vec<String>)> = Vec::new();
    for guest in guests {
        let place = format!("{} {}", guest.kernel, guest.cgroups.name());
        for signal in planned(guest) {
            for note in &signal.notes {
                let text = format!("{}: {note}", signal.signal);
                match notes.iter_mut().find(|(known, _)| *known == text) {
                    Some((_, places)) => places.push(place.clone()),
                    None => notes.push((text, vec![place.clone()])),
                }
            }
        }
    }
    notes
        .into_iter()
        .map(|(text, places)| format!("{text} ({})", places.join(", ")))
        .collect()
}

/// For the terminal.
pub fn text(guests: &[GuestResults]) -> String {
    let mut text = String::from("\n=== kernel matrix: tests passed\n");
    text.push_str(&aligned(&suites(guests)));
    text.push_str(
        "\nsources, and the comparison furthest from the referee (of so many); counts as such\n",
    );
    text.push_str(&aligned(&agreement(guests)));
    for note in notes(guests) {
        let _ = writeln!(text, "note: {note}");
    }
    let programs = verifier::table(guests);
    if programs.len() > 1 {
        text.push_str("\nverifier: instructions gone through / ms to load\n");
        text.push_str(&aligned(&programs));
        for warning in verifier::warnings(guests) {
            let _ = writeln!(text, "WARNING: {warning}");
        }
    }
    text.push('\n');
    for guest in guests {
        let boot = guest.boot_seconds.map_or_else(
            || "not booted".to_owned(),
            |s| format!("booted in {s:.1} s"),
        );
        let _ = writeln!(
            text,
            "{}: {boot}, {:.0} s in all, {:.0} s of CPU time",
            guest.name, guest.wall_seconds, guest.cpu_seconds
        );
    }
    text
}

const CAPABILITIES: &str = "\n## Capabilities\n\n\
    | source | takes |\n\
    | --- | --- |\n\
    | `tracepoint`, `fentry`, `fexit` | `CAP_BPF` and `CAP_PERFMON`; before 5.11 `CAP_SYS_RESOURCE` \
    or enough locked memory |\n\
    | `kprobe`, `kretprobe` | The same, and `CAP_SYS_ADMIN` where `kernel.perf_event_paranoid` is 3, \
    as Debian has it |\n\
    | `cpu_stat` | Nothing but reading the files |\n\n\
    The suite `privileges` has the program run with exactly these, as a user without any other \
    right, and looks at what it still holds then. [Privileges](privileges.md) says what each is \
    for.\n";

/// For docs/kernel-support.md.
pub fn document(guests: &[GuestResults]) -> String {
    let mut text = String::from(
        "# Kernels\n\n\
         Written by `cargo xtask test --vm --write-docs`; do not edit it by hand.\n\n\
         Each row is a Debian cloud kernel under QEMU's software emulation with two CPUs, or as \
         many as it says. The tests are those that run on a real machine, against the same \
         referees: the kernel's own log, files and counters. The suites that begin with `machine` \
         run in guests alone: they use up all memory, take a CPU away, suspend, lock the kernel \
         down, and in guests with four and eight CPUs, on one kernel, look at what two are too few \
         for, as Go's defaults.\n\n\
         ## Source of each signal\n\n\
         What `limitscope check` says, as root. `auto` below is this plan, and so is `wide`; the \
         other passes force a lower source.\n\n",
    );
    text.push_str(&markdown(&sources(guests)));
    text.push_str("\n## Tests passed\n\n");
    text.push_str(&markdown(&suites(guests)));
    text.push_str(
        "\n## Agreement\n\n\
         The comparison that was furthest from the referee, of so many. Kills, periods and \
         switches are compared as numbers.\n\n",
    );
    text.push_str(&markdown(&agreement(guests)));
    text.push_str(CAPABILITIES);
    let programs = verifier::table(guests);
    if programs.len() > 1 {
        text.push_str(
            "\n## Verifier\n\nInstructions that the kernel's verifier goes through, of at most \
             1,000,000, and milliseconds to load, under emulation.\n\n",
        );
        text.push_str(&markdown(&programs));
        for warning in verifier::warnings(guests) {
            let _ = writeln!(text, "\n**Near the limit:** {warning}");
        }
    }
    let notes = notes(guests);
    if !notes.is_empty() {
        text.push_str("\n## Notes\n\n");
        for note in notes {
            let _ = writeln!(text, "- {note}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_say_what_is_not_good() {
        let counts = Counts {
            passed: 3,
            failed: 1,
            skipped: 2,
        };
        assert_eq!(counts.cell(), "3 (2 skipped), 1 FAILED");
    }
}
