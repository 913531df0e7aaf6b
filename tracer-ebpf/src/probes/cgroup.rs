//! `cgroup:cgroup_mkdir`, `cgroup_rmdir`, `cgroup_release` and `cgroup_attach_task`.
//!
//! ```c
//! mkdir, rmdir, release: (struct cgroup *cgrp, const char *path)
//! attach_task: (struct cgroup *dst_cgrp, const char *path, struct task_struct *task,
//!               bool threadgroup)
//! ```
//!
//! A new cgroup has its slot before anything can be moved into it. Attaching gives one to a cgroup
//! that was missed. Only the hierarchies that something is measured in are followed: on cgroup v1
//! one container has a cgroup in each of a dozen.

use aya_ebpf::{
    helpers::bpf_probe_read_kernel_str_bytes, macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters::LOST_RING_CGROUP,
    maps::{SLOT_NONE, SLOT_UNKNOWN},
    records::{
        CGROUP_ATTACH, CGROUP_MKDIR, CGROUP_PATH_MAX, CGROUP_RELEASE, CGROUP_RMDIR,
        CgroupLifecycle, KIND_CGROUP_LIFECYCLE,
    },
};

use crate::{
    emit::{count, header},
    globals::{MEMORY_HIERARCHY, SLOT_HIERARCHY},
    kernel_types::{cgroup::Cgroup, task::Task},
    maps::{EVENTS, LIFECYCLE_SCRATCH},
    slots::{allot, look_up},
};

#[btf_tracepoint(function = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = Cgroup(ctx.arg(0));
    let hierarchy = cgroup.hierarchy();
    if !is_followed(hierarchy) {
        return 0;
    }
    let key = cgroup.key();
    let mut slot = SLOT_NONE;
    if hierarchy == SLOT_HIERARCHY.load() {
        slot = allot(key.id, cgroup.parent().id());
    }
    send(cgroup, CGROUP_MKDIR, ctx.arg(1), slot, 0);
    0
}

#[btf_tracepoint(function = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    let cgroup = Cgroup(ctx.arg(0));
    if is_followed(cgroup.hierarchy()) {
        send(cgroup, CGROUP_RMDIR, ctx.arg(1), SLOT_NONE, 0);
    }
    0
}

#[btf_tracepoint(function = "cgroup_release")]
pub fn cgroup_release(ctx: BtfTracePointContext) -> i32 {
    let cgroup = Cgroup(ctx.arg(0));
    if is_followed(cgroup.hierarchy()) {
        send(cgroup, CGROUP_RELEASE, ctx.arg(1), SLOT_NONE, 0);
    }
    0
}

#[btf_tracepoint(function = "cgroup_attach_task")]
pub fn cgroup_attach_task(ctx: BtfTracePointContext) -> i32 {
    let cgroup = Cgroup(ctx.arg(0));
    if cgroup.hierarchy() != SLOT_HIERARCHY.load() {
        return 0;
    }
    let id = cgroup.id();
    if look_up(id) != SLOT_UNKNOWN {
        return 0;
    }
    let slot = allot(id, cgroup.parent().id());
    if slot != SLOT_NONE {
        send(
            cgroup,
            CGROUP_ATTACH,
            ctx.arg(1),
            slot,
            Task(ctx.arg(2)).tgid(),
        );
    }
    0
}

#[inline(always)]
fn is_followed(hierarchy: u32) -> bool {
    hierarchy == SLOT_HIERARCHY.load() || hierarchy == MEMORY_HIERARCHY.load()
}

/// Sends a record with as much of the path as there is.
#[inline(always)]
fn send(cgroup: Cgroup, operation: u32, path: u64, slot: u32, pid: u32) {
    let Some(record) = LIFECYCLE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's element; these tracepoints are hit under the cgroup lock, by one task.
    let record = unsafe { &mut *record };
    record.cgroup = cgroup.key();
    record.parent_id = cgroup.parent().id();
    record.operation = operation;
    record.level = cgroup.level();
    record.slot = slot;
    record.pid = pid;
    record.reserved = 0;
    // SAFETY: the helper reports a fault instead of taking it and writes within the buffer.
    let length =
        match unsafe { bpf_probe_read_kernel_str_bytes(path as *const u8, &mut record.path) } {
            Ok(path) => path.len(),
            Err(_) => 0,
        };
    // The verifier has to see that the record stays within the element.
    let length = if length > CGROUP_PATH_MAX {
        CGROUP_PATH_MAX
    } else {
        length
    };
    record.path_len = length as u32;
    let size = size_of::<CgroupLifecycle>() - CGROUP_PATH_MAX + length;
    record.header = header(KIND_CGROUP_LIFECYCLE, size);
    // SAFETY: `size` bytes of the element, all initialized: maps begin as zeros.
    let bytes =
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(record).cast::<u8>(), size) };
    if EVENTS.output::<[u8]>(bytes, 0).is_err() {
        count(LOST_RING_CGROUP);
    }
}
