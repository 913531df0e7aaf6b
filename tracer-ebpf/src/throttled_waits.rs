//! How much of a thread's wait was throttling, and whose.

use tracer_common::maps::{LastThrottle, THROTTLED_SPANS, ThrottledSpan};

use crate::{
    atomic::add_u64,
    globals::{TASK_THROTTLED, present},
    kernel_types::{LEVELS, cfs_rq::CfsRq, task::Task},
    maps::{COVERS, CPU_STATES, Cover, LAST_SCRATCH, LAST_THROTTLES, SLOTS},
    slots::look_up,
};

macro_rules! get {
    ($place:expr) => {
        // SAFETY: a member of what is borrowed.
        unsafe { (&raw const $place).read_volatile() }
    };
}
macro_rules! set {
    ($place:expr, $value:expr) => {
        // SAFETY: a member of what is borrowed.
        unsafe { (&raw mut $place).write_volatile($value) }
    };
}

#[inline(always)]
fn clear(cover: &mut Cover) {
    set!(cover.sum, 0);
    set!(cover.low, u64::MAX);
    set!(cover.high, 0);
}

/// Adds what lies between `low` and `high`, of which `sum` is covered. What overlaps counts once:
/// exactly where each is one interval, and never more than the time from the first to the last
/// otherwise.
#[inline(always)]
fn add(cover: &mut Cover, sum: u64, low: u64, high: u64) {
    let (old_low, old_high) = (get!(cover.low), get!(cover.high));
    let apart = high <= old_low || low >= old_high;
    if low < old_low {
        set!(cover.low, low);
    }
    if high > old_high {
        set!(cover.high, high);
    }
    let both = get!(cover.sum).wrapping_add(sum);
    let most = get!(cover.high).wrapping_sub(get!(cover.low));
    let sum = if apart || both < most { both } else { most };
    set!(cover.sum, sum);
}

/// Keeps an interval for the waits that go over it. Returns 0 if it was kept before.
#[inline(never)]
#[unsafe(export_name = "throttle_remember")]
pub extern "C" fn remember(cfs_rq: u64, start: u64, end: u64) -> u32 {
    let span = ThrottledSpan { start, end };
    let Some(last) = LAST_THROTTLES.get_ptr_mut(cfs_rq) else {
        // Made elsewhere than on the stack, which is short.
        if let Some(scratch) = LAST_SCRATCH.get_ptr_mut(0) {
            // SAFETY: this CPU's element; all who come here have interrupts off.
            let scratch = unsafe { &mut *scratch };
            scratch.spans[0] = span;
            scratch.count = 1;
            let value: &LastThrottle = scratch;
            let _ = LAST_THROTTLES.insert(cfs_rq, value, 0);
        }
        return 1;
    };
    // SAFETY: an element of the map; ends of one run queue come one at a time, but for two CPUs that
    // see the same one, which write the same.
    let last = unsafe { &mut *last };
    for span in &last.spans {
        if span.start == start {
            return 0;
        }
    }
    let index = core::hint::black_box(last.count & (THROTTLED_SPANS as u32 - 1)) as usize;
    if index < THROTTLED_SPANS {
        last.spans[index] = span;
        last.count = last.count.wrapping_add(1);
    }
    1
}

/// CPU and mark in one argument: a function has five.
#[inline(always)]
pub const fn pack(cpu: u32, parked: bool) -> u64 {
    cpu as u64 | (parked as u64) << 32
}

/// How much of the wait from `queued` to `clock` (by the clock of this CPU's run queue) `task`
/// spent throttled: the last throttled intervals of each level, as far as they lie within the wait.
/// What only quotas above those of `slot` explain is counted as such. The end of the last one is
/// left in the CPU's state, in place of the task.
///
/// Since 6.18 a thread that was queued before an interval began and did not park itself could run
/// all the time.
#[inline(never)]
#[unsafe(export_name = "throttled_part_of_wait")]
pub extern "C" fn part_of_wait(
    task: u64,
    slot: u32,
    queued: u64,
    clock: u64,
    cpu_and_parked: u64,
) -> u64 {
    let all_stand = !present(&TASK_THROTTLED) || cpu_and_parked >> 32 != 0;
    let Some(covers) = COVERS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element; all who come here have interrupts off, and `level` borrows it anew
    // only while this does not look at it.
    let covers = unsafe { &mut *covers };
    clear(&mut covers.all);
    clear(&mut covers.own);
    let mut entity = Task(task).entity();
    for _ in 0..LEVELS {
        let cfs_rq = entity.cfs_rq();
        if cfs_rq.0 == 0 {
            break;
        }
        level(cfs_rq.0, slot, queued, clock, u32::from(all_stand));
        entity = entity.parent();
        if entity.0 == 0 {
            break;
        }
    }
    let all = get!(covers.all.sum);
    wait_for_ancestor(slot, all.saturating_sub(get!(covers.own.sum)));
    if let Some(state) = CPU_STATES.get_ptr_mut(cpu_and_parked as u32) {
        let end = get!(covers.all.high);
        // SAFETY: a member of the state that only this CPU uses.
        unsafe { (&raw mut (*state).task).write_volatile(end) };
    }
    all
}

/// Adds what the intervals of one run queue cover of the wait. They follow each other.
#[inline(never)]
#[unsafe(export_name = "throttled_level")]
pub extern "C" fn level(cfs_rq: u64, slot: u32, queued: u64, clock: u64, all_stand: u32) -> u32 {
    let Some(last) = LAST_THROTTLES.get_ptr(cfs_rq) else {
        return 0;
    };
    let Some(covers) = COVERS.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's element, and an element of the map that is only read.
    let (covers, last) = unsafe { (&mut *covers, &*last) };
    clear(&mut covers.level);
    for span in &last.spans {
        let (start, end) = (get!(span.start), get!(span.end));
        if all_stand == 0 && queued < start {
            continue;
        }
        let low = if start > queued { start } else { queued };
        let high = if end < clock { end } else { clock };
        if low < high {
            add(&mut covers.level, high - low, low, high);
        }
    }
    let sum = get!(covers.level.sum);
    if sum == 0 {
        return 0;
    }
    let (low, high) = (get!(covers.level.low), get!(covers.level.high));
    add(&mut covers.all, sum, low, high);
    if look_up(CfsRq(cfs_rq).task_group().cgroup().id()) == slot {
        add(&mut covers.own, sum, low, high);
    }
    1
}

#[inline(always)]
fn wait_for_ancestor(slot: u32, ns: u64) {
    if ns > 0
        && let Some(shared) = SLOTS.get_ptr_mut(slot)
    {
        // SAFETY: an element of the array, aligned, only added to atomically.
        unsafe { add_u64(&raw mut (*shared).ancestor_wait_ns, ns) };
    }
}

/// `task`, of `slot`, was held up on `cpu` and waited `ns` for it, but was put on a queue of another
/// CPU at `until` (0: unknown). Returns how much of that it was held up: what the intervals there
/// cover, or all of it where none is known, since it was moved while it was held up. Then nothing says
/// any more by which level: it was one above the slot's if none of the slot's has a quota.
#[inline(never)]
#[unsafe(export_name = "throttle_moved_while_held")]
pub extern "C" fn moved_while_held(task: u64, slot: u32, ns: u64, until: u64, cpu: u32) -> u64 {
    let Some(covers) = COVERS.get_ptr_mut(0) else {
        return ns;
    };
    // SAFETY: as in `part_of_wait`, which is done with it.
    let covers = unsafe { &mut *covers };
    clear(&mut covers.all);
    clear(&mut covers.own);
    let mut limited = false;
    let mut entity = Task(task).entity();
    for _ in 0..LEVELS {
        let cfs_rq = entity.cfs_rq();
        if cfs_rq.0 == 0 {
            break;
        }
        let group = cfs_rq.task_group();
        if until > ns {
            level(group.queue(cpu).0, slot, until - ns, until, 1);
        }
        if group.bandwidth().quota_ns() != u64::MAX && look_up(group.cgroup().id()) == slot {
            limited = true;
        }
        entity = entity.parent();
        if entity.0 == 0 {
            break;
        }
    }
    let all = get!(covers.all.sum);
    if all != 0 {
        wait_for_ancestor(slot, all.saturating_sub(get!(covers.own.sum)));
        return if all < ns { all } else { ns };
    }
    if !limited {
        wait_for_ancestor(slot, ns);
    }
    ns
}
