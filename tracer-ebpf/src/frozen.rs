//! Frozen time: wall-clock time in which a slot could not run.
//!
//! It is frozen while at least one of its run queues is throttled with threads held up in it and
//! none of its threads is on a CPU. It begins when the last one leaves its CPU and ends when a
//! thread is put on one, or when a run queue that held it up is unthrottled and nothing above it
//! is throttled.
//!
//! The entry in the map is the state; whoever removes it accounts for it. Beginning again moves
//! the begin: the one who begins has run until now.

use tracer_common::{
    counters::LOST_MAP_FULL,
    maps::{Frozen, HIST_FROZEN_TIME},
};

use crate::{
    atomic::{add_u32, add_u64},
    emit::{count, now},
    globals::cpus,
    maps::{CPU_STATES, FROZEN, SLOTS},
    slots::record,
};

/// The calling CPU has just put something else on in place of a thread of `slot`, which is held up.
#[inline(never)]
#[unsafe(export_name = "frozen_maybe_begin")]
pub extern "C" fn maybe_begin(slot: u32) -> u32 {
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // Two CPUs may come here at one moment, each having stored what it runs now. This locked
        // instruction keeps the loads below behind that store, so at least one of the two sees
        // both. Where an atomic add orders nothing, a stretch can be missed, never invented.
        // SAFETY: an element of the array, aligned, only used atomically.
        unsafe { add_u32(&raw mut (*shared).reserved, 1) };
    }
    for cpu in 0..cpus() {
        if let Some(state) = CPU_STATES.get_ptr(cpu)
            // SAFETY: an element of the array, read as a whole word.
            && unsafe { (&raw const (*state).slot).read_volatile() } == slot
        {
            return 0;
        }
    }
    if FROZEN.insert(slot, Frozen { since_ns: now() }, 0).is_err() {
        count(LOST_MAP_FULL);
    }
    1
}

/// A thread of `slot` runs, or can run.
#[inline(never)]
#[unsafe(export_name = "frozen_end")]
pub extern "C" fn end(slot: u32) -> u32 {
    // SAFETY: the value is copied at once.
    let Some(frozen) = (unsafe { FROZEN.get(slot) }) else {
        return 0;
    };
    let since = frozen.since_ns;
    if FROZEN.remove(slot).is_err() {
        // Another CPU was first.
        return 0;
    }
    let lasted = now().wrapping_sub(since);
    if (lasted as i64) < 0 {
        return 0;
    }
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // SAFETY: an element of the array, aligned, only added to atomically.
        unsafe { add_u64(&raw mut (*shared).frozen_ns, lasted) };
        record(slot, HIST_FROZEN_TIME, lasted);
    }
    1
}
