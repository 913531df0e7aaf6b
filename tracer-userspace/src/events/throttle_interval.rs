//! [`ThrottleInterval`]: one throttled interval.

use tracer_common::{
    header::CgroupKey,
    records::{
        KIND_THROTTLE_INTERVAL, THROTTLE_SOURCE_FEXIT, THROTTLE_SOURCE_KRETPROBE,
        THROTTLE_SOURCE_SWITCH, THROTTLE_SOURCE_TIMER, ThrottleInterval,
    },
};

use super::DecodeError;

/// One throttled interval of one CPU's run queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// Monotonic time of its end in nanoseconds.
    pub monotonic_ns: u64,
    /// The cgroup whose quota ran out.
    pub quota_cgroup: CgroupKey,
    /// A cgroup whose threads were seen being held up.
    pub held_cgroup: Option<CgroupKey>,
    /// Length in nanoseconds.
    pub duration_ns: u64,
    /// Quota in nanoseconds, unless it was removed meanwhile.
    pub quota_ns: Option<u64>,
    /// Period in nanoseconds.
    pub period_ns: u64,
    /// From the period's start to the interval's, in nanoseconds.
    pub burn_ns: Option<u64>,
    /// CPU.
    pub cpu: u32,
    /// Threads that were parked.
    pub threads: u32,
    /// Name of the source.
    pub source: &'static str,
}

/// Name of a source in the output (`throttle.source`).
pub const fn source_name(source: u32) -> Option<&'static str> {
    match source {
        THROTTLE_SOURCE_TIMER => Some("tracepoint"),
        THROTTLE_SOURCE_FEXIT => Some("fexit"),
        THROTTLE_SOURCE_KRETPROBE => Some("kretprobe"),
        THROTTLE_SOURCE_SWITCH => Some("tracepoint_late"),
        _ => None,
    }
}

/// Decodes the record.
pub fn decode(record: &ThrottleInterval) -> Result<Interval, DecodeError> {
    let source = source_name(record.source).ok_or(DecodeError::Impossible {
        kind: KIND_THROTTLE_INTERVAL,
        member: "source",
        value: u64::from(record.source),
    })?;
    Ok(Interval {
        monotonic_ns: record.header.monotonic_ns,
        quota_cgroup: record.quota_cgroup,
        held_cgroup: (!record.held_cgroup.is_none()).then_some(record.held_cgroup),
        duration_ns: record.duration_ns,
        quota_ns: (record.quota_ns != u64::MAX).then_some(record.quota_ns),
        period_ns: record.period_ns,
        burn_ns: (record.burn_ns != u64::MAX).then_some(record.burn_ns),
        cpu: record.cpu,
        threads: record.threads,
        source,
    })
}
