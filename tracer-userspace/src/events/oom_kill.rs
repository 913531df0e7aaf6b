//! [`OomKill`]: one victim of the kernel's OOM killer, as the kernel side tells it.

use tracer_common::{
    header::CgroupKey,
    records::{
        OOM_FLAG_EXACT, OOM_SOURCE_FENTRY, OOM_SOURCE_KPROBE, OomControl, OomKill, OomLevel,
        PAGE_COUNTER_MAX,
    },
};

use super::text;

/// A process of a kill.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KillProcess {
    /// Thread id.
    pub thread: u32,
    /// Process id.
    pub pid: u32,
    /// Command name.
    pub command: String,
    /// Its memory cgroup.
    pub memory_cgroup: Option<CgroupKey>,
}

/// A memory cgroup at the moment of a kill, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillLevel {
    /// The cgroup.
    pub cgroup: CgroupKey,
    /// Pages in use.
    pub usage_pages: u64,
    /// Limit.
    pub limit_pages: Option<u64>,
    /// Usage and limit of memory and swap together, where such a limit is set.
    pub memsw_pages: Option<(u64, u64)>,
    /// How often it ran out by itself since it was made.
    pub oom_events: Option<u64>,
}

/// What the OOM killer was asked for, as `oom_kill_process` was entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KillControl {
    /// Monotonic time of the entry in nanoseconds: the same for all victims of one OOM.
    pub entered_ns: u64,
    /// Process that was chosen.
    pub chosen_pid: u32,
    /// Its badness in pages; `None` where none was computed.
    pub chosen_points: Option<i64>,
    /// `gfp_t` of the allocation.
    pub gfp_mask: u32,
    /// Order of the allocation; -1 is SysRq-f.
    pub order: i32,
    /// What constrained the allocation.
    pub constraint: Constraint,
    /// The memory cgroup that ran out; none where the machine or a part of it did.
    pub domain: Option<KillLevel>,
}

/// `enum oom_constraint` (`include/linux/oom.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// The whole machine ran out.
    None,
    /// The nodes of a cpuset.
    Cpuset,
    /// The nodes of a memory policy.
    MemoryPolicy,
    /// A memory cgroup.
    Memcg,
}

/// One victim.
#[derive(Clone, Debug, PartialEq)]
pub struct Kill {
    /// Monotonic time in nanoseconds.
    pub monotonic_ns: u64,
    /// The victim.
    pub victim: KillProcess,
    /// Its cgroup in the hierarchy of the slots.
    pub cgroup: Option<CgroupKey>,
    /// Its parent process.
    pub parent_pid: u32,
    /// User id in the initial user namespace.
    pub uid: u32,
    /// When it started, in nanoseconds since boot.
    pub start_boottime_ns: Option<u64>,
    /// -1000 to 1000.
    pub oom_score_adj: i32,
    /// Pages: address space, anonymous, file, shared memory, swapped.
    pub pages: KillPages,
    /// Bytes of page tables, where the kernel tells.
    pub page_tables_bytes: Option<u64>,
    /// Who asked for memory.
    pub trigger: KillProcess,
    /// The victim's memory cgroups, its own first.
    pub levels: Vec<KillLevel>,
    /// What the OOM killer was asked for, where that was seen.
    pub control: Option<KillControl>,
    /// The process whose memory this one shares, where it is killed for that.
    pub sharer_of: Option<u32>,
    /// Which source told what ran out (`oom.source`).
    pub source: &'static str,
}

/// The victim's memory in pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KillPages {
    /// Address space.
    pub total_vm: u64,
    /// Resident anonymous.
    pub anon: u64,
    /// Resident file.
    pub file: u64,
    /// Resident shared memory.
    pub shmem: u64,
    /// Swapped out.
    pub swap: u64,
    /// Whether the resident counts are exact sums over all CPUs.
    pub exact: bool,
}

/// Decodes the record.
pub fn decode(record: &OomKill) -> Box<Kill> {
    let victim = &record.victim;
    let some = |key: CgroupKey| (!key.is_none()).then_some(key);
    Box::new(Kill {
        monotonic_ns: record.header.monotonic_ns,
        victim: KillProcess {
            thread: victim.pid,
            pid: victim.tgid,
            command: text(&victim.comm),
            memory_cgroup: some(victim.memory_cgroup),
        },
        cgroup: some(victim.cgroup),
        parent_pid: victim.parent_tgid,
        uid: victim.uid,
        start_boottime_ns: (victim.start_boottime_ns != 0).then_some(victim.start_boottime_ns),
        oom_score_adj: victim.oom_score_adj,
        pages: KillPages {
            total_vm: victim.total_vm_pages,
            anon: victim.anon_pages,
            file: victim.file_pages,
            shmem: victim.shmem_pages,
            swap: victim.swap_pages,
            exact: record.flags & OOM_FLAG_EXACT != 0,
        },
        page_tables_bytes: (victim.page_tables_bytes != 0).then_some(victim.page_tables_bytes),
        trigger: KillProcess {
            thread: record.trigger.pid,
            pid: record.trigger.tgid,
            command: text(&record.trigger.comm),
            memory_cgroup: some(record.trigger.memory_cgroup),
        },
        levels: record
            .levels
            .iter()
            .take_while(|level| !level.cgroup.is_none())
            .map(decode_level)
            .collect(),
        control: (record.control.entered_ns != 0).then(|| decode_control(&record.control)),
        sharer_of: (record.sharer_of != 0).then_some(record.sharer_of),
        source: match record.source {
            OOM_SOURCE_FENTRY => "fentry",
            OOM_SOURCE_KPROBE => "kprobe",
            _ => "tracepoint",
        },
    })
}

fn decode_control(control: &OomControl) -> KillControl {
    KillControl {
        entered_ns: control.entered_ns,
        chosen_pid: control.chosen_tgid,
        // LONG_MIN where nobody's was computed (`select_bad_process`, `mm/oom_kill.c`).
        chosen_points: (control.chosen_points > i64::MIN).then_some(control.chosen_points),
        gfp_mask: control.gfp_mask,
        order: control.order,
        constraint: match control.constraint {
            1 => Constraint::Cpuset,
            2 => Constraint::MemoryPolicy,
            3 => Constraint::Memcg,
            _ => Constraint::None,
        },
        domain: (!control.domain.cgroup.is_none()).then(|| decode_level(&control.domain)),
    }
}

fn decode_level(level: &OomLevel) -> KillLevel {
    let limit = |pages: u64| (pages < PAGE_COUNTER_MAX).then_some(pages);
    KillLevel {
        cgroup: level.cgroup,
        usage_pages: level.usage_pages,
        limit_pages: limit(level.limit_pages),
        memsw_pages: (level.memsw_limit_pages != 0)
            .then(|| limit(level.memsw_limit_pages))
            .flatten()
            .map(|limit| (level.memsw_usage_pages, limit)),
        oom_events: (level.oom_events != u64::MAX).then_some(level.oom_events),
    }
}
