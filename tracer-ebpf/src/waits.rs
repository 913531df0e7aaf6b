//! For whom a thread waited: what its CPU ran meanwhile.
//!
//! Each CPU remembers what it ran last, slot by slot. When a thread is put on the CPU the slices
//! within its wait tell: threads of its own slot, of others, or nobody (the CPU was idle and had to
//! wake up). What lies before the oldest slice, and what a thread waited on another CPU before it
//! was moved, is nobody's either. All by `rq->clock` of the CPU.

use tracer_common::maps::{
    NEIGHBOUR_MIN_NS, RUN_SLICES, RunSlice, SLOT_NONE, SlotCpu, neighbour_key,
};

use crate::{
    atomic::add_u64,
    maps::{CPU_STATES, NEIGHBOURS, RUN_HISTORIES},
    slots::counts,
};

const MASK: u32 = RUN_SLICES as u32 - 1;

/// What ran on `cpu` from `began` on has been taken off it. `slices` is how many were before.
#[inline(always)]
pub fn remember(cpu: u32, slices: u32, slot: u32, began: u64) {
    if let Some(history) = RUN_HISTORIES.get_ptr_mut(cpu) {
        let slice = RunSlice {
            began,
            slot,
            reserved: 0,
        };
        // The verifier has to see the bound, which the compiler knows and would drop.
        let index = core::hint::black_box(slices & MASK) as usize;
        if index < RUN_SLICES {
            // SAFETY: within the element (checked above); only this CPU uses its element, and a
            // switch is not interrupted by another.
            unsafe { history.cast::<RunSlice>().add(index).write(slice) };
        }
    }
}

/// A thread of `waiting` waited from `from` to `to` on `cpu`, which ran threads of `running` all the
/// time.
#[inline(always)]
pub fn waited_for(own: &mut SlotCpu, waiting: u32, running: u32, ns: u64) {
    if running == SLOT_NONE {
        return;
    }
    if running == waiting {
        own.wait_own_ns += ns;
        return;
    }
    own.wait_others_ns += ns;
    if ns < NEIGHBOUR_MIN_NS {
        return;
    }
    let key = neighbour_key(waiting, running);
    if let Some(sum) = NEIGHBOURS.get_ptr_mut(key) {
        // SAFETY: an element of the map, aligned; memory of a removed element stays mapped.
        unsafe { add_u64(sum, ns) };
    } else {
        // A pair that is not kept is still in the sum of all others.
        let _ = NEIGHBOURS.insert(key, ns, 0);
    }
}

/// The same where the wait goes over several slices: the last one, of the second slot of `pair`
/// ([`neighbour_key`]: a function has five arguments) since `began`, and those before it.
#[inline(never)]
#[unsafe(export_name = "waits_over_slices")]
pub extern "C" fn over_slices(cpu: u32, pair: u64, began: u64, from: u64, to: u64) -> u32 {
    let (waiting, running) = ((pair >> 32) as u32, pair as u32);
    let Some(state) = CPU_STATES.get_ptr(cpu) else {
        return 0;
    };
    let Some(history) = RUN_HISTORIES.get_ptr(cpu) else {
        return 0;
    };
    let Some(own) = counts(waiting, cpu) else {
        return 0;
    };
    // SAFETY: an element of the array that only this CPU uses.
    let slices = unsafe { (*state).slices };
    let mut slice = RunSlice {
        began,
        slot: running,
        reserved: 0,
    };
    let mut end = to;
    for back in 1..=RUN_SLICES as u32 {
        // Not written yet, or of before the clock was set anew.
        if slice.began == 0 || slice.began > end {
            return 0;
        }
        let start = if slice.began > from {
            slice.began
        } else {
            from
        };
        if start < end {
            waited_for(own, waiting, slice.slot, end - start);
        }
        if slice.began <= from {
            return 0;
        }
        end = slice.began;
        let index = core::hint::black_box(slices.wrapping_sub(back) & MASK) as usize;
        if index >= RUN_SLICES {
            return 0;
        }
        // SAFETY: within the element (checked above), see `remember`.
        slice = unsafe { history.cast::<RunSlice>().add(index).read() };
    }
    0
}
