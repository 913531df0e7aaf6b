//! What every record of a ring buffer starts with.

/// First bytes of every record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordHeader {
    /// One of the `KIND_` constants of [`crate::records`].
    pub kind: u32,
    /// Length of the whole record in bytes, this header included.
    pub size: u32,
    /// CPU on which the record was made.
    pub cpu: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// `bpf_ktime_get_ns()` (CLOCK_MONOTONIC) in nanoseconds when the record was made.
    pub monotonic_ns: u64,
}

const _: () = assert!(size_of::<RecordHeader>() == 24);

/// Names one cgroup for as long as the machine runs.
///
/// On cgroup v1 the ids of different hierarchies collide (the root is 1 in each), so the id alone
/// is not enough. The id itself is never used again: its high half is a generation
/// (`fs/kernfs/dir.c`, `__kernfs_new_node`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupKey {
    /// `cgroup_root.hierarchy_id`; 0 is the default (v2) hierarchy.
    pub hierarchy: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// `kernfs_node.id`: what `stat` shows as the directory's inode. 0 means "no cgroup".
    pub id: u64,
}

const _: () = assert!(size_of::<CgroupKey>() == 16);

impl CgroupKey {
    /// The key of cgroup `id` in `hierarchy`.
    pub const fn new(hierarchy: u32, id: u64) -> Self {
        Self {
            hierarchy,
            reserved: 0,
            id,
        }
    }

    /// Whether this names no cgroup at all.
    pub const fn is_none(&self) -> bool {
        self.id == 0
    }
}
