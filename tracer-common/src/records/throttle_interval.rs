//! One interval in which one run queue of a cgroup was throttled.

use crate::header::{CgroupKey, RecordHeader};

/// Seen at the expiry of the bandwidth timers and at the calls that they send to other CPUs.
pub const THROTTLE_SOURCE_TIMER: u32 = 1;
/// Seen at entry and exit of `unthrottle_cfs_rq`.
pub const THROTTLE_SOURCE_FEXIT: u32 = 2;
/// The end itself was not seen; a later context switch on the same run queue showed it. The
/// duration is an upper bound.
pub const THROTTLE_SOURCE_SWITCH: u32 = 3;

/// Seen at entry and return of `unthrottle_cfs_rq` by kprobe and kretprobe.
pub const THROTTLE_SOURCE_KRETPROBE: u32 = 4;

/// One throttled interval of one CPU's run queue of one cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleInterval {
    /// Kind [`super::KIND_THROTTLE_INTERVAL`]; its time is the interval's end.
    pub header: RecordHeader,
    /// The cgroup whose quota ran out.
    pub quota_cgroup: CgroupKey,
    /// A cgroup whose threads were held up, itself or a descendant; none if no thread was seen.
    pub held_cgroup: CgroupKey,
    /// Length by the run queue's clock: `rq->clock` at the end less `cfs_rq->throttled_clock`,
    /// the difference that the kernel itself adds to `throttled_time`
    /// (`kernel/sched/fair.c`, `unthrottle_cfs_rq`).
    pub duration_ns: u64,
    /// `cfs_bandwidth.quota` in nanoseconds; `u64::MAX` is none.
    pub quota_ns: u64,
    /// `cfs_bandwidth.period` in nanoseconds.
    pub period_ns: u64,
    /// From the start of the period to the start of the interval: how long the quota lasted.
    /// `u64::MAX` where the period's start was not seen.
    pub burn_ns: u64,
    /// CPU whose run queue it is (the header's CPU is the one that ended it).
    pub cpu: u32,
    /// Threads that were parked in it, as far as they were seen leaving the CPU.
    pub threads: u32,
    /// One of the `THROTTLE_SOURCE_` constants.
    pub source: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<ThrottleInterval>() == 24 + 2 * 16 + 4 * 8 + 4 * 4);
