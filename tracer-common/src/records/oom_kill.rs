//! One process that the kernel's OOM killer chose, seen at `oom:mark_victim`.

use crate::header::{CgroupKey, RecordHeader};
use crate::records::COMM_LEN;

/// Seen by tracepoints alone.
pub const OOM_SOURCE_TRACEPOINT: u32 = 1;
/// The victim by tracepoints, what ran out at the entry of `oom_kill_process` by fentry.
pub const OOM_SOURCE_FENTRY: u32 = 2;
/// The same by a kprobe.
pub const OOM_SOURCE_KPROBE: u32 = 3;

/// The resident counts are the exact sums over all CPUs, not the lagging global counts.
pub const OOM_FLAG_EXACT: u32 = 1 << 0;

/// Memory cgroups that a record tells of, from the victim's own upwards.
pub const OOM_LEVELS: usize = 16;

/// "No limit" of a page counter (`PAGE_COUNTER_MAX`, `linux/page_counter.h`), in pages.
pub const PAGE_COUNTER_MAX: u64 = (i64::MAX as u64) >> 12;

/// The process that is killed.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomVictim {
    /// Thread that the kernel marked; any thread of the process can be it.
    pub pid: u32,
    /// The process (thread group leader).
    pub tgid: u32,
    /// Process id of the parent.
    pub parent_tgid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// Command name, NUL-terminated unless it fills the array.
    pub comm: [u8; COMM_LEN],
    /// `start_boottime` in nanoseconds since boot (or `real_start_time`).
    pub start_boottime_ns: u64,
    /// `mm->total_vm` in pages.
    pub total_vm_pages: u64,
    /// Resident anonymous pages.
    pub anon_pages: u64,
    /// Resident file pages.
    pub file_pages: u64,
    /// Resident shared-memory pages.
    pub shmem_pages: u64,
    /// Swap entries, in pages.
    pub swap_pages: u64,
    /// `mm->pgtables_bytes`.
    pub page_tables_bytes: u64,
    /// `signal->oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: i32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// The victim's own memory cgroup.
    pub memory_cgroup: CgroupKey,
    /// The victim's cgroup in the hierarchy of the slots.
    pub cgroup: CgroupKey,
}

/// Who asked for the memory that was not there.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomTrigger {
    /// Thread.
    pub pid: u32,
    /// Process.
    pub tgid: u32,
    /// Command name, NUL-terminated unless it fills the array.
    pub comm: [u8; COMM_LEN],
    /// Its memory cgroup.
    pub memory_cgroup: CgroupKey,
}

/// A memory cgroup at the moment of the kill. Which of them ran out is judged in user space.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomLevel {
    /// The cgroup; none where there is no such level.
    pub cgroup: CgroupKey,
    /// Pages in use.
    pub usage_pages: u64,
    /// Limit in pages; [`PAGE_COUNTER_MAX`] is none.
    pub limit_pages: u64,
    /// The same of memory and swap together. Only on cgroup v1, else 0.
    pub memsw_usage_pages: u64,
    /// See [`Self::memsw_usage_pages`].
    pub memsw_limit_pages: u64,
    /// How often this cgroup ran out by itself since it was made: `MEMCG_OOM` of its local events.
    /// The kernel counts before it kills. `u64::MAX` where it does not tell.
    pub oom_events: u64,
}

/// What the OOM killer was asked for, at the entry of `oom_kill_process` (`mm/oom_kill.c`): before
/// anybody is killed. All 0 where that is not seen.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomControl {
    /// Monotonic time of the entry in nanoseconds: the same for all victims of one OOM.
    pub entered_ns: u64,
    /// `chosen_points`: badness of the chosen process in pages.
    pub chosen_points: i64,
    /// Process that was chosen; the other victims of a group kill were not.
    pub chosen_tgid: u32,
    /// `gfp_mask` of the allocation.
    pub gfp_mask: u32,
    /// `order` of the allocation: 2^order pages; -1 is SysRq-f.
    pub order: i32,
    /// `enum oom_constraint` (`include/linux/oom.h`).
    pub constraint: u32,
    /// The memory cgroup that ran out; none where the machine did.
    pub domain: OomLevel,
}

/// One OOM kill.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomKill {
    /// Kind [`super::KIND_OOM_KILL`].
    pub header: RecordHeader,
    /// The process that is killed.
    pub victim: OomVictim,
    /// Who ran into the limit.
    pub trigger: OomTrigger,
    /// One of the `OOM_SOURCE_` constants.
    pub source: u32,
    /// `OOM_FLAG_` bits.
    pub flags: u32,
    /// Process whose memory this one shares and for which it is killed too; 0 for the victim
    /// itself.
    pub sharer_of: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// What the OOM killer was asked for.
    pub control: OomControl,
    /// The victim's memory cgroups from its own upwards; the first unused one has no cgroup.
    pub levels: [OomLevel; OOM_LEVELS],
}

const _: () = assert!(size_of::<OomVictim>() == 128);
const _: () = assert!(size_of::<OomTrigger>() == 40);
const _: () = assert!(size_of::<OomLevel>() == 56);
const _: () = assert!(size_of::<OomControl>() == 2 * 8 + 4 * 4 + 56);
const _: () = assert!(size_of::<OomKill>() == 24 + 128 + 40 + 4 * 4 + 88 + 16 * 56);
