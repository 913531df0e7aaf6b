//! Names, sizes and values of the maps that user space reads.

use crate::log_linear::BUCKETS;

/// Ring of OOM kills and of the lives of cgroups.
pub const EVENTS: &str = "EVENTS";
/// Ring of throttled intervals.
pub const THROTTLES: &str = "THROTTLES";
/// Array with one element, the counters of [`crate::counters`]: the object's zeroed globals.
pub const COUNTERS_MAP: &str = ".bss";
/// Hash from cgroup id (in the hierarchy of the slots) to slot.
pub const SLOT_OF_CGROUP: &str = "SLOT_OF_CGROUP";
/// Queue of slots that are free.
pub const FREE_SLOTS: &str = "FREE_SLOTS";
/// Array of [`SlotCpu`], index `slot * cpus + cpu`.
pub const SLOT_CPUS: &str = "SLOT_CPUS";
/// Array of [`Slot`], index slot.
pub const SLOTS: &str = "SLOTS";
/// Array of [`Histogram`], index `slot * HISTOGRAMS + kind`.
pub const HISTOGRAMS_MAP: &str = "HISTOGRAMS";
/// Array of [`CpuState`], index CPU.
pub const CPU_STATES: &str = "CPU_STATES";
/// Array of [`CacheLine`], index `cpu * CACHE_LINES + hash of the cgroup id`.
pub const SLOT_CACHE: &str = "SLOT_CACHE";
/// Array of [`TaskWait`], index the low bits of the thread id.
pub const TASK_WAITS: &str = "TASK_WAITS";
/// Array of times, index as in [`TASK_WAITS`]: when the thread was parked on [`TaskWait::parked_cpu`], by that
/// CPU's `rq->clock` in nanoseconds. Of several CPUs only the last is known: one that was parked on another in
/// between counts anew where it was first. It is apart because only a thread that is parked needs it.
pub const PARKED_AT: &str = "PARKED_AT";
/// Hash from run queue (`struct cfs_rq *`) to [`OpenThrottle`].
pub const OPEN_THROTTLES: &str = "OPEN_THROTTLES";
/// Hash from run queue to [`LastThrottle`], least recently used go first.
pub const LAST_THROTTLES: &str = "LAST_THROTTLES";
/// Hash from slot to [`Frozen`].
pub const FROZEN: &str = "FROZEN";
/// Per CPU a [`RunHistory`].
pub const RUN_HISTORIES: &str = "RUN_HISTORIES";
/// Nanoseconds that one slot waited for another, by [`neighbour_key`].
pub const NEIGHBOURS: &str = "NEIGHBOURS";
/// Array with one element, the [`Epoch`].
pub const EPOCH: &str = "EPOCH";
/// Array of one `u32` a slot, `SLOT_FLAG_` bits; user space writes them, the programs read them.
pub const SLOT_FLAGS: &str = "SLOT_FLAGS";

/// The slot's cgroup is a container: cgroups made below it share its slot.
pub const SLOT_FLAG_CONTAINER: u32 = 1 << 0;

/// Bytes of the ring [`EVENTS`].
pub const EVENTS_BYTES: u32 = 512 * 1024;
/// Bytes of the ring [`THROTTLES`].
pub const THROTTLES_BYTES: u32 = 1024 * 1024;
/// Entries of [`OPEN_THROTTLES`] and [`LAST_THROTTLES`].
pub const HASH_ENTRIES: u32 = 16 * 1024;
/// Entries of the map that holds one entry for each kill under way.
pub const KILLS: u32 = 256;
/// CPUs that the loops of the programs are made for.
pub const MAX_CPUS: u32 = 1024;
/// Run queues that one expiry of a bandwidth timer can end; one a CPU at most.
pub const MAX_ENDS: usize = 256;

/// Slot of everything that got none of its own.
pub const SLOT_UNKNOWN: u32 = 0;
/// No slot at all.
pub const SLOT_NONE: u32 = u32::MAX;

/// Entries of [`SLOT_CACHE`] for one CPU; a power of two.
pub const CACHE_LINES: u32 = 256;

/// Histogram of run-queue waits, throttled waits not included.
pub const HIST_RUN_QUEUE_WAIT: u32 = 0;
/// Histogram of on-CPU slices.
pub const HIST_ON_CPU_SLICE: u32 = 1;
/// Histogram of throttled intervals of the cgroup's own quota.
pub const HIST_THROTTLED_INTERVAL: u32 = 2;
/// Histogram of stretches in which no thread of the cgroup could run.
pub const HIST_FROZEN_TIME: u32 = 3;
/// Histograms a slot has.
pub const HISTOGRAMS: u32 = 4;

/// Counts of one histogram. They wrap: user space adds up differences, so a bucket only has to
/// stay below 2^32 between two readings.
pub type Histogram = [u32; BUCKETS];

/// What one CPU counts for one slot; written by that CPU alone, never reset.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotCpu {
    /// Voluntary context switches (the thread wanted to sleep), as `nvcsw` counts them.
    pub voluntary: u64,
    /// Involuntary ones, as `nivcsw` counts them.
    pub involuntary: u64,
    /// Time on the CPU in nanoseconds, as `se.sum_exec_runtime` counts it.
    pub cpu_time_ns: u64,
    /// Run-queue wait in nanoseconds, throttled time not included.
    pub wait_ns: u64,
    /// The part of run-queue waits that was spent throttled, in nanoseconds.
    pub throttled_wait_ns: u64,
    /// Involuntary switches, not for the end of a quota, to another thread of the same slot. It wraps, as
    /// counts of a [`Histogram`] do.
    pub preempted_by_own: u32,
    /// The same to a thread of another slot. It wraps.
    pub preempted_by_others: u32,
    /// The part of `wait_ns` in which the CPU ran threads of the same slot, in nanoseconds.
    pub wait_own_ns: u64,
    /// The part of `wait_ns` in which the CPU ran threads of other slots, in nanoseconds.
    pub wait_others_ns: u64,
}

const _: () = assert!(size_of::<SlotCpu>() == 64);

/// What all CPUs count for one slot together; rare updates only, atomic ones where nothing else is said,
/// never reset.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Slot {
    /// Run queues of this slot that are throttled now, with threads held up in them.
    pub held: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// Throttled time of the cgroup's own quota, summed over CPUs, in nanoseconds.
    pub throttled_ns: u64,
    /// Throttled intervals of the cgroup's own quota.
    pub throttled_intervals: u64,
    /// Time in which no thread could run, in nanoseconds.
    pub frozen_ns: u64,
    /// Periods of the cgroup's own quota that passed (`cfs_bandwidth.nr_periods`).
    pub periods: u64,
    /// Those with throttling (`cfs_bandwidth.nr_throttled`).
    pub throttled_periods: u64,
    /// Monotonic time at which the current period began; 0 where it was not seen.
    pub period_start_ns: u64,
    /// Throttled intervals whose end was only seen at a later switch.
    pub late_intervals: u64,
    /// Throttled waits, in nanoseconds, that no quota of the slot's own cgroups explains: one of a
    /// cgroup above does.
    pub ancestor_wait_ns: u64,
    /// Threads that ran, each once in an [`Epoch`]: those of even and of odd epochs.
    pub threads_ran: [u64; 2],
    /// Most threads that ran, and that ran or wanted to, at a time, in the last even and the last odd
    /// epoch: see [`crate::peaks`]. Not only added to.
    pub peaks: [u64; 2],
    /// Id of the cgroup that the slot was given to. Those nested in it have the slot too, and what is
    /// accounted by quota is this one's alone. Not added to.
    pub own_cgroup: u64,
    /// Keeps slots off each other's cache lines.
    pub reserved2: [u64; 2],
}

const _: () = assert!(size_of::<Slot>() == 128);

/// From one reading of user space to the next. What is counted for it is read after its end, while the
/// next one counts elsewhere.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Epoch {
    /// Its number, from 1; written by user space.
    pub number: u32,
    /// The number of the one that has begun; the first switch that finds another number sets it.
    pub begun: u32,
    /// `rq->clock` when that was.
    pub began: u64,
}

/// Slices that a CPU remembers.
pub const RUN_SLICES: usize = 128;

/// What a CPU ran: threads of one slot, one or several after each other.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSlice {
    /// `rq->clock` when it began, in nanoseconds; it lasted until the next one's.
    pub began: u64,
    /// Slot of the thread, [`SLOT_NONE`] of the idle task.
    pub slot: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
}

/// The last slices of a CPU, in a ring.
pub type RunHistory = [RunSlice; RUN_SLICES];

/// Pairs of slots of which one had to wait for the other, see [`neighbour_key`].
pub const NEIGHBOUR_ENTRIES: u32 = 4096;
/// Entries that an LRU hash must have for each CPU: before 6.17 each CPU sets 128 aside for itself
/// (`LOCAL_FREE_TARGET`, `kernel/bpf/bpf_lru_list.c`).
pub const LRU_ENTRIES_PER_CPU: u32 = 256;

/// Entries of an LRU hash that should have `wanted`, on a machine with `cpus`.
#[must_use]
pub const fn lru_entries(wanted: u32, cpus: u32) -> u32 {
    let least = cpus.saturating_mul(LRU_ENTRIES_PER_CPU);
    if least > wanted { least } else { wanted }
}
/// A part of a wait that is shorter than this many nanoseconds is not told of whom it was.
pub const NEIGHBOUR_MIN_NS: u64 = 20_000;

/// The key of a pair: `waiting` waited for `running`.
#[inline]
pub const fn neighbour_key(waiting: u32, running: u32) -> u64 {
    (waiting as u64) << 32 | running as u64
}

/// What one CPU runs now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    /// Slot of the running thread, [`SLOT_NONE`] for the idle task.
    pub slot: u32,
    /// Its thread id, 0 for the idle task.
    pub pid: u32,
    /// Its `se.sum_exec_runtime` when it was put on the CPU, in nanoseconds.
    pub exec_start_ns: u64,
    /// Its `nvcsw` when it was put on the CPU.
    pub voluntary_start: u64,
    /// Address of its `css_set`: the same as long as it is moved to no other cgroup.
    pub css_set: u64,
    /// `rq->clock` when a throttled interval last ended on this CPU.
    pub last_end: u64,
    /// Throttled run queues of this CPU with threads held up ([`OpenThrottle`]).
    pub open_throttles: u32,
    /// Slices that were written to [`RunHistory`].
    pub slices: u32,
    /// Scratch: the address of the task that is put on the CPU.
    pub task: u64,
    /// `rq->clock` when what runs now was put on the CPU.
    pub slice_began: u64,
    /// `rq->clock` when this CPU last looked how many threads run at a time.
    pub looked: u64,
    /// Scratch: 1 where what leaves the CPU would have gone on.
    pub wants_on: u32,
    /// Scratch of a look: threads that run.
    pub running: u32,
    /// Scratch of a look: threads that run or want to.
    pub runnable: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// Keeps CPUs off each other's cache lines.
    pub reserved2: [u64; 5],
}

const _: () = assert!(size_of::<CpuState>() == 128);

/// One entry of a CPU's direct-mapped cache in front of [`SLOT_OF_CGROUP`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheLine {
    /// Cgroup id, 0 for an empty line.
    pub id: u64,
    /// Its slot.
    pub slot: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
}

/// Entries of [`TASK_WAITS`]; a power of two.
pub const TASK_WAIT_ENTRIES: u32 = 1 << 16;

/// What a thread had waited when it was last put on a CPU.
///
/// A waiting thread that is moved to another CPU begins to wait anew there; what it waited before is
/// only in its `run_delay`. Threads with the same low bits of their ids overwrite each other: then
/// that part of one wait is missing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskWait {
    /// Address of the `task_struct`; [`TASK_PARKED`] is set while it is held up by a quota.
    pub task: u64,
    /// Its `sched_info.run_delay` in nanoseconds, the wait that had just ended included.
    pub run_delay: u64,
    /// The task's address (without the mark) xor its `run_delay`: two CPUs that write one entry at
    /// one moment leave something that does not fit together.
    pub check: u64,
    /// The CPU where it was last held up; [`PARKED_AT`] has when.
    pub parked_cpu: u32,
    /// The [`Epoch`] in which it was last counted as a thread that ran.
    pub counted_in: u32,
}

// Two of them are a cache line, which every switch loads.
const _: () = assert!(size_of::<TaskWait>() == 32);

impl TaskWait {
    /// What `task` had waited, if the entry is its own and whole.
    #[inline]
    pub const fn of(&self, task: u64) -> Option<u64> {
        if self.task & !TASK_PARKED == task && self.check == task ^ self.run_delay {
            Some(self.run_delay)
        } else {
            None
        }
    }
}

/// See [`TaskWait::task`].
pub const TASK_PARKED: u64 = 1;

/// How many held slots one throttled run queue remembers: its own and those of descendants.
pub const HELD_SLOTS: usize = 8;

/// A slot with threads that are held up in a throttled run queue.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HeldSlot {
    /// The run queue (`struct cfs_rq *`) in which the threads wait: the throttled one, or one below
    /// it. 0 where this entry is not used.
    pub leaf: u64,
    /// The slot.
    pub slot: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
}

/// A run queue that is throttled and holds up threads.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenThrottle {
    /// `cfs_rq->throttled_clock` of this interval, by the run queue's clock in nanoseconds.
    pub throttled_clock: u64,
    /// `throttled_clock_self - throttled_clock_self_time` of the run queue while it lasts: plus the
    /// second one afterwards it is the end. 0 where the kernel has none.
    pub self_base: u64,
    /// Slots of the threads that are held up, used ones first.
    pub held: [HeldSlot; HELD_SLOTS],
    /// Id of the cgroup (hierarchy of the slots) whose quota it is: the run queue's memory can be
    /// another cgroup's later.
    pub quota_cgroup: u64,
    /// Cgroup id (hierarchy of the slots) of the first thread that was parked.
    pub held_cgroup: u64,
    /// Threads that were parked.
    pub threads: u32,
    /// CPU of the run queue.
    pub cpu: u32,
}

/// Throttled intervals that are remembered of a run queue.
pub const THROTTLED_SPANS: usize = 4;

/// A throttled interval, by the run queue's clock.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottledSpan {
    /// Start in nanoseconds.
    pub start: u64,
    /// End in nanoseconds.
    pub end: u64,
}

/// The throttled intervals of a run queue that ended last. Where a whole group leaves the run queue
/// at once, up to 6.17, a thread that does not get its turn waits through several.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastThrottle {
    /// A ring of them.
    pub spans: [ThrottledSpan; THROTTLED_SPANS],
    /// How many there were.
    pub count: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
}

const _: () = assert!(size_of::<LastThrottle>() == 72);

/// A slot none of whose threads can run.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frozen {
    /// Monotonic time in nanoseconds at which the last of its threads left the CPU.
    pub since_ns: u64,
}
