//! One process that the kernel's OOM killer chose, seen at `oom:mark_victim`.

use crate::header::{CgroupKey, RecordHeader};
use crate::records::COMM_LEN;

/// A memory cgroup ran out ([`OomKill::oom_cgroup`]).
pub const OOM_SCOPE_MEMORY_CGROUP: u32 = 1;
/// The whole machine ran out.
pub const OOM_SCOPE_NODE: u32 = 2;
/// The nodes of a cpuset ran out.
pub const OOM_SCOPE_CPUSET: u32 = 3;
/// The nodes of a memory policy ran out.
pub const OOM_SCOPE_MEMPOLICY: u32 = 4;
/// Somebody asked for it (SysRq-f).
pub const OOM_SCOPE_SYSRQ: u32 = 5;

/// Seen by tracepoints alone.
pub const OOM_SOURCE_TRACEPOINT: u32 = 1;

/// The resident counts are the exact sums over all CPUs, not the lagging global counts.
pub const OOM_FLAG_EXACT: u32 = 1 << 0;
/// The cgroup that ran out was told by its own `MEMCG_OOM` event count.
pub const OOM_FLAG_LIMIT_BY_EVENTS: u32 = 1 << 1;
/// The cgroup that ran out was told by its usage being at its limit.
pub const OOM_FLAG_LIMIT_BY_USAGE: u32 = 1 << 2;
/// The limit that fired is the one of memory and swap together (cgroup v1).
pub const OOM_FLAG_LIMIT_MEMSW: u32 = 1 << 3;
/// [`OomKill::order`] and [`OomKill::gfp_flags`] are known.
pub const OOM_FLAG_ORDER_KNOWN: u32 = 1 << 4;

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
    /// The memory cgroup whose limit fired; none where no cgroup's did.
    pub oom_cgroup: CgroupKey,
    /// Its limit in pages; [`PAGE_COUNTER_MAX`] where it has none.
    pub limit_pages: u64,
    /// Its usage in pages at this instant.
    pub usage_pages: u64,
    /// Badness points in pages, where the source tells them, else 0.
    pub badness_pages: i64,
    /// One of the `OOM_SCOPE_` constants.
    pub scope: u32,
    /// One of the `OOM_SOURCE_` constants.
    pub source: u32,
    /// `OOM_FLAG_` bits.
    pub flags: u32,
    /// Order of the allocation; -1 for SysRq. Only with [`OOM_FLAG_ORDER_KNOWN`].
    pub order: i32,
    /// `gfp_t` of the allocation. Only with [`OOM_FLAG_ORDER_KNOWN`].
    pub gfp_flags: u32,
    /// Which victim of this OOM it is, from 1 (`memory.oom.group` kills several).
    pub victim_number: u32,
    /// How many levels above the victim's own memory cgroup the limit fired: 0 is its own.
    pub levels_up: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<OomVictim>() == 128);
const _: () = assert!(size_of::<OomTrigger>() == 40);
const _: () = assert!(size_of::<OomKill>() == 24 + 128 + 40 + 16 + 3 * 8 + 8 * 4);
