//! What is known of throttled run queues, independent of how their ends are seen.
//!
//! The kernel itself keeps the start: `cfs_rq->throttled_clock`. When an interval ends it adds
//! `rq->clock - throttled_clock` to the group's `throttled_time` (`unthrottle_cfs_rq`,
//! `kernel/sched/fair.c`). So whoever sees the end needs nothing but a look just before it; the
//! switches only tell which threads were held up.
//!
//! The functions that are exported by name are global ones to the verifier: it goes through each
//! once, whoever calls it, and not again on every path of every caller. They take numbers only; an
//! address of which the verifier knows the type is none (see `sched_switch`).

use tracer_common::{
    counters::{
        LATE_THROTTLE_END, LOST_CLOCK, LOST_MAP_FULL, LOST_RING_THROTTLE, LOST_THROTTLE_LIST,
    },
    header::CgroupKey,
    maps::{
        HELD_SLOTS, HIST_THROTTLED_INTERVAL, HeldSlot, OpenThrottle, SLOT_UNKNOWN, TASK_PARKED,
        TASK_WAIT_ENTRIES,
    },
    records::{KIND_THROTTLE_INTERVAL, THROTTLE_SOURCE_SWITCH, ThrottleInterval},
};

use crate::{
    atomic::{add_u32, add_u64},
    emit::{count, header, now},
    frozen,
    globals::{SLOT_HIERARCHY, TASK_THROTTLED, THROTTLE_MIN_NS, present},
    kernel_types::{LEVELS, cfs_rq::CfsRq, task::Task},
    maps::{CPU_STATES, OPEN_THROTTLES, PARKED_AT, SLOTS, TASK_WAITS, THROTTLES},
    notification,
    slots::{own_slot, record},
    throttled_waits,
};

/// A burn time is only told within this many periods; more means that the period's start is old.
const BURN_PERIODS: u64 = 10;

/// `task`, of `slot`, leaves `cpu` and is held up: notes it at each throttled level above it.
#[inline(never)]
#[unsafe(export_name = "throttle_park")]
pub extern "C" fn park(task: u64, slot: u32, cpu: u32) -> u32 {
    let task = Task(task);
    let mut entity = task.entity();
    let leaf = entity.cfs_rq();
    let cgroup = task.cgroup().id();
    let mut before = 0;
    let index = task.pid() & (TASK_WAIT_ENTRIES - 1);
    if let Some(entry) = TASK_WAITS.get_ptr_mut(index) {
        // SAFETY: an element of the array, see `sched_switch`.
        let entry = unsafe { &mut *entry };
        // Up to 6.17 one that goes to sleep comes here too, if its group is throttled just then.
        if entry.task == task.0 && task.wants_to_run() {
            entry.task |= TASK_PARKED;
            if let Some(at) = PARKED_AT.get_ptr_mut(index) {
                // SAFETY: an element of the array, read and written as a whole word.
                unsafe {
                    if entry.parked_cpu == cpu {
                        before = at.read_volatile();
                    }
                    at.write_volatile(leaf.rq().clock());
                }
            }
            entry.parked_cpu = cpu;
        }
    }
    for _ in 0..LEVELS {
        let cfs_rq = entity.cfs_rq();
        if cfs_rq.0 == 0 {
            break;
        }
        if cfs_rq.is_throttled() {
            let clock = cfs_rq.throttled_clock();
            if clock != 0 {
                // From here and not from `hold`: what calls each other has 512 bytes of stack.
                close_before(cfs_rq.0, clock);
                // In an interval that began before it was last parked here it is counted already: it
                // was taken to another CPU meanwhile, as a change of affinity does, and is back.
                let packed = pack(slot, cpu, before >= clock);
                hold(cfs_rq.0, clock, leaf.0, cgroup, packed);
            }
        }
        entity = entity.parent();
        if entity.0 == 0 {
            break;
        }
    }
    0
}

/// An interval of `cfs_rq` began at `clock`: the one before it, if it still stands open, ended unseen,
/// and nobody was seen to run in between.
#[inline(always)]
fn close_before(cfs_rq: u64, clock: u64) {
    let Some(open) = OPEN_THROTTLES.get_ptr(cfs_rq) else {
        return;
    };
    // SAFETY: an element of the map, words copied; see `hold` on changes.
    let (before, base, owner) = unsafe {
        (
            (*open).throttled_clock,
            (*open).self_base,
            (*open).quota_cgroup,
        )
    };
    if before == clock {
        return;
    }
    if base != 0 && owner == CfsRq(cfs_rq).task_group().cgroup().id() {
        ended_unseen(cfs_rq, before, base, clock);
    }
    close(cfs_rq);
}

/// Adds to the number of run queues that hold up `slot`.
#[inline(always)]
fn add_held(slot: u32, by: i32) {
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // SAFETY: an element of the array, aligned, only added to atomically.
        unsafe { add_u32(&raw mut (*shared).held, by as u32) };
    }
}

#[inline(always)]
fn add_open(cpu: u32, by: i32) {
    if let Some(state) = CPU_STATES.get_ptr_mut(cpu) {
        // SAFETY: an element of the array, aligned, only added to atomically.
        unsafe {
            add_u32(&raw mut (*state).open_throttles, by as u32);
        }
    }
}

/// Slot, CPU, and whether the thread is counted, in one argument: a function has five.
#[inline(always)]
const fn pack(slot: u32, cpu: u32, counted: bool) -> u64 {
    slot as u64 | (cpu as u64) << 32 | (counted as u64) << 63
}

/// A thread of the slot waits in `leaf`, at or below `cfs_rq`, which is throttled since `clock`. The last
/// argument is what `pack` makes.
#[inline(never)]
#[unsafe(export_name = "throttle_hold")]
pub extern "C" fn hold(cfs_rq: u64, clock: u64, leaf: u64, cgroup: u64, packed: u64) -> u32 {
    let (slot, cpu) = (packed as u32, (packed >> 32) as u32 & !(1 << 31));
    let held = HeldSlot {
        leaf,
        slot,
        reserved: 0,
    };
    if let Some(open) = OPEN_THROTTLES.get_ptr_mut(cfs_rq) {
        // SAFETY: an element of the map. It is only changed on the run queue's own CPU, within a
        // switch; an end on another CPU removes it, and memory of a removed element stays mapped.
        let open = unsafe { &mut *open };
        if open.throttled_clock == clock {
            open.threads += (packed >> 63 == 0) as u32;
            for entry in &mut open.held {
                if entry.leaf == 0 {
                    *entry = held;
                    add_held(held.slot, 1);
                    return 0;
                }
                if entry.slot == held.slot {
                    return 0;
                }
            }
            // Its frozen time is not followed.
            count(LOST_THROTTLE_LIST);
            return 0;
        }
    }
    let mut open = OpenThrottle {
        throttled_clock: clock,
        self_base: CfsRq(cfs_rq).self_base(),
        quota_cgroup: CfsRq(cfs_rq).task_group().cgroup().id(),
        held: [HeldSlot {
            leaf: 0,
            slot: 0,
            reserved: 0,
        }; HELD_SLOTS],
        held_cgroup: cgroup,
        threads: 1,
        cpu,
    };
    open.held[0] = held;
    if OPEN_THROTTLES.insert(cfs_rq, open, 0).is_err() {
        count(LOST_MAP_FULL);
        return 0;
    }
    add_held(held.slot, 1);
    add_open(cpu, 1);
    1
}

/// Nothing is held up in `cfs_rq` any more. Returns the threads that were.
#[inline(never)]
#[unsafe(export_name = "throttle_close")]
pub extern "C" fn close(cfs_rq: u64) -> u32 {
    // SAFETY: the value is copied at once; see `hold` on changes.
    let Some(open) = (unsafe { OPEN_THROTTLES.get(cfs_rq) }) else {
        return 0;
    };
    let open = *open;
    if OPEN_THROTTLES.remove(cfs_rq).is_err() {
        return 0;
    }
    add_open(open.cpu, -1);
    for entry in &open.held {
        if entry.leaf == 0 {
            break;
        }
        add_held(entry.slot, -1);
        // Another level above the same threads may be throttled still.
        if CfsRq(entry.leaf).throttle_count() == 0 {
            frozen::end(entry.slot);
        }
    }
    open.threads
}

/// The interval of `cfs_rq` that began at `start` has ended at `end`, by the run queue's clock.
#[inline(never)]
#[unsafe(export_name = "throttle_ended")]
pub extern "C" fn ended(cfs_rq: u64, start: u64, end: u64, source: u32) -> u32 {
    let queue = CfsRq(cfs_rq);
    let rq = queue.rq();
    let duration = end.wrapping_sub(start);
    let (held_cgroup, expected) = match OPEN_THROTTLES.get_ptr(cfs_rq) {
        // SAFETY: an element of the map, copied at once; see `hold` on changes.
        Some(open) => unsafe { ((*open).held_cgroup, (*open).throttled_clock == start) },
        None => (0, false),
    };
    if start == 0 || (duration as i64) < 0 {
        if expected {
            close(cfs_rq);
        }
        count(LOST_CLOCK);
        return 0;
    }

    // Whoever comes first counts it: on kernels where a timer unthrottles other CPUs itself, the
    // switch there can be faster than the timer's return. Taking the entry out is what only one of
    // two can; who finds none sees that the interval is remembered.
    let new = throttled_waits::remember(cfs_rq, start, end);
    let mut threads = 0;
    if expected {
        threads = close(cfs_rq);
        if threads == 0 {
            return 0;
        }
    }
    if new == 0 {
        return 0;
    }
    if !present(&TASK_THROTTLED) {
        // Up to 6.17 the whole group leaves at once, and only the thread that ran is seen leaving.
        let queued = queue.threads();
        threads = if queued > threads { queued } else { threads };
    }

    // For the waits that go over this interval. Ends that were not seen come out of order.
    let cpu = rq.cpu();
    if let Some(state) = CPU_STATES.get_ptr_mut(cpu) {
        // SAFETY: an element of the array; an aligned word that the CPU only reads.
        unsafe {
            let last_end = &raw mut (*state).last_end;
            if end > last_end.read_volatile() {
                last_end.write_volatile(end);
            }
        }
    }

    let group = queue.task_group();
    let id = group.cgroup().id();
    let slot = own_slot(id);
    let bandwidth = group.bandwidth();
    let period_ns = bandwidth.period_ns();
    let now = now();
    let mut burn_ns = u64::MAX;
    if slot != SLOT_UNKNOWN
        && let Some(shared) = SLOTS.get_ptr_mut(slot)
    {
        // SAFETY: an element of the array, aligned words that are only added to atomically.
        unsafe {
            add_u64(&raw mut (*shared).throttled_ns, duration);
            add_u64(&raw mut (*shared).throttled_intervals, 1);
            if source == THROTTLE_SOURCE_SWITCH {
                add_u64(&raw mut (*shared).late_intervals, 1);
            }
        }
        record(slot, HIST_THROTTLED_INTERVAL, duration);
        // SAFETY: an element of the array, read as a whole word.
        let period_start = unsafe { (&raw const (*shared).period_start_ns).read_volatile() };
        burn_ns = burned(now.wrapping_sub(duration), period_start, period_ns);
    }
    if duration < THROTTLE_MIN_NS.load() {
        return 0;
    }
    let Some(mut entry) = THROTTLES.reserve::<ThrottleInterval>(0) else {
        count(LOST_RING_THROTTLE);
        return 0;
    };
    let held_cgroup = if expected { held_cgroup } else { 0 };
    // Member by member: a whole one would be made on the stack first, which is 512 bytes for all
    // functions that call each other.
    let interval = entry.as_mut_ptr();
    // SAFETY: reserved memory of this size and alignment, of which every member is written.
    unsafe {
        (&raw mut (*interval).header).write(header(
            KIND_THROTTLE_INTERVAL,
            size_of::<ThrottleInterval>(),
        ));
        (&raw mut (*interval).quota_cgroup).write(CgroupKey::new(SLOT_HIERARCHY.load(), id));
        (&raw mut (*interval).held_cgroup)
            .write(CgroupKey::new(SLOT_HIERARCHY.load(), held_cgroup));
        (&raw mut (*interval).duration_ns).write(duration);
        (&raw mut (*interval).quota_ns).write(bandwidth.quota_ns());
        (&raw mut (*interval).period_ns).write(period_ns);
        (&raw mut (*interval).burn_ns).write(burn_ns);
        (&raw mut (*interval).cpu).write(cpu);
        (&raw mut (*interval).threads).write(threads);
        (&raw mut (*interval).source).write(source);
        (&raw mut (*interval).reserved).write(0);
    }
    entry.submit(notification::flags());
    1
}

/// How long after its period's start an interval began. The period's start may be one that came
/// after the interval's: they follow each other at the period's length.
#[inline(always)]
fn burned(began: u64, period_start: u64, period_ns: u64) -> u64 {
    if period_start == 0 || period_ns == 0 {
        return u64::MAX;
    }
    if began >= period_start {
        let burned = began - period_start;
        return if burned < BURN_PERIODS * period_ns {
            burned % period_ns
        } else {
            u64::MAX
        };
    }
    let before = period_start - began;
    if before >= BURN_PERIODS * period_ns {
        return u64::MAX;
    }
    let rest = before % period_ns;
    if rest == 0 { 0 } else { period_ns - rest }
}

/// The interval of `cfs_rq` that began at `start` ended at `latest` or before: when, the kernel's
/// account tells from `base`, see [`CfsRq::self_base`].
#[inline(always)]
fn ended_unseen(cfs_rq: u64, start: u64, base: u64, latest: u64) {
    count(LATE_THROTTLE_END);
    let end = CfsRq(cfs_rq).end_of(start, base, latest);
    ended(cfs_rq, start, end, THROTTLE_SOURCE_SWITCH);
}

/// `task` was put on a CPU at `arrival` (by the clock of its run queue) where something was
/// throttled: what holds nothing up any more although its end was not seen ended then. A quota
/// that was changed or removed and a CPU that went offline unthrottle without any tracepoint. The
/// kernel's account tells when that was, since 6.6; threads may come back here long after it. Where
/// the arrival itself was not seen either, the group may be throttled anew by now.
#[inline(never)]
#[unsafe(export_name = "throttle_close_late")]
pub extern "C" fn close_late(task: u64, arrival: u64) -> u32 {
    let mut entity = Task(task).entity();
    for _ in 0..LEVELS {
        let cfs_rq = entity.cfs_rq();
        if cfs_rq.0 == 0 {
            break;
        }
        if let Some(open) = OPEN_THROTTLES.get_ptr(cfs_rq.0) {
            // SAFETY: an element of the map, words copied.
            let (clock, base, owner) = unsafe {
                (
                    (*open).throttled_clock,
                    (*open).self_base,
                    (*open).quota_cgroup,
                )
            };
            if owner != cfs_rq.task_group().cgroup().id() {
                // Of a cgroup that is gone; its run queue's memory is another's now.
                close(cfs_rq.0);
            } else if !cfs_rq.is_throttled() || cfs_rq.throttled_clock() != clock {
                ended_unseen(cfs_rq.0, clock, base, arrival);
            }
        }
        entity = entity.parent();
        if entity.0 == 0 {
            break;
        }
    }
    0
}
