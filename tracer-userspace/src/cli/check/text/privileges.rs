//! What this process may do, in `check`.

use std::fmt;

use super::super::privileges::Standing;
use super::{Mark, Page, Report};
use crate::kernel::capabilities::{CAPABILITIES, Capabilities};
use crate::kernel::grants::Use;
use crate::sinks::text::Visible;

/// As many names fit into a line.
const FEW: usize = 6;

impl Page {
    pub(super) fn privileges(&mut self, report: &Report) -> fmt::Result {
        let host = &report.host;
        let held = host.capabilities;
        self.section(&format!("Privileges (user {})", host.uid))?;
        for standing in report.standings() {
            self.capability(&standing, held)?;
        }
        self.others(report)?;
        if let Some(remedy) = report.missed() {
            self.line(
                Mark::Neutral,
                "to add",
                format_args!("{}", Visible(&remedy)),
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
                    "not the host's: runtimes cannot be looked into (in a container: --pid=host)"
                ),
            )?;
        }
        Ok(())
    }

    fn capability(&mut self, standing: &Standing, held: Capabilities) -> fmt::Result {
        let Standing { capability, .. } = standing;
        let missed = standing.is_missed(held);
        let mark = match (standing.held, standing.use_here) {
            (true, _) => Mark::Ok,
            (false, Use::Required) if missed => Mark::Missing,
            (false, _) => Mark::Neutral,
        };
        let after = match (standing.held, standing.kept) {
            (true, Some(true)) => "; kept after attaching",
            (true, Some(false)) => "; given up after attaching",
            _ => "",
        };
        match (standing.held, standing.use_here) {
            // Nobody should go and get it.
            (false, Use::Needless(_)) => Ok(()),
            (true, Use::Needless(why)) => self.line(
                Mark::Neutral,
                capability.name,
                format_args!("not needed here: {why}{after}"),
            ),
            (true, _) => self.line(
                mark,
                capability.name,
                format_args!("{}{after}", capability.purpose),
            ),
            (false, Use::Wanted | Use::Required) => self.line(
                mark,
                capability.name,
                format_args!("not held: {}", capability.purpose),
            ),
        }
    }

    /// What is held besides, and for nothing.
    fn others(&mut self, report: &Report) -> fmt::Result {
        let named = CAPABILITIES
            .iter()
            .fold(Capabilities::default(), |set, it| set.and(it.number));
        let names = report.needless().without(named).names();
        let what = match names.len() {
            0 => return Ok(()),
            1..=FEW => names.join(", "),
            many => format!("{many} more"),
        };
        self.line(
            Mark::Neutral,
            "others",
            format_args!("{what}: held and not needed; given up after attaching"),
        )
    }
}
