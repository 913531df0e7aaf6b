//! The page: limits, what it did, where its time went, findings, next step.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Around, Seen};
use crate::sinks::runtime;
use crate::sinks::text::{Bytes, Nanos, Visible};

/// Columns of a label.
const LABEL: usize = 18;

/// Puts the page together.
pub fn render(seen: &Seen, around: &Around) -> String {
    let mut page = Page(String::new());
    page.head(seen);
    page.limits(seen, around);
    page.did(seen, around);
    page.time(seen);
    page.processes(around);
    page.findings(seen);
    page.next(seen, around);
    page.0
}

struct Page(String);

impl Page {
    fn title(&mut self, title: &str) {
        self.0.push('\n');
        self.0.push_str(title);
        self.0.push('\n');
    }

    fn line(&mut self, label: &str, text: &dyn std::fmt::Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "  {label:<LABEL$}  {text}");
    }

    fn head(&mut self, seen: &Seen) {
        let _ = writeln!(self.0, "{}", Visible(&seen.cgroup));
        for (label, name) in &seen.names {
            self.line(label, &Visible(name));
        }
        self.line("seen for", &Nanos(seen.interval_ns));
    }

    fn limits(&mut self, seen: &Seen, around: &Around) {
        self.title("Limits");
        match &around.cpu_limit {
            Some(limit) => {
                let whose = if limit.own {
                    String::new()
                } else {
                    format!(", of {}", Visible(&limit.cgroup))
                };
                self.line(
                    "CPU",
                    &format_args!(
                        "{:.2} CPUs: {} in every {}{whose}",
                        limit.cpus,
                        Nanos(limit.quota_us * 1000),
                        Nanos(limit.period_us * 1000)
                    ),
                );
            }
            None => self.line("CPU", &"none"),
        }
        match around.memory_limit {
            Some(limit) => self.line("memory", &Bytes(limit)),
            None => self.line("memory", &"none"),
        }
        for kill in &seen.kills {
            self.line("OOM kill", &Visible(text(kill, "oom.summary")));
            self.line("", &Visible(text(kill, "oom.verdict_reason")));
        }
    }

    fn did(&mut self, seen: &Seen, around: &Around) {
        self.title("What it did");
        let interval = seen.interval_ns.max(1) as f64;
        let cpus = seen.cpu_ns as f64 / interval;
        let share = around.cpu_limit.as_ref().map_or_else(String::new, |limit| {
            format!(", {:.0} % of the limit", cpus * 100.0 / limit.cpus)
        });
        self.line("CPU time", &format_args!("{cpus:.2} CPUs{share}"));
        self.line("threads", &seen.threads);
        let [voluntary, involuntary] = seen.switches.map(|count| count as f64 * 1e9 / interval);
        self.line(
            "context switches",
            &format_args!("{voluntary:.0}/s voluntary, {involuntary:.0}/s involuntary"),
        );
        if let Some(memory) = &around.memory {
            let held = memory.held_bytes();
            let share = around.memory_limit.map_or_else(String::new, |limit| {
                format!(
                    " ({:.0} % of the limit)",
                    held as f64 * 100.0 / limit.max(1) as f64
                )
            });
            self.line(
                "memory",
                &format_args!(
                    "{} in use, of which {}{share} cannot be given back",
                    Bytes(memory.current_bytes),
                    Bytes(held)
                ),
            );
        }
    }

    /// Of the time in which its threads ran or wanted to. Waits are named by what ran instead.
    fn time(&mut self, seen: &Seen) {
        self.title("Where its threads' time went");
        let all = seen.cpu_ns + seen.wait_ns + seen.throttled_wait_ns;
        for (label, part) in [
            ("running", seen.cpu_ns),
            ("waiting for own", seen.wait_own_ns),
            ("waiting for others", seen.wait_others_ns),
            (
                "waking up",
                seen.wait_ns
                    .saturating_sub(seen.wait_own_ns)
                    .saturating_sub(seen.wait_others_ns),
            ),
            (
                "its own limit",
                seen.throttled_wait_ns.saturating_sub(seen.ancestor_wait_ns),
            ),
            ("a limit above it", seen.ancestor_wait_ns),
        ] {
            let share = part as f64 * 100.0 / all.max(1) as f64;
            self.line(
                label,
                &format_args!("{:>7}  {share:>5.1} %", Nanos(part).to_string()),
            );
        }
        if let Some((worst, ns)) = seen.neighbours.iter().max_by_key(|(_, ns)| **ns) {
            let share = *ns as f64 * 100.0 / seen.wait_others_ns.max(1) as f64;
            self.line(
                "worst neighbour",
                &format_args!("{}, {share:.0} % of the waiting for others", Visible(worst)),
            );
        }
        self.line(
            "99 % of waits",
            &format_args!("below {}", Nanos(seen.worst_p99_ns)),
        );
        if seen.throttled_periods > 0 || seen.frozen_ns > 0 {
            self.line(
                "stood still",
                &format_args!(
                    "{} of {}; {} of {} periods ended throttled",
                    Nanos(seen.frozen_ns),
                    Nanos(seen.interval_ns),
                    seen.throttled_periods,
                    seen.periods
                ),
            );
        }
        if seen.burn_periods > 0 {
            let [lasted, cpus] = seen.burn.map(|sum| sum / seen.burn_periods as f64);
            self.line(
                "quota gone after",
                &format_args!(
                    "{} of a period, burned on {cpus:.1} CPUs",
                    Nanos(lasted as u64)
                ),
            );
        }
    }

    fn processes(&mut self, around: &Around) {
        if around.processes.is_empty() {
            return;
        }
        self.title("Its busiest processes");
        for process in &around.processes {
            let mut bytes = Vec::new();
            // Writing to memory does not fail.
            let _ = runtime::write_text(&mut bytes, process);
            for line in String::from_utf8_lossy(&bytes).lines() {
                let _ = writeln!(self.0, "  {line}");
            }
        }
    }

    fn findings(&mut self, seen: &Seen) {
        self.title("Findings");
        if seen.findings.is_empty() {
            self.0.push_str("  none\n");
        }
        if seen.look_awaited {
            self.0.push_str(
                "  its processes have not been looked into yet: what follows from their threads is \
                 not known\n",
            );
        }
        for finding in &seen.findings {
            let _ = writeln!(
                self.0,
                "  {} ({}, confidence {})",
                Visible(text(finding, "finding.kind")),
                Visible(text(finding, "finding.severity")),
                Visible(text(finding, "finding.confidence"))
            );
            let _ = writeln!(self.0, "    {}", Visible(text(finding, "finding.summary")));
        }
    }

    fn next(&mut self, seen: &Seen, around: &Around) {
        self.title("Next");
        let rank = |finding: &&Value| match text(finding, "finding.severity") {
            "critical" => 2,
            "warning" => 1,
            _ => 0,
        };
        let mut findings: Vec<&Value> = seen.findings.iter().collect();
        findings.sort_by_key(|finding| std::cmp::Reverse(rank(finding)));
        let kills = seen
            .kills
            .iter()
            .map(|kill| text(kill, "oom.recommendation"));
        let advice = findings
            .iter()
            .map(|finding| text(finding, "finding.recommendation"));
        let steps: Vec<&str> = kills.chain(advice).collect();
        for (number, step) in steps.iter().enumerate() {
            let _ = writeln!(self.0, "  {}. {}", number + 1, Visible(step));
        }
        if steps.is_empty() {
            let why = if seen.look_awaited {
                "trace for longer (--duration 2m): its processes have not been looked into yet"
            } else if around.cpu_limit.is_none() && around.memory_limit.is_none() {
                "it has no limit to be measured against"
            } else {
                "nothing to set; trace for longer, or while it is slow (--duration 2m)"
            };
            let _ = writeln!(self.0, "  {why}");
        }
    }
}

fn text<'a>(line: &'a Value, key: &str) -> &'a str {
    line[key].as_str().unwrap_or_default()
}
