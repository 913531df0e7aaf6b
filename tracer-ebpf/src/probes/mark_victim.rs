//! `oom:mark_victim`: every process that the kernel's OOM killer kills.
//!
//! ```c
//! // up to 6.8, unless back-ported: (int pid)
//! // since 6.9 and in stable kernels: (struct task_struct *task, uid_t uid)
//! ```
//!
//! It runs in the task that triggered the OOM, with the victim's lock held, its SIGKILL queued and
//! its memory still there: the right moment for the breakdown (`mark_oom_victim`,
//! `mm/oom_kill.c`).
//!
//! The tracepoint does not say whose limit fired. The record tells what each memory cgroup from the
//! victim's own upwards has and may have, and how often it ran out; user space judges.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters::{LOST_RING_OOM, OOM_ALREADY_DYING},
    header::CgroupKey,
    records::{
        KIND_OOM_KILL, OOM_FLAG_EXACT, OOM_LEVELS, OOM_SOURCE_TRACEPOINT, OomKill, OomTrigger,
        OomVictim,
    },
};

use crate::{
    emit::{count, header},
    globals::{KILLS_ARE_SIGNALLED, MARK_VICTIM_HAS_TASK},
    kernel_types::{
        mem_cgroup::MemCgroup,
        mm::{ANON_PAGES, FILE_PAGES, Mm, SHMEM_PAGES, SWAP_ENTRIES, rss_pages},
        task::Task,
    },
    maps::{EVENTS, PENDING_KILLS},
};

#[btf_tracepoint(function = "mark_victim")]
pub fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    let me = bpf_get_current_pid_tgid();
    // SAFETY: the value is copied at once.
    let kill = unsafe { PENDING_KILLS.get(me) }.copied();
    let _ = PENDING_KILLS.remove(me);
    let task = if MARK_VICTIM_HAS_TASK.load() == 1 {
        let task = Task(ctx.arg(0));
        if KILLS_ARE_SIGNALLED.load() == 1 {
            match kill {
                Some(kill) if kill.tgid == task.tgid() => {}
                _ => {
                    count(OOM_ALREADY_DYING);
                    return 0;
                }
            }
        }
        task
    } else {
        let pid: u64 = ctx.arg(0);
        match kill {
            // The signal goes to the leader or to the marked thread; the record takes the process.
            Some(kill) if Task(kill.task).pid() == pid as u32 || kill.tgid == pid as u32 => {
                Task(kill.task)
            }
            _ => {
                count(OOM_ALREADY_DYING);
                return 0;
            }
        }
    };
    report(task, me);
    0
}

#[inline(always)]
fn report(task: Task, me: u64) {
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
    record.source = OOM_SOURCE_TRACEPOINT;
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
