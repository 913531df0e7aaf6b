//! A cgroup was made, moved into, removed or freed.

use crate::header::{CgroupKey, RecordHeader};

/// `cgroup:cgroup_mkdir`.
pub const CGROUP_MKDIR: u32 = 1;
/// `cgroup:cgroup_attach_task`.
pub const CGROUP_ATTACH: u32 = 2;
/// `cgroup:cgroup_rmdir`.
pub const CGROUP_RMDIR: u32 = 3;
/// `cgroup:cgroup_release`: the last reference is gone.
pub const CGROUP_RELEASE: u32 = 4;

/// Longest path that a record carries, in bytes; the kernel's own tracepoints cut at the same
/// length (`TRACE_CGROUP_PATH_LEN`, `include/linux/trace_events.h` and `kernel/cgroup/cgroup.c`).
pub const CGROUP_PATH_MAX: usize = 1024;

/// Something happened to a cgroup.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CgroupLifecycle {
    /// Kind [`super::KIND_CGROUP_LIFECYCLE`]; its size covers only the used part of the path.
    pub header: RecordHeader,
    /// The cgroup.
    pub cgroup: CgroupKey,
    /// Id of its parent in the same hierarchy, 0 for a root.
    pub parent_id: u64,
    /// One of the `CGROUP_` operations.
    pub operation: u32,
    /// Depth below the hierarchy's root, which is 0.
    pub level: u32,
    /// Slot of the cgroup, [`crate::maps::SLOT_NONE`] where the hierarchy has no slots.
    pub slot: u32,
    /// Process that was attached; 0 with the other operations.
    pub pid: u32,
    /// Bytes of `path` in use.
    pub path_len: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// Path within the hierarchy; not terminated. The record ends after `path_len` bytes of it.
    pub path: [u8; CGROUP_PATH_MAX],
}

const _: () = assert!(size_of::<CgroupLifecycle>() == 24 + 16 + 8 + 6 * 4 + CGROUP_PATH_MAX);
