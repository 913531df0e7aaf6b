//! Records to events: puts names, files and judgements to what the kernel said.

use std::sync::Arc;

use super::limit_shares;
use crate::{
    analyse::oom_domain::OomJudge,
    events::{Constraint, Interval, Kill},
    identity::index::CgroupIndex,
    kernel::cgroup_files::ControllerFiles,
    model::{
        identity::{CgroupKey, Identity, SharedIdentity},
        oom::{OomKillEvent, OomLimit, OomProcess, OomScope, VictimMemory},
        throttle::ThrottleEvent,
    },
};

/// Who a cgroup is; of one that nobody knows at least that.
pub fn identity_of(index: &CgroupIndex, key: Option<CgroupKey>) -> SharedIdentity {
    key.and_then(|key| index.identity(index.owner(key)))
        .unwrap_or_else(|| {
            Arc::new(Identity {
                unresolved: Some(match key {
                    Some(key) => format!(
                        "cgroup {} of hierarchy {} was not seen being made",
                        key.id, key.hierarchy
                    ),
                    None => "the kernel names no cgroup".to_owned(),
                }),
                ..Identity::default()
            })
        })
}

/// An OOM kill; the victim's command line comes later.
pub fn oom_kill(
    kill: &Kill,
    judge: &mut OomJudge,
    index: &CgroupIndex,
    memory: Option<&ControllerFiles>,
    page_size: u64,
) -> OomKillEvent {
    let container_memory = kill
        .victim
        .memory_cgroup
        .and_then(|key| index.identity(key))
        .and_then(|identity| memory?.memory(identity.cgroup_path.as_bytes()));
    let judgement = judge.judge(kill);
    let bytes = |pages: u64| pages.saturating_mul(page_size);
    let group = judgement.domain.is_some_and(|domain| {
        let levels = kill.levels.iter().take(domain.levels_up + 1);
        levels
            .filter_map(|level| index.identity(level.cgroup))
            .any(|identity| {
                memory.is_some_and(|files| files.oom_group(identity.cgroup_path.as_bytes()))
            })
    });
    OomKillEvent {
        container: identity_of(index, whose(kill)),
        scope: scope(kill, judgement.domain.is_some()),
        limit: judgement.domain.map(|domain| {
            let cgroup = index
                .identity(domain.cgroup)
                .unwrap_or_else(|| identity_of(index, Some(domain.cgroup)));
            let mut limit = OomLimit {
                level: cgroup.level,
                cgroup,
                limit_bytes: domain.limit_pages.map(bytes),
                usage_bytes: bytes(domain.usage_pages),
                memory_and_swap: domain.memory_and_swap,
                evidence: domain.evidence,
                shares: None,
            };
            limit.shares = memory.and_then(|memory| {
                limit_shares::of(&limit, kill, domain.cgroup, page_size, index, memory, group)
            });
            limit
        }),
        victim: OomProcess {
            pid: kill.victim.pid,
            command: kill.victim.command.clone(),
        },
        victim_thread: kill.victim.thread,
        victim_parent_pid: kill.parent_pid,
        victim_command_line: None,
        victim_uid: kill.uid,
        victim_oom_score_adj: kill.oom_score_adj,
        victim_age_ns: kill
            .start_boottime_ns
            .and_then(|start| clock_ns(rustix::time::ClockId::Boottime).checked_sub(start)),
        victim_badness_pages: kill
            .control
            .filter(|control| control.chosen_pid == kill.victim.pid && kill.sharer_of.is_none())
            .and_then(|control| control.chosen_points),
        memory: VictimMemory {
            total_vm_bytes: bytes(kill.pages.total_vm),
            anon_bytes: bytes(kill.pages.anon),
            file_bytes: bytes(kill.pages.file),
            shmem_bytes: bytes(kill.pages.shmem),
            swap_bytes: bytes(kill.pages.swap),
            page_tables_bytes: kill.page_tables_bytes,
            exact: kill.pages.exact,
        },
        trigger: OomProcess {
            pid: kill.trigger.pid,
            command: kill.trigger.command.clone(),
        },
        trigger_container: identity_of(index, kill.trigger.memory_cgroup),
        order: kill.control.map(|control| control.order),
        gfp_flags: kill.control.map(|control| control.gfp_mask),
        group,
        victim_number: judgement.victim_number,
        victims: judgement.victim_number,
        trigger_thread: kill.trigger.thread,
        shares_memory_of_pid: kill.sharer_of,
        source: kill.source,
        container_memory,
        context: None,
    }
}

/// The cgroup that says who the victim is. In one hierarchy its own cgroup is the one that its memory
/// is charged to, or lies below that, where the memory controller is not handed down.
fn whose(kill: &Kill) -> Option<CgroupKey> {
    let memory = kill.victim.memory_cgroup;
    match (kill.cgroup, memory) {
        (Some(own), Some(memory)) if own.hierarchy == memory.hierarchy => Some(own),
        (own, memory) => memory.or(own),
    }
}

/// What ran out. Without the OOM killer's word only memory cgroups can be told from the rest.
fn scope(kill: &Kill, in_memory_cgroup: bool) -> OomScope {
    if in_memory_cgroup {
        return OomScope::MemoryCgroup;
    }
    match kill.control {
        // `is_sysrq_oom`, `mm/oom_kill.c`.
        Some(control) if control.order == -1 => OomScope::Sysrq,
        Some(control) => match control.constraint {
            Constraint::Cpuset => OomScope::Cpuset,
            Constraint::MemoryPolicy => OomScope::Mempolicy,
            Constraint::Memcg => OomScope::MemoryCgroup,
            Constraint::None => OomScope::Node,
        },
        None => OomScope::Node,
    }
}

/// A throttled interval.
pub fn throttle(interval: &Interval, index: &CgroupIndex) -> ThrottleEvent {
    let quota_cgroup = index
        .identity(interval.quota_cgroup)
        .unwrap_or_else(|| identity_of(index, Some(interval.quota_cgroup)));
    ThrottleEvent {
        container: match interval.held_cgroup {
            Some(held) => identity_of(index, Some(held)),
            None => identity_of(index, Some(interval.quota_cgroup)),
        },
        level: quota_cgroup.level,
        quota_cgroup,
        cpu: interval.cpu,
        duration_ns: interval.duration_ns,
        quota_ns: interval.quota_ns,
        period_ns: interval.period_ns,
        burn_ns: interval.burn_ns,
        threads: interval.threads,
        source: interval.source,
    }
}

/// A clock in nanoseconds.
pub fn clock_ns(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000 + time.tv_nsec as u64
}
