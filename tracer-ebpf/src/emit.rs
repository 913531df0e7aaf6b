//! Sending records and counting what was lost.

use aya_ebpf::helpers::{bpf_get_smp_processor_id, bpf_ktime_get_ns};
use core::cell::UnsafeCell;
use tracer_common::{counters, header::RecordHeader};

use crate::atomic::add_u64;

/// The counters of [`tracer_common::counters`]: a global, so that counting takes no look-up and no
/// branch. A branch at each read would multiply the paths that the verifier follows.
#[unsafe(no_mangle)]
static COUNTERS: CounterCells = CounterCells(UnsafeCell::new([0; counters::COUNTERS as usize]));

struct CounterCells(UnsafeCell<[u64; counters::COUNTERS as usize]>);

// SAFETY: the cells are only ever changed by atomic additions.
unsafe impl Sync for CounterCells {}

/// Adds one to a counter of [`tracer_common::counters`].
#[inline(always)]
pub fn count(counter: u32) {
    count_by(counter, 1);
}

/// Adds `by` to a counter of [`tracer_common::counters`], a constant.
#[inline(always)]
pub fn count_by(counter: u32, by: u64) {
    // SAFETY: `counter` is one of the constants, all below the number of cells; aligned, and only
    // ever changed so.
    unsafe { add_u64(COUNTERS.0.get().cast::<u64>().add(counter as usize), by) };
}

/// The CPU that this program runs on.
#[inline(always)]
pub fn cpu() -> u32 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_get_smp_processor_id() as u32 }
}

/// CLOCK_MONOTONIC in nanoseconds. Not to be mixed with `rq->clock`.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: the helper has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

/// A header for a record of `size` bytes made now.
#[inline(always)]
pub fn header(kind: u32, size: usize) -> RecordHeader {
    RecordHeader {
        kind,
        size: size as u32,
        cpu: cpu(),
        reserved: 0,
        monotonic_ns: now(),
    }
}
