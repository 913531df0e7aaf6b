//! An OOM, from the entry of the OOM killer to its last victim.
//!
//! Where `oom_kill_process` is seen being entered ([`crate::probes::oom_kill_process`]) it says
//! whose limit fired. Where it is not, the record tells what each memory cgroup from the victim's
//! own upwards has and may have, and how often it ran out; user space judges.
//!
//! All of one OOM happens in one thread, the one that asked for memory: what is known of it is kept
//! under that thread's id.

use aya_ebpf::helpers::{
    bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns,
    generated::bpf_probe_read_user,
};
use tracer_common::{
    counters::{LOST_MAP_FULL, LOST_RING_OOM},
    header::CgroupKey,
    records::{
        COMMAND_LINE_MAX, KIND_OOM_COMMAND_LINE, KIND_OOM_KILL, OOM_FLAG_EXACT, OOM_LEVELS,
        OOM_SOURCE_TRACEPOINT, OomCommandLine, OomControl, OomKill, OomLevel, OomTrigger,
        OomVictim,
    },
};

use crate::{
    emit::{count, header, now},
    kernel_types::{
        mem_cgroup::MemCgroup,
        mm::{ANON_PAGES, FILE_PAGES, Mm, SHMEM_PAGES, SWAP_ENTRIES, rss_pages},
        oom_control::OomControlPtr,
        task::Task,
    },
    maps::{COMMAND_LINE_SCRATCH, EVENTS, OOM_CONTEXTS, OOM_VICTIMS, OomContext},
};

/// What the OOM killer sends.
pub const SIGKILL: u32 = 9;

/// All signals of one OOM come within this time. The log of a kill can go over a slow console.
const SAME_OOM_NS: u64 = 10_000_000_000;

const NO_LEVEL: OomLevel = OomLevel {
    cgroup: CgroupKey::new(0, 0),
    usage_pages: 0,
    limit_pages: 0,
    memsw_usage_pages: 0,
    memsw_limit_pages: 0,
    oom_events: 0,
};

const NO_CONTROL: OomControl = OomControl {
    entered_ns: 0,
    chosen_points: 0,
    chosen_tgid: 0,
    gfp_mask: 0,
    order: 0,
    constraint: 0,
    domain: NO_LEVEL,
};

/// The OOM killer is about to kill for what `control` (`struct oom_control *`) says.
#[inline(always)]
pub fn entered(control: u64, source: u32) {
    let asked = OomControlPtr(control);
    let memcg = asked.mem_cgroup();
    let context = OomContext {
        control: OomControl {
            entered_ns: now(),
            chosen_points: asked.chosen_points(),
            chosen_tgid: asked.chosen_tgid(),
            gfp_mask: asked.gfp_mask(),
            order: asked.order(),
            constraint: asked.constraint(),
            domain: if memcg.0 == 0 {
                NO_LEVEL
            } else {
                memcg.level()
            },
        },
        victim_mm: 0,
        marked_boottime_ns: 0,
        victim_tgid: 0,
        source,
    };
    // It can take its SIGKILL on another CPU before it is marked.
    await_command_line(context.control.chosen_tgid);
    if OOM_CONTEXTS
        .insert(bpf_get_current_pid_tgid(), context, 0)
        .is_err()
    {
        count(LOST_MAP_FULL);
    }
}

/// The thread `me` has marked `task` as victim.
#[inline(always)]
pub fn marked(task: Task, me: u64) {
    report(task, me, 0);
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    let (victim_mm, victim_tgid) = (task.mm().0, task.tgid());
    if let Some(context) = OOM_CONTEXTS.get_ptr_mut(me) {
        // SAFETY: an element of the map that only this thread uses.
        let context = unsafe { &mut *context };
        context.victim_mm = victim_mm;
        context.victim_tgid = victim_tgid;
        context.marked_boottime_ns = now;
        return;
    }
    let context = OomContext {
        control: NO_CONTROL,
        victim_mm,
        marked_boottime_ns: now,
        victim_tgid,
        source: OOM_SOURCE_TRACEPOINT,
    };
    if OOM_CONTEXTS.insert(me, context, 0).is_err() {
        count(LOST_MAP_FULL);
    }
}

/// The thread `me` sends SIGKILL to `task`. Whether it does so because `task` shares the memory of
/// the victim that it has just marked; if so it is reported, unless `pending` says that it has been
/// killed before.
#[inline(always)]
pub fn is_sharer(task: Task, me: u64, pending: bool) -> bool {
    let Some(context) = OOM_CONTEXTS.get_ptr(me) else {
        return false;
    };
    // SAFETY: an element of the map that only this thread uses.
    let context = unsafe { &*context };
    let tgid = task.tgid();
    if context.victim_mm == 0 || context.victim_tgid == tgid || task.mm().0 != context.victim_mm {
        return false;
    }
    // Of an OOM before, and the memory is another process's by now. That is always so where a
    // process began later than the victim was marked.
    // SAFETY: the helper has no precondition.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    if now - context.marked_boottime_ns > SAME_OOM_NS
        || task.start_boottime_ns() > context.marked_boottime_ns
    {
        return false;
    }
    if !pending {
        report(task, me, context.victim_tgid);
    }
    true
}

/// Sends the record of a victim. `sharer_of` is the process whose memory it shares, if it is killed
/// for that.
#[inline(always)]
fn report(task: Task, me: u64, sharer_of: u32) {
    await_command_line(task.tgid());
    let Some(mut entry) = EVENTS.reserve::<OomKill>(0) else {
        count(LOST_RING_OOM);
        return;
    };
    let record = entry.write(OomKill::default());
    record.header = header(KIND_OOM_KILL, size_of::<OomKill>());
    fill_victim(task, &mut record.victim);
    // SAFETY: the helper has no precondition.
    let current = Task(unsafe { bpf_get_current_task() });
    record.trigger = OomTrigger {
        pid: me as u32,
        tgid: (me >> 32) as u32,
        comm: bpf_get_current_comm().unwrap_or_default(),
        memory_cgroup: match current.mem_cgroup() {
            MemCgroup(0) => CgroupKey::default(),
            memcg => memcg.cgroup().key(),
        },
    };
    record.sharer_of = sharer_of;
    record.source = OOM_SOURCE_TRACEPOINT;
    if let Some(context) = OOM_CONTEXTS.get_ptr(me) {
        // SAFETY: an element of the map that only this thread uses.
        let context = unsafe { &*context };
        record.source = context.source;
        record.control = context.control;
    }
    if Mm::rss_is_exact() {
        record.flags |= OOM_FLAG_EXACT;
    }
    let mut memcg = task.mem_cgroup();
    for level in 0..OOM_LEVELS {
        if memcg.0 == 0 {
            break;
        }
        record.levels[level] = memcg.level();
        memcg = memcg.parent();
    }
    entry.submit(0);
}

/// A process will tell its command line when it takes its SIGKILL.
#[inline(always)]
fn await_command_line(tgid: u32) {
    // Where it fails the victim's command line is missing, which shows.
    let _ = OOM_VICTIMS.insert(tgid, 0, 0);
}

/// The current thread takes a SIGKILL. The first thread of a victim sends the process's arguments.
///
/// Only here can they be read without harm. Whoever reads `/proc/PID/cmdline` holds the victim's
/// memory (`get_task_mm`), and waits for a page meanwhile (`get_mm_cmdline`, `fs/proc/base.c`): the
/// victim is gone then without its memory being free, and the kernel kills the next one.
#[inline(always)]
pub fn takes_sigkill() {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if OOM_VICTIMS.remove(tgid).is_err() {
        return;
    }
    // SAFETY: the helper has no precondition.
    let task = Task(unsafe { bpf_get_current_task() });
    let (start, end) = task.mm().arguments();
    let Some(record) = COMMAND_LINE_SCRATCH.get_ptr_mut(0) else {
        return;
    };
    // SAFETY: this CPU's element; signals are taken with interrupts off, by one thread.
    let record = unsafe { &mut *record };
    // The verifier has to see that it stays within the element.
    let length = if end - start > COMMAND_LINE_MAX as u64 {
        COMMAND_LINE_MAX
    } else {
        (end - start) as usize
    };
    // SAFETY: the helper reports a fault instead of taking it, and writes at most `length` bytes,
    // which is not more than the array has.
    let result = unsafe {
        bpf_probe_read_user(
            record.arguments.as_mut_ptr().cast(),
            length as u32,
            start as *const _,
        )
    };
    // Swapped out, or taken back by the OOM reaper. An empty record says that nothing will come.
    let length = if result < 0 { 0 } else { length };
    let size = size_of::<OomCommandLine>() - COMMAND_LINE_MAX + length;
    record.tgid = tgid;
    record.length = length as u32;
    record.header = header(KIND_OOM_COMMAND_LINE, size);
    // SAFETY: `size` bytes of the element, all initialized: maps begin as zeros.
    let bytes =
        unsafe { core::slice::from_raw_parts(core::ptr::from_ref(record).cast::<u8>(), size) };
    // Without room the command line is missing, which shows.
    let _ = EVENTS.output::<[u8]>(bytes, 0);
}

#[inline(always)]
fn fill_victim(task: Task, victim: &mut OomVictim) {
    victim.pid = task.pid();
    victim.tgid = task.tgid();
    victim.parent_tgid = task.parent_tgid();
    victim.uid = task.uid();
    victim.comm = task.comm();
    victim.start_boottime_ns = task.start_boottime_ns();
    victim.oom_score_adj = task.oom_score_adj();
    victim.memory_cgroup = match task.mem_cgroup() {
        MemCgroup(0) => CgroupKey::default(),
        memcg => memcg.cgroup().key(),
    };
    victim.cgroup = task.cgroup_key();
    let mm = task.mm();
    if mm.0 == 0 {
        return;
    }
    victim.total_vm_pages = mm.total_vm_pages();
    victim.page_tables_bytes = mm.page_tables_bytes();
    victim.anon_pages = rss_pages(mm.0, ANON_PAGES);
    victim.file_pages = rss_pages(mm.0, FILE_PAGES);
    victim.shmem_pages = rss_pages(mm.0, SHMEM_PAGES);
    victim.swap_pages = rss_pages(mm.0, SWAP_ENTRIES);
}
