//! The matrix as a person reads it, on the terminal and in the documentation.

use std::fmt::Write as _;

use super::{
    passes::SUITES,
    results::{Counts, GuestResults, Row, Signal},
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

fn rows(guests: &[GuestResults]) -> impl Iterator<Item = &Row> {
    guests.iter().flat_map(|guest| &guest.rows)
}

/// Lines of cells, each column as wide as its widest cell.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(String::len).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = (line.iter().zip(&widths))
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// Lines of cells as a table of Markdown; the first line is the heading.
fn markdown(lines: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(line.len()));
        }
    }
    text
}

fn heading(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn place(row: &Row) -> Vec<String> {
    heading(&[&row.kernel, row.cgroups.name(), row.pass.name()])
}

/// Tests that passed, by suite.
fn suites(guests: &[GuestResults]) -> Vec<Vec<String>> {
    let mut lines = vec![heading(&["kernel", "cgroup", "pass"])];
    lines[0].extend(SUITES.map(str::to_owned));
    lines[0].push("seconds".to_owned());
    for row in rows(guests) {
        let mut line = place(row);
        for suite in SUITES {
            let counts = row.suites.get(suite);
            line.push(counts.map_or_else(|| "-".to_owned(), |counts| counts.cell()));
        }
        line.push(format!("{:.0}", row.seconds));
        lines.push(line);
    }
    lines
}

fn planned(guest: &GuestResults) -> impl Iterator<Item = &Signal> {
    guest.check.plan.iter().flat_map(|plan| &plan.signals)
}

/// The source of each signal.
fn sources(guests: &[GuestResults]) -> Vec<Vec<String>> {
    let mut signals: Vec<&str> = Vec::new();
    for signal in guests.iter().flat_map(planned) {
        if !signals.contains(&signal.signal.as_str()) {
            signals.push(&signal.signal);
        }
    }
    let mut lines = vec![heading(&["kernel", "cgroup"])];
    lines[0].extend(signals.iter().map(|&signal| signal.to_owned()));
    for guest in guests {
        let mut line = heading(&[&guest.kernel, guest.cgroups.name()]);
        for signal in &signals {
            let found = planned(guest).find(|s| s.signal == **signal);
            line.push(found.map_or_else(|| "-".to_owned(), |signal| signal.source.clone()));
        }
        lines.push(line);
    }
    lines
}

/// The largest distance of each signal from its referee.
fn agreement(guests: &[GuestResults]) -> Vec<Vec<String>> {
    let mut signals: Vec<&str> = rows(guests)
        .flat_map(|row| row.agreement.keys().copied())
        .collect();
    signals.sort_unstable();
    signals.dedup();
    let mut lines = vec![heading(&["kernel", "cgroup", "pass"])];
    lines[0].extend(signals.iter().map(|signal| format!("{signal}, %")));
    for row in rows(guests) {
        let mut line = place(row);
        for signal in &signals {
            let told = row.agreement.get(signal);
            line.push(told.map_or_else(
                || "-".to_owned(),
                |(worst, number)| format!("{worst:+.3} ({number})"),
            ));
        }
        lines.push(line);
    }
    lines
}

/// What the verifier took for each program: instructions, and microseconds to load.
fn programs(guests: &[GuestResults]) -> Vec<Vec<String>> {
    let mut lines = vec![heading(&[
        "kernel",
        "cgroup",
        "program",
        "instructions verified",
        "load, µs",
    ])];
    for guest in guests {
        for program in &guest.check.programs {
            lines.push(vec![
                guest.kernel.clone(),
                guest.cgroups.name().to_owned(),
                program.name.clone(),
                program.verified_instructions.to_string(),
                (program.load_ns / 1000).to_string(),
            ]);
        }
    }
    lines
}

/// Why a source is not a better one.
fn notes(guests: &[GuestResults]) -> Vec<String> {
    let mut notes = Vec::new();
    for guest in guests {
        for signal in planned(guest) {
            for note in &signal.notes {
                notes.push(format!(
                    "{} cgroup {}, {}: {note}",
                    guest.kernel,
                    guest.cgroups.name(),
                    signal.signal
                ));
            }
        }
    }
    notes
}

/// For the terminal.
pub fn text(guests: &[GuestResults]) -> String {
    let mut text = String::from("\n=== kernel matrix: tests passed\n");
    text.push_str(&aligned(&suites(guests)));
    text.push_str("\nsources in use\n");
    text.push_str(&aligned(&sources(guests)));
    for note in notes(guests) {
        let _ = writeln!(text, "note: {note}");
    }
    let agreement = agreement(guests);
    if agreement[0].len() > 3 {
        text.push_str("\nlargest distance from the referee (of so many comparisons)\n");
        text.push_str(&aligned(&agreement));
    }
    let programs = programs(guests);
    if programs.len() > 1 {
        text.push_str("\nverifier\n");
        text.push_str(&aligned(&programs));
    }
    text.push('\n');
    for guest in guests {
        let boot = guest.boot_seconds.map_or_else(
            || "not booted".to_owned(),
            |s| format!("booted in {s:.1} s"),
        );
        let _ = writeln!(
            text,
            "{} cgroup {}: {boot}, {:.0} s in all",
            guest.kernel,
            guest.cgroups.name(),
            guest.wall_seconds
        );
    }
    text
}

/// For docs/kernel-support.md.
pub fn document(guests: &[GuestResults]) -> String {
    let mut text = String::from(
        "# Kernels\n\n\
         Written by `cargo xtask test --vm --write-docs`; do not edit it by hand.\n\n\
         Each row is a Debian cloud kernel under QEMU's software emulation with two CPUs. The \
         tests are those that run on a real machine, against the same referees: the kernel's own \
         log, files and counters.\n\n\
         ## Source of each signal\n\n\
         What `limitscope check` says, as root. `auto` below is this plan; the other passes force \
         a lower source.\n\n",
    );
    text.push_str(&markdown(&sources(guests)));
    text.push_str("\n## Tests passed\n\n");
    text.push_str(&markdown(&suites(guests)));
    text.push_str(
        "\n## Agreement\n\n\
         The largest distance from the referee in percent, of so many comparisons. On an \
         emulated CPU throttled time may be off by 3 %, and by 6 % for nested groups: the \
         kernel's own clock starts later there. Everything else has the bounds of a real CPU.\n\n",
    );
    text.push_str(&markdown(&agreement(guests)));
    let programs = programs(guests);
    if programs.len() > 1 {
        text.push_str("\n## Verifier\n\n");
        text.push_str(&markdown(&programs));
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
        let lines = [heading(&["a", "long"]), heading(&["word", "b"])];
        assert_eq!(aligned(&lines), "a     long\nword  b\n");
        assert_eq!(
            markdown(&lines),
            "| a | long |\n| --- | --- |\n| word | b |\n"
        );
    }
}
