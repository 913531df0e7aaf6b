//! An OOM kill in one plain sentence.

use std::fmt;

use crate::model::identity::{Identity, Level};
use crate::model::oom::{OomKillEvent, OomLimit, OomScope};
use crate::sinks::text::{Bounded, Bytes};

/// `oom.summary`. Holds text from outside as it is: the JSON sink escapes it, the terminal makes it
/// visible.
#[derive(Clone, Copy, Debug)]
pub struct OomSummary<'a>(pub &'a OomKillEvent);

impl fmt::Display for OomSummary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.0;
        let (kind, bytes) = main_part(event);
        write!(
            f,
            "killed `{}` (pid {}, {} {kind}) because ",
            Bounded(&event.victim.command),
            event.victim.pid,
            Bytes(bytes),
        )?;
        if let Some(pid) = event.shares_memory_of_pid {
            return write!(
                f,
                "it shares the memory of pid {pid}, which was killed before it"
            );
        }
        reason(f, event)?;
        if event.trigger.pid == event.victim.pid {
            f.write_str("; it asked for the page itself")
        } else if event.trigger.pid == 0 {
            Ok(())
        } else {
            write!(
                f,
                "; `{}` (pid {}) asked for the page",
                Bounded(&event.trigger.command),
                event.trigger.pid
            )
        }
    }
}

/// The largest part of the victim's memory that its death gives back.
fn main_part(event: &OomKillEvent) -> (&'static str, u64) {
    let memory = &event.memory;
    let parts = [
        ("in files", memory.file_bytes),
        ("shared", memory.shmem_bytes),
        ("anonymous", memory.anon_bytes),
    ];
    // The last of equals wins, so anonymous memory where all are 0.
    parts
        .into_iter()
        .max_by_key(|&(_, bytes)| bytes)
        .unwrap_or_default()
}

fn reason(f: &mut fmt::Formatter<'_>, event: &OomKillEvent) -> fmt::Result {
    match (event.scope, &event.limit) {
        (OomScope::MemoryCgroup, Some(limit)) => limit_reached(f, limit),
        (OomScope::MemoryCgroup, None) => f.write_str("a memory cgroup reached its limit"),
        (OomScope::Node, _) => f.write_str("the machine ran out of memory"),
        (OomScope::Cpuset, _) => f.write_str("the memory nodes of its cpuset ran out"),
        (OomScope::Mempolicy, _) => f.write_str("the memory nodes of a memory policy ran out"),
        (OomScope::Sysrq, _) => f.write_str("an OOM kill was asked for by SysRq"),
    }
}

fn limit_reached(f: &mut fmt::Formatter<'_>, limit: &OomLimit) -> fmt::Result {
    let what = match limit.level {
        Level::Container => "container",
        Level::Pod => "pod",
        Level::Qos => "quality-of-service class",
        Level::Slice => "slice",
        Level::Service => "service",
        Level::Root | Level::Other => "cgroup",
    };
    write!(
        f,
        "{what} {} reached its ",
        Bounded(name(&limit.cgroup, limit.level))
    )?;
    f.write_str(if limit.memory_and_swap {
        "limit of memory and swap"
    } else {
        "memory limit"
    })?;
    limit
        .limit_bytes
        .map_or(Ok(()), |bytes| write!(f, " of {}", Bytes(bytes)))
}

/// The name that belongs to the level: a pod is not called by one of its containers.
fn name(identity: &Identity, level: Level) -> &str {
    match level {
        Level::Container => identity.display_name(),
        Level::Pod => identity
            .k8s_pod_name
            .as_deref()
            .unwrap_or(&identity.cgroup_path),
        _ => &identity.cgroup_path,
    }
}
