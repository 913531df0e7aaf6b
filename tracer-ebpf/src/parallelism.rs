//! How wide a slot is: how many threads of it ran since user space last read, and how many ran, or
//! wanted to, at a time.
//!
//! A thread is counted once in each epoch ([`Epoch`]): when it is put on a CPU and was last put on one
//! before the epoch began, which its own `last_arrival` tells; or when it leaves a CPU on which it was
//! already when the epoch began. User space adds those that have not left theirs.
//!
//! How many at a time is looked up now and then, when a thread is put on a CPU: to keep a count for it
//! would make all CPUs write to one place at every switch.

use tracer_common::{
    maps::{Epoch, SLOT_NONE, SLOT_UNKNOWN, TASK_PARKED, TASK_WAIT_ENTRIES},
    peaks,
};

use crate::{
    atomic::add_u64,
    globals::{CFS_RQ_H_NR_QUEUED, CPUS, TG_CFS_RQ, cpus, present},
    maps::{CPU_STATES, EPOCH, SLOTS, TASK_WAITS},
    read::checked,
};

/// Nanoseconds between two looks of one CPU, for each CPU that there is: so there is one every 0.1 ms on
/// all of them together, and each looks at all of them.
const LOOK_EVERY_NS: u64 = 100_000;

/// Whether it is time for another look, at the time `clock`.
#[inline(always)]
pub fn is_due(looked: u64, clock: u64) -> bool {
    clock.wrapping_sub(looked) >= u64::from(CPUS.load()) * LOOK_EVERY_NS
}

/// The epoch; it begins with the first switch that finds it new.
#[inline(always)]
pub fn epoch() -> Option<&'static Epoch> {
    let epoch = EPOCH.get_ptr(0)?;
    // SAFETY: an element of the array, of whole words.
    Some(unsafe { &*epoch })
}

/// Begins the new epoch at the time `clock`. CPUs that come here at one moment write almost the same.
#[inline(never)]
#[unsafe(export_name = "parallelism_begin")]
pub extern "C" fn begin(clock: u64) -> u32 {
    if let Some(epoch) = EPOCH.get_ptr_mut(0) {
        // SAFETY: an element of the array, written word by word; user space writes `number` alone, and
        // only long after the epoch before has begun.
        unsafe {
            (&raw mut (*epoch).began).write_volatile(clock);
            let number = (&raw const (*epoch).number).read_volatile();
            (&raw mut (*epoch).begun).write_volatile(number);
        }
    }
    0
}

/// `task` is put on a CPU for the first time in this epoch, unless it was on one when it began.
#[inline(never)]
#[unsafe(export_name = "parallelism_first")]
pub extern "C" fn first(slot: u32, pid: u32, task: u64) -> u32 {
    if let Some(entry) = TASK_WAITS.get_ptr(pid & (TASK_WAIT_ENTRIES - 1))
        && let Some(epoch) = epoch()
    {
        // SAFETY: an element of the array, of whole words.
        let entry = unsafe { &*entry };
        if entry.task & !TASK_PARKED == task && entry.left_in_epoch == epoch.number {
            return 0;
        }
    }
    ran(slot);
    0
}

/// `task` leaves a CPU on which it was when this epoch began.
#[inline(never)]
#[unsafe(export_name = "parallelism_left")]
pub extern "C" fn left(slot: u32, pid: u32, task: u64) -> u32 {
    ran(slot);
    if let Some(entry) = TASK_WAITS.get_ptr_mut(pid & (TASK_WAIT_ENTRIES - 1))
        && let Some(epoch) = epoch()
    {
        // SAFETY: an element of the array, of whole words. Another CPU can write it at the same moment
        // for another thread, which is then counted twice at most.
        let entry = unsafe { &mut *entry };
        if entry.task & !TASK_PARKED == task {
            entry.left_in_epoch = epoch.number;
        }
    }
    0
}

/// One thread more.
#[inline(always)]
fn ran(slot: u32) {
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // SAFETY: an element of the array, aligned, only added to atomically.
        unsafe { add_u64(&raw mut (*shared).threads_ran, 1) };
    }
}

/// Looks how many threads of `slot` run now, and how many of the task group `group` run or wait.
#[inline(never)]
#[unsafe(export_name = "parallelism_look")]
pub extern "C" fn look(slot: u32, group: u64) -> u32 {
    if slot == SLOT_NONE || slot == SLOT_UNKNOWN {
        return 0;
    }
    let queues: u64 = if present(&TG_CFS_RQ) && present(&CFS_RQ_H_NR_QUEUED) && group != 0 {
        checked::read(group, TG_CFS_RQ.load())
    } else {
        0
    };
    let (mut running, mut runnable) = (0u32, 0u32);
    for cpu in 0..cpus() {
        if let Some(state) = CPU_STATES.get_ptr(cpu)
            // SAFETY: an element of the array, read as a whole word.
            && unsafe { (&raw const (*state).slot).read_volatile() } == slot
        {
            running += 1;
        }
        if queues != 0 {
            let queue: u64 = checked::read(queues, cpu * 8);
            if queue != 0 {
                runnable += checked::read::<u32>(queue, CFS_RQ_H_NR_QUEUED.load());
            }
        }
    }
    if runnable < running {
        // Threads of another scheduling class, or of cgroups that share the slot.
        runnable = running;
    }
    let Some(epoch) = epoch() else { return 0 };
    let Some(shared) = SLOTS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: an element of the array, a whole word. Of two CPUs that write it at one moment one is
    // lost, as if it had not looked.
    unsafe {
        let cell = &raw mut (*shared).peaks;
        cell.write_volatile(peaks::raised(
            cell.read_volatile(),
            epoch.number,
            running,
            runnable,
        ));
    }
    0
}
