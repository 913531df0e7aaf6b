//! Every map. Sizes given as 1 are set by user space before loading, from the number of CPUs and
//! of slots.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, Queue, RingBuf},
};
use tracer_common::{
    maps::{
        CacheLine, CpuState, EVENTS_BYTES, Epoch, Frozen, HASH_ENTRIES, Histogram, KILLS,
        LastThrottle, MAX_ENDS, NEIGHBOUR_ENTRIES, OpenThrottle, RunHistory, Slot, SlotCpu,
        TASK_WAIT_ENTRIES, THROTTLES_BYTES, TaskWait,
    },
    records::{CgroupLifecycle, OomCommandLine, OomControl},
};

/// Run queues whose throttling may end between the entry and the exit of something.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Ending {
    /// What was entered: a timer's or a run queue's address; 0 when nothing was.
    pub inside: u64,
    /// The bandwidth (`struct cfs_bandwidth *`) of that timer.
    pub bandwidth: u64,
    /// Its `nr_periods` and `nr_throttled` at the entry.
    pub nr_periods: u32,
    pub nr_throttled: u32,
    /// Run queues in `queues`.
    pub used: u32,
    /// 1: the timer is that of periods, which counts them; 0: the slack timer.
    pub counts_periods: u32,
    /// Run queues that were throttled at the entry.
    pub queues: [ThrottledQueue; MAX_ENDS],
}

/// A throttled run queue.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct ThrottledQueue {
    /// `struct cfs_rq *`.
    pub cfs_rq: u64,
    /// Its `throttled_clock`.
    pub clock: u64,
    /// See [`crate::kernel_types::cfs_rq::CfsRq::self_base`].
    pub self_base: u64,
}

/// Time that is covered by intervals.
///
/// It lies in a map and is read and written word by word: the verifier then knows nothing of the
/// values, so all ways through a loop are one to it.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Cover {
    /// How much is covered.
    pub sum: u64,
    /// Where the first interval begins.
    pub low: u64,
    /// Where the last one ends.
    pub high: u64,
}

/// What a wait is compared with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Covers {
    /// Of the level that is looked at.
    pub level: Cover,
    /// Of all levels.
    pub all: Cover,
    /// Of the levels that belong to the slot.
    pub own: Cover,
}

/// A kill that `signal_generate` announced.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Kill {
    /// `struct task_struct *` that the signal goes to.
    pub task: u64,
    /// Its process.
    pub tgid: u32,
    pub reserved: u32,
}

/// An OOM that a thread handles.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct OomContext {
    /// What the OOM killer was asked for, where its entry was seen.
    pub control: OomControl,
    /// `struct mm_struct *` of the victim that was marked last; 0 before the first.
    pub victim_mm: u64,
    /// When that was, in nanoseconds since boot.
    pub marked_boottime_ns: u64,
    /// Its process.
    pub victim_tgid: u32,
    /// One of the `OOM_SOURCE_` constants.
    pub source: u32,
}

/// What the programs learned about this kernel at run time: addresses of functions.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Learned {
    /// `sched_cfs_period_timer`
    pub period_timer: u64,
    /// `sched_cfs_slack_timer`
    pub slack_timer: u64,
    /// `__cfsb_csd_unthrottle`; 0 where the kernel has none.
    pub csd: u64,
}

#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(EVENTS_BYTES, 0);
#[map]
pub static THROTTLES: RingBuf = RingBuf::with_byte_size(THROTTLES_BYTES, 0);

#[map]
pub static SLOT_OF_CGROUP: HashMap<u64, u32> = HashMap::with_max_entries(1, 0);
#[map]
pub static FREE_SLOTS: Queue<u32> = Queue::with_max_entries(1, 0);
#[map]
pub static SLOT_FLAGS: Array<u32> = Array::with_max_entries(1, 0);
#[map]
pub static SLOT_CACHE: Array<CacheLine> = Array::with_max_entries(1, 0);

#[map]
pub static CPU_STATES: Array<CpuState> = Array::with_max_entries(1, 0);
#[map]
pub static SLOT_CPUS: Array<SlotCpu> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static SLOTS: Array<Slot> = Array::with_max_entries(1, BPF_F_MMAPABLE);
#[map]
pub static HISTOGRAMS: Array<Histogram> = Array::with_max_entries(1, 0);

#[map]
pub static TASK_WAITS: Array<TaskWait> = Array::with_max_entries(TASK_WAIT_ENTRIES, 0);
#[map]
pub static PARKED_AT: Array<u64> = Array::with_max_entries(TASK_WAIT_ENTRIES, 0);
#[map]
pub static EPOCH: Array<Epoch> = Array::with_max_entries(1, 0);
#[map]
pub static RUN_HISTORIES: Array<RunHistory> = Array::with_max_entries(1, 0);
#[map]
pub static NEIGHBOURS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(NEIGHBOUR_ENTRIES, 0);
#[map]
pub static LEARNED: Array<Learned> = Array::with_max_entries(1, 0);
#[map]
pub static TIMER_ENDING: PerCpuArray<Ending> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static CSD_ENDING: PerCpuArray<Ending> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static UNTHROTTLE_ENDING: PerCpuArray<ThrottledQueue> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static OPEN_THROTTLES: HashMap<u64, OpenThrottle> = HashMap::with_max_entries(HASH_ENTRIES, 0);
#[map]
pub static LAST_THROTTLES: LruHashMap<u64, LastThrottle> =
    LruHashMap::with_max_entries(HASH_ENTRIES, 0);
/// All 0 but for the first span: what a new entry of [`LAST_THROTTLES`] is made of.
#[map]
pub static LAST_SCRATCH: PerCpuArray<LastThrottle> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static COVERS: PerCpuArray<Covers> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub static FROZEN: HashMap<u32, Frozen> = HashMap::with_max_entries(1, 0);

#[map]
pub static PENDING_KILLS: LruHashMap<u64, Kill> = LruHashMap::with_max_entries(KILLS, 0);

#[map]
pub static OOM_CONTEXTS: LruHashMap<u64, OomContext> = LruHashMap::with_max_entries(KILLS, 0);

/// Processes that the OOM killer chose and that have not taken their SIGKILL yet.
#[map]
pub static OOM_VICTIMS: LruHashMap<u32, u32> = LruHashMap::with_max_entries(KILLS, 0);
#[map]
pub static COMMAND_LINE_SCRATCH: PerCpuArray<OomCommandLine> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub static LIFECYCLE_SCRATCH: PerCpuArray<CgroupLifecycle> = PerCpuArray::with_max_entries(1, 0);
