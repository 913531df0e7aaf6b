//! What limitscope tells: the events, before any sink gives them a form.

use super::exit::Exit;
use super::finding::FindingEvent;
use super::identity::SharedIdentity;
use super::oom::OomKillEvent;
use super::plan::PlanSummary;
use super::stats::ContainerStats;
use super::throttle::ThrottleEvent;

/// One event with what every event has.
#[derive(Clone, Debug)]
pub struct Event {
    /// Monotonic time in nanoseconds (CLOCK_MONOTONIC) at which it happened.
    pub monotonic_ns: u64,
    /// Number of the event in this run's output, from 1, without gaps: a gap means that a line was
    /// lost on the way.
    pub seq: u64,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventBody {
    /// `oom_kill`
    OomKill(Box<OomKillEvent>),
    /// `cpu_throttle`
    CpuThrottle(Box<ThrottleEvent>),
    /// `container_start`
    ContainerStart(Lifecycle),
    /// `container_exit`
    ContainerExit(Lifecycle),
    /// `container_named`
    ContainerNamed(NamedEvent),
    /// `container_stats`
    ContainerStats(Box<ContainerStats>),
    /// `finding`
    Finding(Box<FindingEvent>),
    /// `agent`
    Agent(Box<AgentEvent>),
}

/// Kinds of events, as `--events` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EventKind {
    /// See [`EventBody::OomKill`].
    OomKill,
    /// See [`EventBody::CpuThrottle`].
    CpuThrottle,
    /// See [`EventBody::ContainerStart`].
    ContainerStart,
    /// See [`EventBody::ContainerExit`].
    ContainerExit,
    /// See [`EventBody::ContainerNamed`].
    ContainerNamed,
    /// See [`EventBody::ContainerStats`].
    ContainerStats,
    /// See [`EventBody::Finding`].
    Finding,
    /// See [`EventBody::Agent`].
    Agent,
}

impl EventKind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::OomKill,
        Self::CpuThrottle,
        Self::ContainerStart,
        Self::ContainerExit,
        Self::ContainerNamed,
        Self::ContainerStats,
        Self::Finding,
        Self::Agent,
    ];

    /// The value of the key `event`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OomKill => "oom_kill",
            Self::CpuThrottle => "cpu_throttle",
            Self::ContainerStart => "container_start",
            Self::ContainerExit => "container_exit",
            Self::ContainerNamed => "container_named",
            Self::ContainerStats => "container_stats",
            Self::Finding => "finding",
            Self::Agent => "agent",
        }
    }
}

impl EventBody {
    /// Its kind.
    pub const fn kind(&self) -> EventKind {
        match self {
            Self::OomKill(_) => EventKind::OomKill,
            Self::CpuThrottle(_) => EventKind::CpuThrottle,
            Self::ContainerStart(_) => EventKind::ContainerStart,
            Self::ContainerExit(_) => EventKind::ContainerExit,
            Self::ContainerNamed(_) => EventKind::ContainerNamed,
            Self::ContainerStats(_) => EventKind::ContainerStats,
            Self::Finding(_) => EventKind::Finding,
            Self::Agent(_) => EventKind::Agent,
        }
    }
}

/// A container's birth or death.
#[derive(Clone, Debug)]
pub struct Lifecycle {
    /// Who.
    pub container: SharedIdentity,
    /// How long it lived, at its end and where its start was seen, in nanoseconds.
    pub lifetime_ns: Option<u64>,
    /// How often it was restarted so far, as its runtime counts.
    pub restart_count: Option<u32>,
    /// How and why it ended, at its end and where its runtime told.
    pub exit: Option<Exit>,
}

/// A container has its name, which lines before this one had not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedEvent {
    /// Who.
    pub container: SharedIdentity,
    /// How many lines told of it without its name.
    pub lines: u64,
    /// Their numbers; the last of them where there are many.
    pub seqs: Vec<u64>,
}

/// At which point of the run an `agent` event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentPhase {
    /// All hooks are attached, all existing cgroups are known.
    Start,
    /// End of an interval.
    Interval,
    /// The last event of the run.
    Stop,
}

impl AgentPhase {
    /// The value of the key `agent.phase`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Interval => "interval",
            Self::Stop => "stop",
        }
    }
}

/// What limitscope says about itself.
#[derive(Clone, Debug)]
pub struct AgentEvent {
    /// Start, interval or stop.
    pub phase: AgentPhase,
    /// The plan in use (`agent.plan`).
    pub plan: PlanSummary,
    /// Everything lost since the start.
    pub lost: Lost,
    /// Names of the capabilities that it still holds, having given up the others.
    pub capabilities: Vec<String>,
    /// How many lines had the name of their container.
    pub names: NameCounts,
    /// Containers whose limits and memory nobody watches, since too many have some.
    pub unwatched: u64,
    /// Containers whose processes were to be looked into an interval ago or longer, and have not been.
    pub looks_awaited: u64,
    /// Its own cost; none at the start.
    pub cost: Option<AgentCost>,
    /// Time from the start of the process until all hooks were attached, in nanoseconds.
    pub attached_after_ns: u64,
}

/// Everything lost since the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Records that a full ring buffer refused.
    pub ring: u64,
    /// Cgroups that got no slot.
    pub slots: u64,
    /// Values dropped because a clock went backwards.
    pub clock: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Events that a sink did not take (disk full, reader too slow).
    pub sink: u64,
    /// Entries for which a map had no room, and run queues that a program's list did not hold.
    pub maps: u64,
    /// Reads of kernel memory that failed.
    pub reads: u64,
    /// Throttled time, in nanoseconds, that the kernel's account has and ours has not.
    pub unseen_throttle_ns: u64,
}

/// Lines about containers since the start of the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NameCounts {
    /// All.
    pub lines: u64,
    /// Those that went out without the container's name.
    pub unnamed: u64,
    /// Those of them that a `container_named` has completed.
    pub completed: u64,
}

/// What limitscope itself costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AgentCost {
    /// Mean nanoseconds of the programs at one context switch since the start; `None` where
    /// `kernel.bpf_stats_enabled` is off.
    pub bpf_ns_per_switch: Option<f64>,
    /// CPU time of this process in the interval, as a share of one core.
    pub cpu_ratio: f64,
    /// Resident memory of this process in bytes.
    pub resident_bytes: u64,
}
