//! [`KillSignal`]: somebody sent a process SIGKILL.

use tracer_common::{
    header::CgroupKey,
    records::{KILL_FLAG_FIRST, KillSignal},
};

use super::text;
use crate::model::exit::Killer;

/// A SIGKILL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentKill {
    /// Monotonic time in nanoseconds.
    pub monotonic_ns: u64,
    /// Cgroup of the process that it goes to.
    pub cgroup: Option<CgroupKey>,
    /// Whether that process is the first of its PID namespace.
    pub to_first: bool,
    /// Who sent it.
    pub sender: Killer,
}

/// Decodes the record.
pub fn decode(record: &KillSignal) -> SentKill {
    SentKill {
        monotonic_ns: record.header.monotonic_ns,
        cgroup: (!record.cgroup.is_none()).then_some(record.cgroup),
        to_first: record.flags & KILL_FLAG_FIRST != 0,
        sender: Killer {
            pid: record.sender_tgid,
            command: text(&record.sender_comm),
        },
    }
}
