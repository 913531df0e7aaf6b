//! `sched:sched_switch`: everything that a context switch tells, folded where it happens.
//!
//! ```c
//! // up to 5.17: (bool preempt, struct task_struct *prev, struct task_struct *next)
//! // since 5.18: (…, unsigned int prev_state)
//! ```
//!
//! In `__schedule` (`kernel/sched/core.c`) the tracepoint comes after the run queue's clock was
//! updated and the switch counted in `nvcsw` or `nivcsw`, and before `sched_info_switch`: so `next`
//! still has the time at which it was queued, and the difference is to the nanosecond what the
//! kernel adds to `run_delay`.

use aya_ebpf::{
    helpers::bpf_get_current_task, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::{
    counters::{LOST_CLOCK, LOST_CPU},
    maps::{
        CpuState, HIST_ON_CPU_SLICE, HIST_RUN_QUEUE_WAIT, SLOT_NONE, SLOT_UNKNOWN, SlotCpu,
        TASK_PARKED, TASK_WAIT_ENTRIES, TaskWait, neighbour_key,
    },
};

use crate::{
    emit::{count, cpu},
    frozen,
    globals::{
        CFS_RQ_RQ, CFS_RQ_THROTTLE_COUNT, MEASURE_SWITCHES, MEASURE_THROTTLE, RQ_CLOCK,
        SWITCH_HAS_STATE, TASK_CFS_RQ, TASK_CGROUPS, TASK_EXEC_RUNTIME, TASK_GROUP,
        TASK_LAST_ARRIVAL, TASK_LAST_QUEUED, TASK_NVCSW, TASK_PCOUNT, TASK_PID, TASK_RUN_DELAY,
        TASK_STATE, TASK_THROTTLED, present,
    },
    maps::{CPU_STATES, SLOTS, TASK_WAITS},
    parallelism,
    read::direct,
    slots::{cgroup_id_of, counts, record, slot_of},
    throttle, throttled_waits, waits,
};

#[btf_tracepoint(function = "sched_switch")]
pub fn sched_switch(ctx: BtfTracePointContext) -> i32 {
    on_switch(&ctx);
    0
}

#[inline(always)]
fn on_switch(ctx: &BtfTracePointContext) {
    let prev: u64 = ctx.arg(1);
    let next: u64 = ctx.arg(2);
    let cpu = cpu();
    let Some(state) = CPU_STATES.get_ptr_mut(cpu) else {
        count(LOST_CPU);
        return;
    };
    // SAFETY: an element of the array; only this CPU writes all but the atomic members of its
    // state, and a switch is not interrupted by another.
    let state = unsafe { &mut *state };

    let prev_pid = direct::u32(prev, TASK_PID.load());
    let mut prev_slot = SLOT_NONE;
    state.wants_on = 0;
    let arrival_seen = state.pid == prev_pid;
    if prev_pid != 0 {
        prev_slot = leave(ctx, prev, prev_pid, cpu, state);
    }

    if MEASURE_SWITCHES.load() == 1 && state.slot != prev_slot {
        // It was moved to another cgroup, or put on the CPU unseen: until then another slot ran.
        waits::remember(cpu, state.slices, state.slot, state.slice_began);
        state.slices = state.slices.wrapping_add(1);
        state.slice_began = if arrival_seen {
            clock_of(prev)
        } else {
            direct::u64(prev, TASK_LAST_ARRIVAL.load())
        };
    }

    // `prev` still belongs to the epoch before, `next` to the new one.
    if MEASURE_SWITCHES.load() == 1
        && let Some(epoch) = parallelism::epoch()
        && epoch.is_over()
    {
        parallelism::begin(clock_of(prev));
    }
    let next_pid = direct::u32(next, TASK_PID.load());
    if next_pid != 0 {
        enter(next, next_pid, prev_slot, cpu, state);
    } else {
        // The idle task is nobody's.
        state.pid = 0;
        state.slot = SLOT_NONE;
    }
    // Slices of one slot that follow each other are one.
    if MEASURE_SWITCHES.load() == 1 && state.slot != prev_slot {
        waits::remember(cpu, state.slices, prev_slot, state.slice_began);
        state.slices = state.slices.wrapping_add(1);
        state.slice_began = clock_of(if next_pid != 0 { next } else { prev });
    }

    if MEASURE_SWITCHES.load() == 1 && next_pid != 0 {
        if state.wants_on != 0
            && !is_parked(prev)
            && let Some(counts) = counts(prev_slot, cpu)
        {
            if state.slot == prev_slot {
                counts.preempted_by_own = counts.preempted_by_own.wrapping_add(1);
            } else {
                counts.preempted_by_others = counts.preempted_by_others.wrapping_add(1);
            }
        }
        let clock = clock_of(next);
        if parallelism::is_due(state.looked, clock) {
            state.looked = clock;
            let group = as_number(state, direct::u64(next, TASK_GROUP.load()));
            parallelism::look(state.slot, group, cpu);
        }
    }

    if MEASURE_THROTTLE.load() == 1 {
        let next_slot = state.slot;
        if prev_pid != 0 {
            if !arrival_seen && state.open_throttles != 0 && is_held(prev_slot) {
                let arrival = direct::u64(prev, TASK_LAST_ARRIVAL.load());
                throttle::close_late(as_number(state, prev), arrival);
            }
            if is_parked(prev) {
                // `prev` is still the current task; the helper gives its address as a number.
                // SAFETY: the helper has no precondition.
                throttle::park(unsafe { bpf_get_current_task() }, prev_slot, cpu);
            }
            if prev_slot != next_slot && is_held(prev_slot) {
                frozen::maybe_begin(prev_slot);
            }
        }
        if next_pid != 0 && is_held(next_slot) {
            frozen::end(next_slot);
        }
    }
}

/// `prev` leaves the CPU: its switch and its slice. Returns its slot.
#[inline(always)]
fn leave(ctx: &BtfTracePointContext, prev: u64, pid: u32, cpu: u32, state: &mut CpuState) -> u32 {
    let known = state.pid == pid;
    let moved = state.css_set != direct::u64(prev, TASK_CGROUPS.load());
    let slot = if known && !moved {
        state.slot
    } else {
        slot_of(cgroup_id_of(prev), cpu)
    };
    if MEASURE_SWITCHES.load() == 0 {
        return slot;
    }
    if began_before_epoch(prev) {
        parallelism::count(slot, pid, as_number(state, prev), 0);
    }
    if let Some(counts) = counts(slot, cpu) {
        let voluntary = if known {
            direct::u64(prev, TASK_NVCSW.load()) != state.voluntary_start
        } else {
            // The first switch that is seen on this CPU: by the rule of `__schedule`. A pending
            // signal makes it wrong, which the task's own counts are not.
            let preempt: u64 = ctx.arg(0);
            let prev_state = if SWITCH_HAS_STATE.load() == 1 {
                ctx.arg::<u64>(3) as u32
            } else {
                direct::u32(prev, TASK_STATE.load())
            };
            preempt as u8 == 0 && prev_state != 0
        };
        if voluntary {
            counts.voluntary += 1;
        } else {
            counts.involuntary += 1;
            // Through memory: there is no room for it on the stack.
            state.wants_on = 1;
        }
        let ran = if known {
            direct::u64(prev, TASK_EXEC_RUNTIME.load()).wrapping_sub(state.exec_start_ns)
        } else {
            missed_arrival(prev, pid, slot, counts, state)
        };
        if (ran as i64) < 0 {
            count(LOST_CLOCK);
        } else {
            counts.cpu_time_ns += ran;
            record(slot, HIST_ON_CPU_SLICE, ran);
        }
    }
    slot
}

/// `prev` leaves, but it was not seen being put on the CPU: it was running before the program was
/// attached, or the switch to it was hidden from tracing, as some kernels do with some tasks. Its
/// own times tell what was missed. Returns how long it ran.
#[inline(always)]
fn missed_arrival(
    prev: u64,
    pid: u32,
    slot: u32,
    counts: &mut SlotCpu,
    state: &mut CpuState,
) -> u64 {
    if let Some(entry) = TASK_WAITS.get_ptr_mut(pid & (TASK_WAIT_ENTRIES - 1)) {
        // SAFETY: an element of the array, see `wait_of`.
        let entry = unsafe { &mut *entry };
        let task = as_number(state, prev);
        if let Some(before) = entry.of(task).or(before_first(prev, 1)) {
            let run_delay = direct::u64(prev, TASK_RUN_DELAY.load());
            let wait = run_delay.wrapping_sub(before);
            if (wait as i64) > 0 {
                counts.wait_ns += wait;
                record(slot, HIST_RUN_QUEUE_WAIT, wait);
                note(entry, task, run_delay);
            }
        }
    }
    clock_of(prev).wrapping_sub(direct::u64(prev, TASK_LAST_ARRIVAL.load()))
}

/// The clock of the run queue of `task`.
#[inline(always)]
fn clock_of(task: u64) -> u64 {
    let cfs_rq = direct::u64(task, TASK_CFS_RQ.load());
    direct::u64(direct::u64(cfs_rq, CFS_RQ_RQ.load()), RQ_CLOCK.load())
}

/// `next` is put on the CPU: its wait, and what its leaving will be compared with.
#[inline(always)]
fn enter(next: u64, pid: u32, prev_slot: u32, cpu: u32, state: &mut CpuState) {
    let slot = slot_of(cgroup_id_of(next), cpu);
    // Before its wait is looked at, which such an interval can be a part of.
    if MEASURE_THROTTLE.load() == 1 && state.open_throttles != 0 && is_held(slot) {
        throttle::close_late(as_number(state, next), clock_of(next));
        frozen::end(slot);
    }
    if MEASURE_SWITCHES.load() == 1 {
        // Before its own entry is written.
        if began_before_epoch(next) {
            parallelism::count(slot, pid, as_number(state, next), 1);
        }
        wait_of(next, pid, slot, prev_slot, cpu, state);
        state.exec_start_ns = direct::u64(next, TASK_EXEC_RUNTIME.load());
        state.voluntary_start = direct::u64(next, TASK_NVCSW.load());
    }
    state.css_set = direct::u64(next, TASK_CGROUPS.load());
    state.pid = pid;
    state.slot = slot;
}

/// The wait of `next` that ends now.
#[inline(always)]
fn wait_of(next: u64, pid: u32, slot: u32, prev_slot: u32, cpu: u32, state: &mut CpuState) {
    let queued = direct::u64(next, TASK_LAST_QUEUED.load());
    let run_delay = direct::u64(next, TASK_RUN_DELAY.load());
    // The verifier lets nobody calculate with an address of which it knows the type.
    let task = as_number(state, next);
    let Some(entry) = TASK_WAITS.get_ptr_mut(pid & (TASK_WAIT_ENTRIES - 1)) else {
        return;
    };
    // SAFETY: an element of the array. Another CPU can write it at the same moment for another
    // thread; its check tells.
    let entry = unsafe { &mut *entry };
    let known = entry.of(task);
    let parked = known.is_some() && entry.task & TASK_PARKED != 0;
    let mut wait = 0;
    let mut throttled = 0;
    if queued != 0 {
        let clock = clock_of(next);
        wait = clock.wrapping_sub(queued);
        if (wait as i64) < 0 {
            count(LOST_CLOCK);
            return;
        }
        let mut from = queued;
        // Only a wait that a throttled interval of this CPU ended in can have a throttled part.
        if MEASURE_THROTTLE.load() == 1 && state.last_end > queued {
            let cpu_and_parked = throttled_waits::pack(cpu, parked);
            let part = throttled_waits::part_of_wait(task, slot, queued, clock, cpu_and_parked);
            throttled = if part > wait { wait } else { part };
            if throttled > 0 {
                // It waits for others when the last interval is over.
                // SAFETY: a member of the state that only this CPU uses.
                from = unsafe { (&raw const state.task).read_volatile() };
            }
        }
        if from >= state.slice_began {
            // For what has just been taken off the CPU alone, as almost always.
            if from < clock
                && let Some(own) = counts(slot, cpu)
            {
                waits::waited_for(own, slot, prev_slot, clock - from);
            }
        } else {
            let pair = neighbour_key(slot, prev_slot);
            waits::over_slices(cpu, pair, state.slice_began, from, clock);
        }
    }
    let after = run_delay + wait;
    if let Some(before) = known.or(before_first(next, 0)) {
        // What it waited on other CPUs since it last ran.
        let elsewhere = run_delay.wrapping_sub(before);
        if (elsewhere as i64) > 0 {
            wait += elsewhere;
            if parked {
                let there = entry.parked_cpu;
                throttled +=
                    throttled_waits::moved_while_held(task, slot, elsewhere, queued, there);
            }
        }
    }
    note(entry, task, after);
    if wait == 0 && queued == 0 {
        return;
    }
    if let Some(counts) = counts(slot, cpu) {
        counts.wait_ns += wait - throttled;
        counts.throttled_wait_ns += throttled;
        record(slot, HIST_RUN_QUEUE_WAIT, wait - throttled);
    }
}

/// Whether `task` was last put on a CPU before the epoch began.
#[inline(always)]
fn began_before_epoch(task: u64) -> bool {
    match parallelism::epoch() {
        Some(epoch) => direct::u64(task, TASK_LAST_ARRIVAL.load()) < epoch.began(),
        None => false,
    }
}

/// Notes that `task` has waited `run_delay` so far, and is not held up.
#[inline(always)]
fn note(entry: &mut TaskWait, task: u64, run_delay: u64) {
    // Word by word: where it was held up is written only then.
    entry.task = task;
    entry.run_delay = run_delay;
    entry.check = task ^ run_delay;
}

/// A thread that has been put on a CPU `arrivals` times so far: before the first it had waited for
/// nothing, which needs no entry of its own. It may have been moved before it first ran.
#[inline(always)]
fn before_first(task: u64, arrivals: u64) -> Option<u64> {
    if direct::u64(task, TASK_PCOUNT.load()) == arrivals {
        Some(0)
    } else {
        None
    }
}

/// The address of a task as a number without type, as global functions take it: once through the
/// map, where the verifier keeps no types.
#[inline(always)]
fn as_number(state: &mut CpuState, task: u64) -> u64 {
    let cell = &raw mut state.task;
    // SAFETY: a member of the state that only this CPU uses.
    unsafe {
        cell.write_volatile(task);
        cell.read_volatile()
    }
}

/// Whether `prev` leaves because its group is throttled.
///
/// Since 6.18 a throttled task goes on until it returns to user space, parks itself then and says
/// so. Before, the whole group leaves the run queue at once, whatever its tasks do.
#[inline(always)]
fn is_parked(prev: u64) -> bool {
    if present(&TASK_THROTTLED) {
        direct::u8(prev, TASK_THROTTLED.load()) != 0
    } else {
        let cfs_rq = direct::u64(prev, TASK_CFS_RQ.load());
        direct::u32(cfs_rq, CFS_RQ_THROTTLE_COUNT.load()) != 0
    }
}

/// Whether threads of `slot` are held up somewhere.
#[inline(always)]
fn is_held(slot: u32) -> bool {
    if slot == SLOT_NONE || slot == SLOT_UNKNOWN {
        return false;
    }
    match SLOTS.get_ptr(slot) {
        // SAFETY: an element of the array, read as a whole word.
        Some(slot) => unsafe { (&raw const (*slot).held).read_volatile() as i32 > 0 },
        None => false,
    }
}
