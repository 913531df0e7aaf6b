//! `check` for people: short sections, one line for each thing.

mod kernel;
mod privileges;

use std::fmt::{self, Write};

use super::Report;
use super::trial::VERIFIER_LIMIT;
use crate::kernel::cgroup_mounts::Hierarchy;
use crate::sinks::text::{Bytes, Nanos, Visible};

/// Width of the names at the left.
const NAME_WIDTH: usize = 20;
/// Maps smaller than this share one line.
const SMALL_MAP: u64 = 512 * 1024;

/// How a thing is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    Ok,
    Missing,
    /// Neither good nor bad.
    Neutral,
}

/// Writes lines.
struct Page {
    text: String,
    terminal: bool,
}

/// The report as text, with signs instead of words on a terminal.
pub fn render(report: &Report, terminal: bool) -> String {
    let mut page = Page {
        text: String::new(),
        terminal,
    };
    // Writing into a string cannot fail.
    let _ = page.report(report);
    page.text
}

impl Page {
    fn report(&mut self, report: &Report) -> fmt::Result {
        self.kernel(report)?;
        self.privileges(report)?;
        self.plan(report)?;
        self.programs(report)?;
        self.cgroups(report)?;
        self.runtimes(report)?;
        self.memory(report)?;
        self.result(report)
    }

    fn section(&mut self, title: &str) -> fmt::Result {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        writeln!(self.text, "{title}")
    }

    fn line(&mut self, mark: Mark, name: &str, text: fmt::Arguments<'_>) -> fmt::Result {
        let sign = match (mark, self.terminal) {
            (Mark::Ok, true) => "✓",
            (Mark::Missing, true) => "✗",
            (Mark::Neutral, true) => " ",
            (Mark::Ok, false) => "ok     ",
            (Mark::Missing, false) => "missing",
            (Mark::Neutral, false) => "       ",
        };
        let line = format!("  {sign} {name:NAME_WIDTH$} {text}");
        writeln!(self.text, "{}", line.trim_end())
    }

    fn detail(&mut self, text: &str) -> fmt::Result {
        self.line(Mark::Neutral, "", format_args!("{}", Visible(text)))
    }

    /// What the verifier made of the programs.
    fn programs(&mut self, report: &Report) -> fmt::Result {
        let Some(trial) = &report.trial else {
            return Ok(());
        };
        self.section("Programs")?;
        let ns = trial.programs.iter().map(|program| program.load_ns).sum();
        self.line(
            Mark::Ok,
            "loaded",
            format_args!("{} for a trial, in {}", trial.programs.len(), Nanos(ns)),
        )?;
        if let Some((name, count)) = trial.largest() {
            self.line(
                Mark::Neutral,
                "verifier",
                format_args!("{count} of {VERIFIER_LIMIT} instructions at most, for {name}"),
            )?;
        }
        for warning in trial.warnings() {
            self.line(Mark::Missing, "near the limit", format_args!("{warning}"))?;
        }
        Ok(())
    }

    fn plan(&mut self, report: &Report) -> fmt::Result {
        let Ok(plan) = &report.plan else {
            return Ok(());
        };
        self.section("Sources")?;
        let summary = plan.summary();
        for (signal, choice) in summary.signals.iter().zip(&plan.signals) {
            let mark = if choice.source.is_some() {
                Mark::Ok
            } else {
                Mark::Missing
            };
            self.line(
                mark,
                &signal.signal,
                format_args!("{}: {}", signal.source, signal.programs.join(", ")),
            )?;
            for note in &signal.notes {
                self.detail(&format!("- {note}"))?;
            }
        }
        Ok(())
    }

    fn cgroups(&mut self, report: &Report) -> fmt::Result {
        let layout = &report.host.cgroups;
        self.section("Cgroups")?;
        for (name, hierarchy) in [
            ("containers", layout.slots()),
            ("cpu controller", layout.with_controller("cpu")),
            ("memory controller", layout.with_controller("memory")),
        ] {
            match hierarchy {
                Some(hierarchy) => {
                    let mark = if hierarchy.mount.is_some() {
                        Mark::Ok
                    } else {
                        Mark::Missing
                    };
                    self.line(mark, name, format_args!("{}", place(hierarchy)))?;
                }
                None => self.line(Mark::Missing, name, format_args!("in no hierarchy"))?,
            }
        }
        Ok(())
    }

    fn runtimes(&mut self, report: &Report) -> fmt::Result {
        self.section("Container runtimes")?;
        let found: Vec<_> = report.sockets.iter().filter(|(.., found)| *found).collect();
        for (runtime, socket, _) in &found {
            let socket = socket.to_string_lossy();
            self.line(Mark::Ok, runtime, format_args!("{}", Visible(&socket)))?;
        }
        if found.is_empty() {
            self.line(
                Mark::Neutral,
                "no socket",
                format_args!("names come from cgroup paths: ids instead of container names"),
            )?;
        }
        Ok(())
    }

    fn memory(&mut self, report: &Report) -> fmt::Result {
        self.section(&format!(
            "Kernel memory, at most ({} cgroups, {} CPUs)",
            report.max_cgroups, report.host.possible_cpus
        ))?;
        let mut maps: Vec<_> = report.bounds.maps.iter().collect();
        maps.sort_by_key(|map| std::cmp::Reverse(map.bytes));
        let (large, small) = maps.split_at(maps.partition_point(|map| map.bytes >= SMALL_MAP));
        for map in large {
            self.line(
                Mark::Neutral,
                map.name,
                format_args!("{:>9}", Bytes(map.bytes)),
            )?;
        }
        let rest: u64 = small.iter().map(|map| map.bytes).sum();
        self.line(Mark::Neutral, "others", format_args!("{:>9}", Bytes(rest)))?;
        self.line(
            Mark::Neutral,
            "all",
            format_args!("{:>9}", Bytes(report.bounds.total())),
        )
    }

    fn result(&mut self, report: &Report) -> fmt::Result {
        if report.works() {
            return self.section("`limitscope run` works here.");
        }
        self.section("`limitscope run` does not work here:")?;
        for problem in &report.problems {
            writeln!(self.text, "  - {}", Visible(&problem.what))?;
            writeln!(self.text, "    {}", Visible(&problem.remedy))?;
        }
        Ok(())
    }
}

/// A hierarchy and its mount.
fn place(hierarchy: &Hierarchy) -> String {
    let label = hierarchy.label();
    match &hierarchy.mount {
        None => format!("{label}, not mounted where it could be seen"),
        Some(mount) => {
            let path = mount.path.to_string_lossy();
            let part = if mount.whole {
                ""
            } else {
                ", only a part of it"
            };
            format!("{label} at {}{part}", Visible(&path))
        }
    }
}
