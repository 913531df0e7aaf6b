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
//! The tracepoint does not say whose limit fired. A memory cgroup that ran out counts that
//! (`MEMCG_OOM` of its own events) before the killer is called, so the victim's ancestor whose
//! count has grown since it was last seen is the one. Counts are seen when a cgroup is made (0) and
//! at every kill. Where none is known to have grown, the nearest ancestor at its limit is it.

use aya_ebpf::{
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, bpf_get_current_task},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tracer_common::{
    counters::{LOST_MAP_FULL, LOST_RING_OOM, OOM_ALREADY_DYING},
    header::CgroupKey,
    records::{
        KIND_OOM_KILL, OOM_FLAG_EXACT, OOM_FLAG_LIMIT_BY_EVENTS, OOM_FLAG_LIMIT_BY_USAGE,
        OOM_FLAG_LIMIT_MEMSW, OOM_SCOPE_MEMORY_CGROUP, OOM_SCOPE_NODE, OOM_SOURCE_TRACEPOINT,
        OomKill, OomTrigger, OomVictim, PAGE_COUNTER_MAX,
    },
};

use crate::{
    emit::{count, header, now},
    globals::{KILLS_ARE_SIGNALLED, MARK_VICTIM_HAS_TASK},
    kernel_types::{
        mem_cgroup::MemCgroup,
        mm::{ANON_PAGES, FILE_PAGES, Mm, SHMEM_PAGES, SWAP_ENTRIES, rss_pages},
        task::Task,
    },
    maps::{EVENTS, OOM_CONTEXTS, OOM_COUNTS, OomContext, PENDING_KILLS},
};

/// Levels of memory cgroups that are looked at, from the victim's own upwards.
const LEVELS: u32 = 16;
/// Pages that may be missing to a limit that has just fired: another CPU can have given back what
/// it had charged in advance (`MEMCG_CHARGE_BATCH`, 64 pages at most, `linux/memcontrol.h`).
const SLACK_PAGES: u64 = 64;
/// Victims of one OOM follow each other within this time.
const SAME_OOM_NS: u64 = 10_000_000_000;

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

/// The cgroup that ran out.
#[derive(Clone, Copy)]
struct Domain {
    cgroup: CgroupKey,
    events: u64,
    usage: u64,
    limit: u64,
    flags: u32,
    levels_up: u32,
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
    record.victim_number = 1;

    let mut domain = Domain {
        cgroup: CgroupKey::default(),
        events: 0,
        usage: 0,
        limit: PAGE_COUNTER_MAX,
        flags: 0,
        levels_up: 0,
    };
    find_domain(task.mem_cgroup().0, &mut domain);
    join(me, &mut domain, record);
    record.scope =
        if domain.cgroup.is_none() { OOM_SCOPE_NODE } else { OOM_SCOPE_MEMORY_CGROUP };
    record.oom_cgroup = domain.cgroup;
    record.limit_pages = domain.limit;
    record.usage_pages = domain.usage;
    record.levels_up = domain.levels_up;
    record.flags |= domain.flags;
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

/// Looks for the cgroup that ran out, from `memcg` upwards.
#[inline(never)]
fn find_domain(memcg: u64, domain: &mut Domain) -> u32 {
    let mut memcg = MemCgroup(memcg);
    // 3: count has grown and at its limit; 2: at its limit; 1: count has grown.
    let mut best = 0;
    for level in 0..LEVELS {
        if memcg.0 == 0 {
            break;
        }
        let key = memcg.cgroup().key();
        let events = memcg.oom_events();
        // SAFETY: the value is copied at once.
        let grew = match unsafe { OOM_COUNTS.get(key) } {
            Some(before) => events > *before,
            None => false,
        };
        if OOM_COUNTS.insert(key, events, 0).is_err() {
            count(LOST_MAP_FULL);
        }
        let mut counter = memcg.memory();
        let mut flags = 0;
        let mut near = counter.is_near(SLACK_PAGES);
        if !near
            && let Some(memsw) = memcg.memory_and_swap()
            && memsw.is_near(SLACK_PAGES)
        {
            counter = memsw;
            flags = OOM_FLAG_LIMIT_MEMSW;
            near = true;
        }
        let rank = match (grew, near) {
            (true, true) => 3,
            (false, true) => 2,
            (true, false) => 1,
            (false, false) => 0,
        };
        if rank > best {
            best = rank;
            domain.cgroup = key;
            domain.events = events;
            domain.usage = counter.usage;
            domain.limit = counter.max;
            domain.levels_up = level;
            domain.flags =
                flags | if grew { OOM_FLAG_LIMIT_BY_EVENTS } else { OOM_FLAG_LIMIT_BY_USAGE };
        }
        memcg = memcg.parent();
    }
    best
}

/// Joins this victim to those of the same OOM: `memory.oom.group` kills several, and when the
/// later ones are marked the earlier ones have given memory back already.
#[inline(always)]
fn join(me: u64, domain: &mut Domain, record: &mut OomKill) {
    let now = now();
    if let Some(context) = OOM_CONTEXTS.get_ptr_mut(me) {
        // SAFETY: an element of the map that only the current task uses.
        let context = unsafe { &mut *context };
        let counted_again =
            domain.flags & OOM_FLAG_LIMIT_BY_EVENTS != 0 && domain.events != context.events;
        if !counted_again
            && now.wrapping_sub(context.started_ns) < SAME_OOM_NS
            && (domain.cgroup == context.cgroup || domain.cgroup.is_none())
        {
            // SAFETY: as above.
            if let Some(events) = unsafe { OOM_COUNTS.get(context.cgroup) }
                && *events == context.events
            {
                context.victims += 1;
                record.victim_number = context.victims;
                domain.cgroup = context.cgroup;
                domain.usage = context.usage_pages;
                domain.limit = context.limit_pages;
                domain.flags = context.flags;
                return;
            }
        }
    }
    if domain.cgroup.is_none() {
        let _ = OOM_CONTEXTS.remove(me);
        return;
    }
    let context = OomContext {
        cgroup: domain.cgroup,
        events: domain.events,
        limit_pages: domain.limit,
        usage_pages: domain.usage,
        started_ns: now,
        flags: domain.flags,
        victims: 1,
    };
    if OOM_CONTEXTS.insert(me, context, 0).is_err() {
        count(LOST_MAP_FULL);
    }
}
