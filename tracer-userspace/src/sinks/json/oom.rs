//! `oom_kill`.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::fields::Fields;
use super::identity;
use super::{oom_context, summary::OomSummary};
use crate::model::oom::{LimitShare, MemoryReading, OomKillEvent, OomLimit, VictimMemory};

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(
    fields: &mut Fields<M>,
    event: &OomKillEvent,
) -> Result<(), M::Error> {
    identity::write(fields, &event.container)?;
    fields.put("oom.summary", &Shown(OomSummary(event)))?;
    fields.put("oom.scope", event.scope.name())?;
    fields.put("oom.source", event.source)?;
    if let Some(limit) = &event.limit {
        self::limit(fields, limit)?;
    }
    fields.maybe("oom.order", event.order)?;
    fields.maybe("oom.gfp_flags", event.gfp_flags)?;
    fields.put("oom.group", &event.group)?;
    fields.put("oom.victim_number", &event.victim_number)?;
    fields.put("oom.victims", &event.victims)?;
    fields.maybe(
        "oom.victim.shares_memory_of_pid",
        event.shares_memory_of_pid,
    )?;
    victim(fields, event)?;
    fields.put("oom.trigger.process.pid", &event.trigger.pid)?;
    fields.text("oom.trigger.process.command", &event.trigger.command)?;
    let trigger = &event.trigger_container;
    fields.maybe_text("oom.trigger.container.id", trigger.container_id.as_deref())?;
    fields.maybe_text(
        "oom.trigger.container.name",
        trigger.container_name.as_deref(),
    )?;
    event
        .container_memory
        .as_ref()
        .map_or(Ok(()), |memory| reading(fields, memory))?;
    event
        .context
        .as_ref()
        .map_or(Ok(()), |context| oom_context::write(fields, context))
}

fn limit<M: SerializeMap>(fields: &mut Fields<M>, limit: &OomLimit) -> Result<(), M::Error> {
    fields.text("oom.limit.cgroup", &limit.cgroup.cgroup_path)?;
    fields.put("oom.limit.level", limit.level.name())?;
    fields.maybe("oom.limit.bytes", limit.limit_bytes)?;
    fields.put("oom.limit.memory_and_swap", &limit.memory_and_swap)?;
    fields.put("oom.limit.evidence", limit.evidence)?;
    fields.put("oom.usage_bytes", &limit.usage_bytes)?;
    let Some(shares) = &limit.shares else {
        return Ok(());
    };
    let largest: Vec<Share<'_>> = shares.largest.iter().map(Share).collect();
    fields.put("oom.limit.containers", &largest)?;
    fields.put("oom.limit.container_count", &shares.count)?;
    fields.maybe("oom.limit.rest_bytes", shares.rest_bytes)
}

struct Share<'a>(&'a LimitShare);

impl Serialize for Share<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let who = &self.0.who;
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.maybe_text("container.id", who.container_id.as_deref())?;
        fields.maybe_text("container.name", who.container_name.as_deref())?;
        fields.maybe_text("k8s.pod.name", who.k8s_pod_name.as_deref())?;
        fields.text("process.linux.cgroup", &who.cgroup_path)?;
        fields.put("bytes", &self.0.bytes)?;
        fields.0.end()
    }
}

fn victim<M: SerializeMap>(fields: &mut Fields<M>, event: &OomKillEvent) -> Result<(), M::Error> {
    fields.put("oom.victim.process.pid", &event.victim.pid)?;
    fields.put("oom.victim.process.thread", &event.victim_thread)?;
    fields.put("oom.victim.process.parent_pid", &event.victim_parent_pid)?;
    fields.text("oom.victim.process.command", &event.victim.command)?;
    fields.maybe_text(
        "oom.victim.process.command_line",
        event.victim_command_line.as_deref(),
    )?;
    fields.put("oom.victim.process.user.id", &event.victim_uid)?;
    fields.put("oom.victim.oom_score_adj", &event.victim_oom_score_adj)?;
    fields.maybe("oom.victim.badness_pages", event.victim_badness_pages)?;
    fields.maybe("oom.victim.age_ns", event.victim_age_ns)?;
    victim_memory(fields, &event.memory)
}

fn victim_memory<M: SerializeMap>(
    fields: &mut Fields<M>,
    memory: &VictimMemory,
) -> Result<(), M::Error> {
    fields.put("oom.victim.memory.total_vm_bytes", &memory.total_vm_bytes)?;
    fields.put("oom.victim.memory.anon_bytes", &memory.anon_bytes)?;
    fields.put("oom.victim.memory.file_bytes", &memory.file_bytes)?;
    fields.put("oom.victim.memory.shmem_bytes", &memory.shmem_bytes)?;
    fields.put("oom.victim.memory.swap_bytes", &memory.swap_bytes)?;
    fields.maybe(
        "oom.victim.memory.page_tables_bytes",
        memory.page_tables_bytes,
    )?;
    fields.put("oom.victim.memory.exact", &memory.exact)
}

/// Writes a reading of a container's memory.
pub fn reading<M: SerializeMap>(
    fields: &mut Fields<M>,
    reading: &MemoryReading,
) -> Result<(), M::Error> {
    fields.put("memory.current_bytes", &reading.current_bytes)?;
    fields.maybe("memory.limit_bytes", reading.limit_bytes)?;
    fields.maybe("memory.peak_bytes", reading.peak_bytes)
}

/// A value that is serialized as its text.
struct Shown<T>(T);

impl<T: fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
