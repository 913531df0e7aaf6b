//! The kernel's side of `check`.

use std::fmt;

use super::{Mark, Page, Report};
use crate::kernel::capabilities::CAP_SYS_RESOURCE;
use crate::kernel::host::Lockdown;
use crate::sinks::text::{Bytes, Visible};

impl Page {
    pub(super) fn kernel(&mut self, report: &Report) -> fmt::Result {
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
        self.limits(report)?;
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

    /// Settings that keep some programs from some users, each with what it means here.
    fn limits(&mut self, report: &Report) -> fmt::Result {
        let host = &report.host;
        if let Some(level) = host.unprivileged_bpf_disabled.filter(|level| *level != 0) {
            self.line(
                Mark::Neutral,
                "unprivileged BPF",
                format_args!(
                    "off (kernel.unprivileged_bpf_disabled={level}), and not needed: CAP_BPF does"
                ),
            )?;
        }
        if let Some(level) = host.perf_event_paranoid.filter(|level| *level > 2) {
            self.line(
                Mark::Neutral,
                "perf events",
                format_args!(
                    "only with CAP_SYS_ADMIN (kernel.perf_event_paranoid={level}); nothing but \
                     kprobes needs them"
                ),
            )?;
        }
        let locked = report.plan.as_ref().is_ok_and(|plan| plan.memory_is_locked);
        if !locked {
            return Ok(());
        }
        match host.memlock.hard {
            Some(limit) if limit < report.bounds.total() => {
                let may = host.capabilities.has(CAP_SYS_RESOURCE);
                self.line(
                    if may { Mark::Ok } else { Mark::Missing },
                    "locked memory",
                    format_args!(
                        "limited to {}{}",
                        Bytes(limit),
                        if may {
                            "; CAP_SYS_RESOURCE raises that"
                        } else {
                            ""
                        }
                    ),
                )
            }
            _ => self.line(
                Mark::Ok,
                "locked memory",
                format_args!("the limit is enough"),
            ),
        }
    }
}
