//! What is put to an `oom_kill` from the minutes before it.

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::fields::Fields;
use crate::model::limits::MemoryPart;
use crate::model::oom::{LargeProcess, OomContext};
use crate::sinks::text::Bounded;

/// Writes the keys.
pub fn write<M: SerializeMap>(
    fields: &mut Fields<M>,
    context: &OomContext,
) -> Result<(), M::Error> {
    let verdict = &context.verdict;
    fields.put("oom.verdict", verdict.verdict.name())?;
    fields.text("oom.verdict_reason", &verdict.explanation)?;
    fields.text("oom.recommendation", &verdict.recommendation)?;
    fields.maybe("oom.growth.part", verdict.part.map(MemoryPart::name))?;
    fields.maybe("oom.growth.bytes", verdict.grown_bytes)?;
    fields.maybe("oom.growth.window_ns", verdict.window_ns)?;
    let rate = verdict.bytes_per_second.filter(|rate| rate.is_finite());
    fields.maybe("oom.growth.bytes_per_second", rate)?;
    if !verdict.samples.is_empty() {
        fields.put("oom.history", &verdict.samples)?;
    }
    let largest: Vec<Large<'_>> = context.largest.iter().map(Large).collect();
    fields.put("oom.largest_processes", &largest)
}

struct Large<'a>(&'a LargeProcess);

impl Serialize for Large<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("pid", &self.0.pid)?;
        map.serialize_entry("command", &Bounded(&self.0.command))?;
        map.serialize_entry("bytes", &self.0.bytes)?;
        map.end()
    }
}
