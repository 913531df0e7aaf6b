//! An OOM kill, in the units that people read.

use super::identity::{Level, SharedIdentity};
use super::limits::MemoryPart;

/// What ran out (`oom.scope`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomScope {
    /// A memory cgroup's limit.
    MemoryCgroup,
    /// The machine.
    Node,
    /// The nodes of a cpuset.
    Cpuset,
    /// The nodes of a memory policy.
    Mempolicy,
    /// Nothing: somebody asked by SysRq-f.
    Sysrq,
}

impl OomScope {
    /// The value of the key `oom.scope`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MemoryCgroup => "memory_cgroup",
            Self::Node => "node",
            Self::Cpuset => "cpuset",
            Self::Mempolicy => "mempolicy",
            Self::Sysrq => "sysrq",
        }
    }
}

/// Memory of the victim in bytes at the moment of the kill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VictimMemory {
    /// Address space.
    pub total_vm_bytes: u64,
    /// Resident anonymous memory.
    pub anon_bytes: u64,
    /// Resident file mappings.
    pub file_bytes: u64,
    /// Resident shared memory.
    pub shmem_bytes: u64,
    /// Swapped out.
    pub swap_bytes: u64,
    /// Page tables; `None` where the kernel does not tell.
    pub page_tables_bytes: Option<u64>,
    /// Whether the resident counts are the exact sums over all CPUs. If not, each may be off by
    /// the kernel's own slack.
    pub exact: bool,
}

/// The limit that fired.
#[derive(Clone, Debug)]
pub struct OomLimit {
    /// The cgroup whose limit it is.
    pub cgroup: SharedIdentity,
    /// What that cgroup stands for, relative to the victim.
    pub level: Level,
    /// The limit in bytes; `None` where the cgroup has none.
    pub limit_bytes: Option<u64>,
    /// Usage at that instant in bytes.
    pub usage_bytes: u64,
    /// Whether it is the limit of memory and swap together (cgroup v1 `memory.memsw`).
    pub memory_and_swap: bool,
    /// How it is known: `oom_control` (the OOM killer was given it), `memcg_event` (its own event
    /// count grew) or `usage` (usage at limit).
    pub evidence: &'static str,
    /// Who uses it, where several share it.
    pub shares: Option<LimitShares>,
}

/// Who uses the memory below a limit that several share.
#[derive(Clone, Debug, Default)]
pub struct LimitShares {
    /// The largest containers and services, the largest first.
    pub largest: Vec<LimitShare>,
    /// How many of them there are.
    pub count: usize,
    /// Bytes that are charged to the limit's cgroup and to none of them, as files in memory (tmpfs)
    /// that a container has left behind. `None` where it is not known.
    pub rest_bytes: Option<u64>,
}

/// The use of one of them.
#[derive(Clone, Debug)]
pub struct LimitShare {
    /// Who it is.
    pub who: SharedIdentity,
    /// Its memory in bytes, with that of all that is nested in it.
    pub bytes: u64,
}

/// A process of an OOM kill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OomProcess {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Its command name (`comm`), as bytes from the kernel, invalid UTF-8 replaced.
    pub command: String,
}

/// One OOM kill.
#[derive(Clone, Debug)]
pub struct OomKillEvent {
    /// The victim's container.
    pub container: SharedIdentity,
    /// What ran out.
    pub scope: OomScope,
    /// The limit that fired, where one did.
    pub limit: Option<OomLimit>,
    /// The victim.
    pub victim: OomProcess,
    /// Thread that the kernel marked; often the same number as the victim's.
    pub victim_thread: u32,
    /// The victim's parent process id.
    pub victim_parent_pid: u32,
    /// The victim's command line, if it told it in time; arguments joined by spaces.
    pub victim_command_line: Option<String>,
    /// The victim's user id in the initial user namespace.
    pub victim_uid: u32,
    /// The victim's `oom_score_adj`.
    pub victim_oom_score_adj: i32,
    /// The victim's age in nanoseconds; `None` where its start is unknown.
    pub victim_age_ns: Option<u64>,
    /// Badness in pages, where the source tells it.
    pub victim_badness_pages: Option<i64>,
    /// The victim's memory.
    pub memory: VictimMemory,
    /// Who asked for memory.
    pub trigger: OomProcess,
    /// The trigger's container.
    pub trigger_container: SharedIdentity,
    /// Order of the allocation, where known.
    pub order: Option<i32>,
    /// `gfp_t` of the allocation, where known.
    pub gfp_flags: Option<u32>,
    /// Whether all of a cgroup had to die together (`memory.oom.group`).
    pub group: bool,
    /// Which victim of this OOM it is, from 1.
    pub victim_number: u32,
    /// Victims of this OOM: of a group kill all, else those so far.
    pub victims: u32,
    /// The process whose memory the victim shares without being a thread of it, where it is killed
    /// for that.
    pub shares_memory_of_pid: Option<u32>,
    /// The thread that handles the OOM: the same for all victims of one.
    pub trigger_thread: u32,
    /// Which source told it (`oom.source`).
    pub source: &'static str,
    /// Memory of the victim's container, read when the record arrived.
    pub container_memory: Option<MemoryReading>,
    /// What the minutes before say, and the largest processes.
    pub context: Option<Box<OomContext>>,
}

impl OomKillEvent {
    /// Has other names for the victim's container, wherever the event tells of it.
    pub fn rename(&mut self, container: &SharedIdentity) {
        let id = self.container.container_id.as_deref();
        let mut others = vec![&mut self.trigger_container];
        if let Some(limit) = &mut self.limit {
            others.push(&mut limit.cgroup);
            let shares = limit.shares.iter_mut();
            others.extend(
                shares
                    .flat_map(|shares| &mut shares.largest)
                    .map(|share| &mut share.who),
            );
        }
        for other in others {
            if other.container_id.is_some() && other.container_id.as_deref() == id {
                *other = container.at(other);
            }
        }
        self.container = container.clone();
    }
}

/// A reading of a memory cgroup's files, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryReading {
    /// `memory.current` or `memory.usage_in_bytes`.
    pub current_bytes: u64,
    /// `memory.max` or `memory.limit_in_bytes`; `None` without limit.
    pub limit_bytes: Option<u64>,
    /// `memory.peak` or `memory.max_usage_in_bytes`, where the kernel has it.
    pub peak_bytes: Option<u64>,
}

/// Leak or spike (`oom.verdict`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A steady growth led to it.
    Leak,
    /// It came at once.
    Spike,
    /// Neither can be said.
    Unknown,
}

impl Verdict {
    /// The value of the key `oom.verdict`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::Spike => "spike",
            Self::Unknown => "unknown",
        }
    }
}

/// What the last minutes before an OOM kill say of its cause.
#[derive(Clone, Debug, PartialEq)]
pub struct OomVerdict {
    /// Leak or spike.
    pub verdict: Verdict,
    /// What grew.
    pub part: Option<MemoryPart>,
    /// How fast, in bytes a second.
    pub bytes_per_second: Option<f64>,
    /// By how much, in bytes.
    pub grown_bytes: Option<u64>,
    /// In how long, in nanoseconds.
    pub window_ns: Option<u64>,
    /// How long before the kill, in nanoseconds, how many bytes could not be given back; oldest
    /// first.
    pub samples: Vec<(u64, u64)>,
    /// The verdict in words.
    pub explanation: String,
    /// What to do.
    pub recommendation: String,
}

/// A process of a cgroup at the time of a kill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LargeProcess {
    /// Process id, as this process sees it.
    pub pid: u32,
    /// Its command name.
    pub command: String,
    /// Its resident anonymous and shared memory and what it has swapped out, in bytes.
    pub bytes: u64,
}

/// What is put to an OOM kill from user space.
#[derive(Clone, Debug, PartialEq)]
pub struct OomContext {
    /// Leak or spike.
    pub verdict: OomVerdict,
    /// The largest processes of the cgroup whose limit was reached, the largest first.
    pub largest: Vec<LargeProcess>,
}
