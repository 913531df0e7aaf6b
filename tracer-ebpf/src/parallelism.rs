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
    globals::{CPUS, cpus},
    kernel_types::cfs_rq::TaskGroup,
    maps::{CPU_STATES, EPOCH, SLOTS, TASK_WAITS},
    slots::look_up,
};

/// Id of the root of every hierarchy (`cgroup_setup_root`, kernel/cgroup/cgroup.c); an autogroup has none.
const ROOT_ID: u64 = 1;

/// Nanoseconds between two looks of one CPU, for each CPU that there is: so there is one every 0.1 ms on
/// all of them together, and each looks at all of them.
const LOOK_EVERY_NS: u64 = 100_000;

/// Whether it is time for another look, at the time `clock`.
#[inline(always)]
pub fn is_due(looked: u64, clock: u64) -> bool {
    clock.wrapping_sub(looked) >= u64::from(CPUS.load()) * LOOK_EVERY_NS
}

/// The epoch as it is now; of two words that are read, the second may be newer.
#[derive(Clone, Copy)]
pub struct Now(*const Epoch);

/// The epoch; it begins with the first switch that finds it new.
#[inline(always)]
pub fn epoch() -> Option<Now> {
    EPOCH.get_ptr(0).map(Now)
}

impl Now {
    /// Whether user space has ended the one that has begun.
    #[inline(always)]
    pub fn is_over(self) -> bool {
        // SAFETY: an element of the array, read as whole words.
        unsafe { (&raw const (*self.0).number).read_volatile() != self.begun() }
    }

    /// `rq->clock` when it began.
    #[inline(always)]
    pub fn began(self) -> u64 {
        // SAFETY: an element of the array, read as a whole word.
        unsafe { (&raw const (*self.0).began).read_volatile() }
    }

    /// Its number.
    #[inline(always)]
    fn begun(self) -> u32 {
        // SAFETY: an element of the array, read as a whole word.
        unsafe { (&raw const (*self.0).begun).read_volatile() }
    }
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

/// `task` runs and was last put on a CPU before the epoch began: counts it, unless it was on one then and
/// was counted as it left that, or a clock of another CPU lags behind. `entering` where its entry in
/// [`TASK_WAITS`] is about to become its own.
#[inline(never)]
#[unsafe(export_name = "parallelism_count")]
pub extern "C" fn count(slot: u32, pid: u32, task: u64, entering: u32) -> u32 {
    let Some(epoch) = epoch() else { return 0 };
    let number = epoch.begun();
    if let Some(entry) = TASK_WAITS.get_ptr_mut(pid & (TASK_WAIT_ENTRIES - 1)) {
        // SAFETY: an element of the array, of whole words. Another CPU can write it at the same moment
        // for another thread, which is then counted twice at most.
        let entry = unsafe { &mut *entry };
        let is_own = entry.task & !TASK_PARKED == task;
        if is_own && entry.counted_in == number {
            return 0;
        }
        if is_own || entering != 0 {
            entry.counted_in = number;
        }
    }
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // SAFETY: an element of the array, aligned, only added to atomically.
        unsafe { add_u64(&raw mut (*shared).threads_ran[number as usize & 1], 1) };
    }
    0
}

/// Looks how many threads of `slot` run now, and how many of the task group `group` run or want to. `cpu`
/// is the one that looks.
#[inline(never)]
#[unsafe(export_name = "parallelism_look")]
pub extern "C" fn look(slot: u32, group: u64, cpu: u32) -> u32 {
    if slot == SLOT_NONE || slot == SLOT_UNKNOWN {
        return 0;
    }
    let group = TaskGroup(group);
    // Where the slot's cgroup has not the controller, the group is one above it; and that of the root
    // has what is below it, too.
    let id = group.cgroup().id();
    let queues = if id > ROOT_ID && look_up(id) == slot {
        group.queues()
    } else {
        0
    };
    let Some(sums) = CPU_STATES.get_ptr_mut(cpu) else {
        return 0;
    };
    // Sums are in the map: of a number on the stack the verifier would keep every value that it can have
    // after so many CPUs.
    // SAFETY: members of the state that only this CPU uses.
    let (running, runnable) = unsafe { (&raw mut (*sums).running, &raw mut (*sums).runnable) };
    // SAFETY: as before.
    unsafe {
        running.write_volatile(0);
        runnable.write_volatile(0);
    }
    for cpu in 0..cpus() {
        if let Some(state) = CPU_STATES.get_ptr(cpu)
            // SAFETY: an element of the array, read as a whole word.
            && unsafe { (&raw const (*state).slot).read_volatile() } == slot
        {
            // SAFETY: as before.
            unsafe { running.write_volatile(running.read_volatile().wrapping_add(1)) };
        }
        if queues != 0 {
            let queue = TaskGroup::queue_in(queues, cpu);
            if queue.0 != 0 {
                let more = queue.runnable();
                // SAFETY: as before.
                unsafe { runnable.write_volatile(runnable.read_volatile().wrapping_add(more)) };
            }
        }
    }
    // SAFETY: as before.
    let (running, mut runnable) = unsafe { (running.read_volatile(), runnable.read_volatile()) };
    // 0 where the kernel does not tell it.
    if runnable != 0 && runnable < running {
        // Threads of another scheduling class, or of cgroups that share the slot.
        runnable = running;
    }
    let Some(number) = epoch().map(Now::begun) else {
        return 0;
    };
    let Some(shared) = SLOTS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: an element of the array, a whole word. Of two CPUs that write it at one moment one is
    // lost, as if it had not looked.
    unsafe {
        let cell = &raw mut (*shared).peaks[number as usize & 1];
        cell.write_volatile(peaks::raised(
            cell.read_volatile(),
            number,
            running,
            runnable,
        ));
    }
    0
}
