//! A throttled interval.

use super::identity::{Level, SharedIdentity};

/// One interval in which one CPU's run queue of a cgroup stood still because a quota was used up.
#[derive(Clone, Debug)]
pub struct ThrottleEvent {
    /// A cgroup that was held up, where a thread was seen being parked; else the one whose quota
    /// ran out.
    pub container: SharedIdentity,
    /// The cgroup whose quota ran out (`throttle.cgroup`).
    pub quota_cgroup: SharedIdentity,
    /// What that cgroup stands for (`throttle.level`).
    pub level: Level,
    /// CPU.
    pub cpu: u32,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Quota in nanoseconds a period; `None` where it was removed meanwhile.
    pub quota_ns: Option<u64>,
    /// Period in nanoseconds.
    pub period_ns: u64,
    /// From the period's start to the interval's, in nanoseconds, where the period's start was
    /// seen.
    pub burn_ns: Option<u64>,
    /// Threads parked in it, as far as seen.
    pub threads: u32,
    /// Which source told it (`throttle.source`).
    pub source: &'static str,
}
