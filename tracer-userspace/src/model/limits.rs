//! The limits of a cgroup, and what its memory consists of.

/// A CPU limit: a quota of running time a period.
#[derive(Clone, Debug, PartialEq)]
pub struct CpuLimit {
    /// Quota divided by period.
    pub cpus: f64,
    /// Quota in microseconds.
    pub quota_us: u64,
    /// Period in microseconds.
    pub period_us: u64,
    /// What may be saved up from period to period, in microseconds (`cpu.max.burst`).
    pub burst_us: u64,
    /// Whether it is the cgroup's own and not that of one above it.
    pub own: bool,
    /// The cgroup's own limit in CPUs, where it has one: what a program sees that looks no further.
    pub own_cpus: Option<f64>,
    /// Path of the cgroup that it is set on.
    pub cgroup: String,
}

/// Memory of a cgroup at one moment, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemorySample {
    /// When, in nanoseconds of the monotonic clock.
    pub at_ns: u64,
    /// All that is charged.
    pub current_bytes: u64,
    /// Anonymous memory: heap, stacks.
    pub anon_bytes: u64,
    /// Shared memory and tmpfs.
    pub shmem_bytes: u64,
    /// Page cache that the kernel can give back: the file lists, which shared memory is not on.
    pub file_bytes: u64,
    /// Kernel memory that can be given back.
    pub slab_reclaimable_bytes: u64,
    /// Kernel memory, page tables and stacks of threads included; `None` where it is not accounted.
    pub kernel_bytes: Option<u64>,
    /// Page tables; `None` where it is not told.
    pub page_tables_bytes: Option<u64>,
}

/// What memory is used for, of what cannot be given back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemoryPart {
    /// Heap and stacks.
    Anon,
    /// Shared memory and tmpfs.
    Shmem,
    /// Page tables.
    PageTables,
    /// Other kernel memory.
    Kernel,
}

impl MemoryPart {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Anon, Self::Shmem, Self::PageTables, Self::Kernel];

    /// Name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Anon => "anon",
            Self::Shmem => "shmem",
            Self::PageTables => "page_tables",
            Self::Kernel => "kernel",
        }
    }
}

impl MemorySample {
    /// What the kernel cannot give back when the limit is reached: all but page cache and
    /// reclaimable kernel memory.
    pub const fn held_bytes(&self) -> u64 {
        self.current_bytes
            .saturating_sub(self.file_bytes)
            .saturating_sub(self.slab_reclaimable_bytes)
    }

    /// One part of it.
    pub fn part(&self, part: MemoryPart) -> u64 {
        let page_tables = self.page_tables_bytes.unwrap_or(0);
        match part {
            MemoryPart::Anon => self.anon_bytes,
            MemoryPart::Shmem => self.shmem_bytes,
            MemoryPart::PageTables => page_tables,
            MemoryPart::Kernel => self
                .kernel_bytes
                .unwrap_or(0)
                .saturating_sub(page_tables)
                .saturating_sub(self.slab_reclaimable_bytes),
        }
    }
}
