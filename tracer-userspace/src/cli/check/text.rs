//! `check` for people: short sections, one line for each thing.

use std::fmt::{self, Write};

use super::Report;
use crate::kernel::capabilities::{CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAPABILITIES};
use crate::kernel::cgroup_mounts::Hierarchy;
use crate::kernel::host::Lockdown;
use crate::sinks::text::{Bytes, Visible};

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

    fn kernel(&mut self, report: &Report) -> fmt::Result {
        let host = &report.host;
        self.section("Kernel")?;
        self.line(
            Mark::Neutral,
            "release",
            format_args!(
                "{}; {} of {} possible CPUs online, pages of {}",
                Visible(&host.kernel_release),
                host.online_cpus,
                host.possible_cpus,
                Bytes(host.page_size)
            ),
        )?;
        match (&report.plan, host.btf_bytes) {
            (Ok(_), Some(bytes)) => {
                self.line(Mark::Ok, "types (BTF)", format_args!("{}", Bytes(bytes)))?;
            }
            (Ok(_), None) => self.line(Mark::Ok, "types (BTF)", format_args!(""))?,
            (Err(error), _) => self.line(Mark::Missing, "types (BTF)", format_args!("{error}"))?,
        }
        let locked = host.lockdown == Lockdown::Confidentiality;
        self.line(
            if locked { Mark::Missing } else { Mark::Ok },
            "lockdown",
            format_args!(
                "{}",
                match host.lockdown {
                    Lockdown::Unknown => "none that this machine shows",
                    other => other.name(),
                }
            ),
        )?;
        match host.functions.fexit {
            Some(true) => self.line(Mark::Ok, "fentry and fexit", format_args!("work"))?,
            Some(false) => self.line(
                Mark::Neutral,
                "fentry and fexit",
                format_args!("not on this kernel"),
            )?,
            None => {}
        }
        match &host.functions.kprobe {
            Some(Ok(())) => self.line(Mark::Ok, "kprobes", format_args!("work"))?,
            Some(Err(why)) => {
                self.line(Mark::Neutral, "kprobes", format_args!("{}", Visible(why)))?;
            }
            None => {}
        }
        match &host.tracefs {
            Some(path) => self.line(
                Mark::Neutral,
                "tracefs",
                format_args!("{} (not needed)", Visible(&path.to_string_lossy())),
            )?,
            None => self.line(
                Mark::Neutral,
                "tracefs",
                format_args!("not mounted, and not needed"),
            )?,
        }
        if host.bpf_stats_enabled == Some(1) {
            self.line(Mark::Ok, "own cost", format_args!("measured by the kernel"))
        } else {
            self.line(
                Mark::Neutral,
                "own cost",
                format_args!("not measured; to see it: sysctl kernel.bpf_stats_enabled=1"),
            )
        }
    }

    fn privileges(&mut self, report: &Report) -> fmt::Result {
        let host = &report.host;
        let held = host.capabilities;
        self.section(&format!("Privileges (user {})", host.uid))?;
        for capability in &CAPABILITIES {
            let has = held.has(capability.number);
            let mark = match (has, capability.required) {
                (true, _) => Mark::Ok,
                (false, true) if !held.may_trace() => Mark::Missing,
                (false, _) => Mark::Neutral,
            };
            let needless = match capability.number {
                // Only a stand-in: nobody should go and get it.
                CAP_SYS_ADMIN => true,
                CAP_SYS_RESOURCE => report
                    .plan
                    .as_ref()
                    .is_ok_and(|plan| !plan.memory_is_locked),
                _ => false,
            };
            if needless && !has {
                continue;
            }
            let absent = if has || mark == Mark::Missing {
                ""
            } else {
                "not held: "
            };
            self.line(
                mark,
                capability.name,
                format_args!("{absent}{}", capability.purpose),
            )?;
        }
        if !host.initial_user_namespace {
            self.line(
                Mark::Missing,
                "user namespace",
                format_args!("not the host's: capabilities do not count for BPF"),
            )?;
        }
        if !host.initial_pid_namespace {
            self.line(
                Mark::Neutral,
                "PID namespace",
                format_args!(
                    "not the host's: command lines cannot be read (in a container: --pid=host)"
                ),
            )?;
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
            self.line(Mark::Ok, runtime, format_args!("{socket}"))?;
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
