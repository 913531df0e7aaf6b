//! A finding: what is wrong with a container, by which numbers, and what to set.

use super::identity::SharedIdentity;

/// What was found (`finding.kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FindingKind {
    /// More threads compute at once than the CPU limit has room for.
    CpuOversubscription,
    /// The work needs more CPU time than the limit allows.
    CpuLimitTooLow,
    /// Less is used than the limit allows, but not evenly enough for its period.
    CpuLimitQuotaPeriodMismatch,
    /// Others run while its threads wait for a CPU.
    NoisyNeighbour,
    /// It is restarted again and again.
    RestartLoop,
    /// What cannot be given back is close to the memory limit.
    MemoryNearLimit,
    /// What cannot be given back grows steadily.
    MemoryLeakSuspected,
    /// What cannot be given back rose at once.
    MemorySpike,
    /// A Go program does not know of the memory limit.
    GomemlimitMissingOrAboveLimit,
    /// Memory is near the limit, but most of it can be given back.
    PageCacheNotALeak,
}

impl FindingKind {
    /// All kinds.
    pub const ALL: [Self; 10] = [
        Self::CpuOversubscription,
        Self::CpuLimitTooLow,
        Self::CpuLimitQuotaPeriodMismatch,
        Self::NoisyNeighbour,
        Self::RestartLoop,
        Self::MemoryNearLimit,
        Self::MemoryLeakSuspected,
        Self::MemorySpike,
        Self::GomemlimitMissingOrAboveLimit,
        Self::PageCacheNotALeak,
    ];

    /// The value of the key `finding.kind`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::CpuOversubscription => "cpu_oversubscription",
            Self::CpuLimitTooLow => "cpu_limit_too_low",
            Self::CpuLimitQuotaPeriodMismatch => "cpu_limit_quota_period_mismatch",
            Self::NoisyNeighbour => "noisy_neighbour",
            Self::RestartLoop => "restart_loop",
            Self::MemoryNearLimit => "memory_near_limit",
            Self::MemoryLeakSuspected => "memory_leak_suspected",
            Self::MemorySpike => "memory_spike",
            Self::GomemlimitMissingOrAboveLimit => "gomemlimit_missing_or_above_limit",
            Self::PageCacheNotALeak => "page_cache_not_a_leak",
        }
    }
}

/// How bad it is (`finding.severity`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// It costs time or will.
    Warning,
    /// Something is about to be killed, or stands still most of the time.
    Critical,
}

impl Severity {
    /// The value of the key `finding.severity`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// How sure it is (`finding.confidence`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It may be otherwise.
    Low,
    /// It rests on an estimate.
    Medium,
    /// It rests on what the kernel and the runtime say.
    High,
}

impl Confidence {
    /// The value of the key `finding.confidence`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// One fact that a finding rests on.
#[derive(Clone, Debug, PartialEq)]
pub enum Evidence {
    /// A count, bytes, nanoseconds: the unit is in the name.
    Count(u64),
    /// A ratio, a rate, a number of CPUs.
    Number(f64),
    /// A name; text from outside.
    Text(String),
    /// Several of a kind, each with facts of its own.
    List(Vec<Vec<(&'static str, Evidence)>>),
}

/// What is wrong.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: FindingKind,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub confidence: Confidence,
    /// The whole in a sentence.
    pub summary: String,
    /// The facts: names with units, and values.
    pub evidence: Vec<(&'static str, Evidence)>,
    /// What to do, with the value to set.
    pub recommendation: String,
}

/// Whether a finding begins or ends (`finding.phase`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FindingPhase {
    /// It holds from now on.
    Start,
    /// It holds no more, or its container is gone.
    End,
}

impl FindingPhase {
    /// The value of the key `finding.phase`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
        }
    }
}

/// A finding that began or ended, as events carry it.
#[derive(Clone, Debug)]
pub struct FindingEvent {
    /// Whose it is.
    pub container: SharedIdentity,
    /// Beginning or end.
    pub phase: FindingPhase,
    /// How long it held, at its end, in nanoseconds.
    pub lasted_ns: Option<u64>,
    /// The finding; at the end as it was last seen.
    pub finding: Finding,
}
