//! `agent`.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::fields::Fields;
use crate::model::event::{AgentCost, AgentEvent, Lost};
use crate::model::plan::{PlanSummary, SignalPlan};
use crate::sinks::text::Bounded;

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(fields: &mut Fields<M>, agent: &AgentEvent) -> Result<(), M::Error> {
    fields.put("agent.phase", agent.phase.name())?;
    fields.put("agent.attached_after_ns", &agent.attached_after_ns)?;
    fields.put("agent.capabilities", &agent.capabilities)?;
    lost(fields, &agent.lost)?;
    fields.put("agent.names.lines", &agent.names.lines)?;
    fields.put("agent.names.unnamed", &agent.names.unnamed)?;
    fields.put("agent.names.completed", &agent.names.completed)?;
    fields.put("agent.findings.unwatched", &agent.unwatched)?;
    fields.put("agent.findings.looks_awaited", &agent.looks_awaited)?;
    if let Some(cost) = &agent.cost {
        self::cost(fields, cost)?;
    }
    fields.put("agent.plan", &Plan(&agent.plan))
}

fn lost<M: SerializeMap>(fields: &mut Fields<M>, lost: &Lost) -> Result<(), M::Error> {
    fields.put("agent.lost.ring", &lost.ring)?;
    fields.put("agent.lost.slots", &lost.slots)?;
    fields.put("agent.lost.clock", &lost.clock)?;
    fields.put("agent.lost.undecodable", &lost.undecodable)?;
    fields.put("agent.lost.sink", &lost.sink)?;
    fields.put("agent.lost.maps", &lost.maps)?;
    fields.put("agent.lost.reads", &lost.reads)?;
    fields.put("agent.lost.unseen_throttle_ns", &lost.unseen_throttle_ns)
}

fn cost<M: SerializeMap>(fields: &mut Fields<M>, cost: &AgentCost) -> Result<(), M::Error> {
    if let Some(per_switch) = cost.bpf_ns_per_switch {
        fields.float("agent.cost.bpf_ns_per_switch", per_switch)?;
    }
    fields.float("agent.cost.cpu_ratio", cost.cpu_ratio)?;
    fields.put("agent.cost.resident_bytes", &cost.resident_bytes)
}

/// `{"cgroup_hierarchy": …, "signals": {NAME: {"source": …, "programs": […], "notes": […]}}}`
struct Plan<'a>(&'a PlanSummary);

impl Serialize for Plan<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("cgroup_hierarchy", &self.0.cgroup_hierarchy)?;
        map.serialize_entry("signals", &Signals(&self.0.signals))?;
        map.end()
    }
}

struct Signals<'a>(&'a [SignalPlan]);

impl Serialize for Signals<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(
            self.0
                .iter()
                .map(|signal| (signal.signal.as_str(), Signal(signal))),
        )
    }
}

struct Signal<'a>(&'a SignalPlan);

impl Serialize for Signal<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("source", &self.0.source)?;
        map.serialize_entry("programs", &self.0.programs)?;
        map.serialize_entry("notes", &Texts(&self.0.notes))?;
        map.end()
    }
}

struct Texts<'a>(&'a [String]);

impl Serialize for Texts<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|text| Bounded(text)))
    }
}
