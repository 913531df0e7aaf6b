//! Slots: where a cgroup's counts are.
//!
//! A cgroup gets its slot when it is made ([`allot`]). A context switch finds it through a
//! direct-mapped cache of its CPU, in front of the hash map.

use tracer_common::{
    counters::LOST_SLOTS,
    maps::{CACHE_LINES, SLOT_FLAG_CONTAINER, SLOT_NONE, SLOT_UNKNOWN, SlotCpu},
};

use crate::{
    atomic::add_u32,
    emit::count,
    globals::{
        CGROUP_KN, CPUS, CSS_CGROUP, CSS_SET_DFL_CGROUP, KERNFS_NODE_ID, SLOT_BY_TASK_GROUP,
        TASK_CGROUPS, TASK_GROUP, TG_CSS,
    },
    maps::{FREE_SLOTS, HISTOGRAMS, SLOT_CACHE, SLOT_CPUS, SLOT_FLAGS, SLOT_OF_CGROUP, SLOTS},
    read::direct,
};

/// Id of the cgroup of a task, in the hierarchy of the slots. `task` must be an argument of a
/// tp_btf program. 0 for tasks of an autogroup, which belong to the root.
#[inline(always)]
pub fn cgroup_id_of(task: u64) -> u64 {
    let cgroup = if SLOT_BY_TASK_GROUP.load() == 1 {
        let group = direct::u64(task, TASK_GROUP.load());
        direct::u64(group, TG_CSS.load() + CSS_CGROUP.load())
    } else {
        direct::u64(
            direct::u64(task, TASK_CGROUPS.load()),
            CSS_SET_DFL_CGROUP.load(),
        )
    };
    // An autogroup has none. A load from NULL reads as 0, but as a fault on older kernels.
    if cgroup == 0 {
        return 0;
    }
    direct::u64(direct::u64(cgroup, CGROUP_KN.load()), KERNFS_NODE_ID.load())
}

/// Slot of the cgroup `id`, [`SLOT_UNKNOWN`] where it has none.
#[inline(always)]
pub fn slot_of(id: u64, cpu: u32) -> u32 {
    let index = cpu * CACHE_LINES + (id as u32 & (CACHE_LINES - 1));
    if let Some(line) = SLOT_CACHE.get_ptr_mut(index) {
        // SAFETY: an element of the array; only this CPU uses its part, and a switch is not
        // interrupted by another.
        let line = unsafe { &mut *line };
        // An empty line looks like that of the id 0, which autogroups have.
        if line.id == id && line.slot != SLOT_UNKNOWN {
            return line.slot;
        }
        let slot = look_up(id);
        // The unknown is not kept: it may get a slot later.
        if slot != SLOT_UNKNOWN {
            line.id = id;
            line.slot = slot;
        }
        return slot;
    }
    look_up(id)
}

/// [`slot_of`] without the cache.
#[inline(always)]
pub fn look_up(id: u64) -> u32 {
    // SAFETY: the value is copied at once; slots are only taken away long after the cgroup's end.
    match unsafe { SLOT_OF_CGROUP.get(id) } {
        Some(slot) => *slot,
        None => SLOT_UNKNOWN,
    }
}

/// Slot of the cgroup `id` if it was given to it and not to a container around it, else
/// [`SLOT_UNKNOWN`]: what is accounted by quota belongs to it.
#[inline(always)]
pub fn own_slot(id: u64) -> u32 {
    let slot = look_up(id);
    if slot != SLOT_UNKNOWN
        && let Some(shared) = SLOTS.get_ptr(slot)
    {
        // SAFETY: an element of the array, read as a whole word.
        let own = unsafe { (&raw const (*shared).own_cgroup).read_volatile() };
        if own == id {
            return slot;
        }
    }
    SLOT_UNKNOWN
}

/// Gives the new cgroup `id` a slot: that of its parent if the parent belongs to a container, else
/// one of its own.
#[inline(always)]
pub fn allot(id: u64, parent: u64) -> u32 {
    let parent_slot = look_up(parent);
    if parent_slot != SLOT_UNKNOWN
        && let Some(flags) = SLOT_FLAGS.get(parent_slot)
        && flags & SLOT_FLAG_CONTAINER != 0
    {
        let _ = SLOT_OF_CGROUP.insert(id, parent_slot, 0);
        return parent_slot;
    }
    let Ok(Some(slot)) = FREE_SLOTS.pop() else {
        count(LOST_SLOTS);
        return SLOT_NONE;
    };
    if let Some(shared) = SLOTS.get_ptr_mut(slot) {
        // SAFETY: an element of the array, an aligned word; nobody counts in the slot yet.
        unsafe { (&raw mut (*shared).own_cgroup).write_volatile(id) };
    }
    if SLOT_OF_CGROUP.insert(id, slot, 0).is_err() {
        count(LOST_SLOTS);
        let _ = FREE_SLOTS.push(slot, 0);
        return SLOT_NONE;
    }
    slot
}

/// What `cpu` counts for `slot`.
#[inline(always)]
pub fn counts(slot: u32, cpu: u32) -> Option<&'static mut SlotCpu> {
    let counts = SLOT_CPUS.get_ptr_mut(slot * CPUS.load() + cpu)?;
    // SAFETY: an element of the array; only this CPU writes it, and a switch is not interrupted by
    // another.
    Some(unsafe { &mut *counts })
}

/// Adds one value to a histogram of `slot`.
#[inline(always)]
pub fn record(slot: u32, histogram: u32, value_ns: u64) {
    use tracer_common::{log_linear::bucket_of, maps::HISTOGRAMS as KINDS};

    if let Some(histogram) = HISTOGRAMS.get_ptr_mut(slot * KINDS + histogram) {
        // The verifier has to see the bound, which the compiler knows and would drop.
        let bucket = core::hint::black_box(bucket_of(value_ns)) as usize;
        if bucket < tracer_common::log_linear::BUCKETS {
            // SAFETY: within the element (checked above), aligned, and only ever used atomically.
            unsafe {
                add_u32(histogram.cast::<u32>().add(bucket), 1);
            }
        }
    }
}
