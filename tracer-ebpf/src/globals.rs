//! The read-only globals that user space sets before the object is loaded: see
//! [`tracer_common::globals`].

use aya_ebpf::Global;
pub use tracer_common::globals::ABSENT;

macro_rules! declare_offsets {
    ($($symbol:ident)+) => {
        $(
            #[unsafe(no_mangle)]
            pub static $symbol: Global<u32> = Global::new(ABSENT);
        )+
    };
}
tracer_common::for_each_offset!(declare_offsets);

macro_rules! declare {
    ($($symbol:ident: $ty:ty = $default:expr;)+) => {
        $(
            #[unsafe(no_mangle)]
            pub static $symbol: Global<$ty> = Global::new($default);
        )+
    };
}

// Meanings: `tracer_common::globals::plan`.
declare! {
    SLOT_HIERARCHY: u32 = 0;
    MEMORY_HIERARCHY: u32 = 0;
    SLOT_BY_TASK_GROUP: u32 = 0;
    CPUS: u32 = 1;
    SLOT_COUNT: u32 = 1;
    SWITCH_HAS_STATE: u32 = 0;
    MARK_VICTIM_HAS_TASK: u32 = 0;
    KILLS_ARE_SIGNALLED: u32 = 0;
    RSS_IS_PERCPU: u32 = 0;
    GROUP_QUEUES_ARE_PERCPU: u32 = 0;
    RSS_STRIDE: u32 = 0;
    PER_CPU_OFFSET: u64 = 0;
    MEMORY_SUBSYS: u32 = ABSENT;
    MEMCG_OOM_EVENT: u32 = ABSENT;
    THROTTLED_MASK: u32 = 0xff;
    CALLS_ARE_SEEN: u32 = 0;
    THROTTLE_BY_FUNCTION: u32 = 0;
    THROTTLE_MIN_NS: u64 = 0;
    MEASURE_SWITCHES: u32 = 0;
    MEASURE_THROTTLE: u32 = 0;
}

/// Whether this kernel has the member whose offset is `offset`.
#[inline(always)]
pub fn present(offset: &Global<u32>) -> bool {
    offset.load() != ABSENT
}

/// CPUs, never more than the loops are made for.
#[inline(always)]
pub fn cpus() -> u32 {
    let cpus = CPUS.load();
    if cpus > tracer_common::maps::MAX_CPUS {
        tracer_common::maps::MAX_CPUS
    } else {
        cpus
    }
}
