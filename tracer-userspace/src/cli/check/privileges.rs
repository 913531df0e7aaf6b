//! Each capability that matters: whether it is held, what for, and what becomes of it.

use super::Report;
use crate::kernel::capabilities::{CAP_SYS_ADMIN, CAPABILITIES, Capabilities, Capability};
use crate::kernel::grants::{self, Use};

/// One capability here.
pub struct Standing {
    /// Which.
    pub capability: Capability,
    /// Whether it is effective.
    pub held: bool,
    /// Its use here.
    pub use_here: Use,
    /// Whether `run` holds it after attaching, where the trial showed that.
    pub kept: Option<bool>,
}

impl Standing {
    /// Whether something is missing because it is not held.
    pub fn is_missed(&self, held: Capabilities) -> bool {
        match self.use_here {
            Use::Required => !self.held && !held.may_trace(),
            Use::Wanted => !self.held,
            Use::Needless(_) => false,
        }
    }
}

impl Report {
    /// The capabilities that matter, the needed ones first.
    pub(super) fn standings(&self) -> Vec<Standing> {
        let held = self.host.capabilities;
        let plan = self.plan.as_ref().ok();
        let kept = self.trial.as_ref().and_then(|trial| trial.kept);
        let standing = |capability: Capability| Standing {
            capability,
            held: held.has(capability.number),
            use_here: match capability.number {
                // Held alone it stands in for what is required.
                CAP_SYS_ADMIN if stands_in(held) => Use::Wanted,
                _ => grants::use_of(&capability, &self.host, plan, self.bounds.total()),
            },
            kept: kept.map(|kept| kept.has(capability.number)),
        };
        CAPABILITIES.into_iter().map(standing).collect()
    }

    /// How to get what is missed; `None` where nothing is.
    pub(super) fn missed(&self) -> Option<String> {
        let held = self.host.capabilities;
        let missed = self
            .standings()
            .iter()
            .filter(|standing| standing.is_missed(held))
            .fold(Capabilities::default(), |set, standing| {
                set.and(standing.capability.number)
            });
        (missed != Capabilities::default()).then(|| grants::remedy(&self.host, missed))
    }

    /// Held capabilities that nothing here needs.
    pub(super) fn needless(&self) -> Capabilities {
        let plan = self.plan.as_ref().ok();
        grants::needless(&self.host, plan, self.bounds.total())
    }
}

fn stands_in(held: Capabilities) -> bool {
    use crate::kernel::capabilities::{CAP_BPF, CAP_PERFMON};

    held.has(CAP_SYS_ADMIN) && !(held.has(CAP_BPF) && held.has(CAP_PERFMON))
}
