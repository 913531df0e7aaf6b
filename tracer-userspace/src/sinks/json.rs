//! JSON lines: one flat object an event, with dotted keys; docs/events.md names them all.
//!
//! Facts that are not known are left out, never `null`. A line is written straight into the
//! caller's buffer, without intermediate values: this is the busiest path of user space.

mod agent;
mod fields;
mod finding;
mod identity;
mod lifecycle;
mod oom;
mod oom_context;
mod stats;
mod summary;
#[cfg(test)]
mod tests;
mod throttle;

use serde::ser::{SerializeMap as _, Serializer as _};

use crate::model::event::{Event, EventBody};
use crate::sinks::text::Bounded;
use crate::sinks::wall_clock::WallClock;

use fields::Fields;
pub(super) use fields::{Escaping, Time};
pub(super) use stats::Buckets;
pub use summary::OomSummary;

/// Value of `schema_version`: grows when a key changes its meaning or goes away.
pub const SCHEMA_VERSION: u32 = 1;

/// Writes events as JSON lines.
#[derive(Clone, Debug)]
pub struct JsonLines {
    host_name: String,
    clock: WallClock,
}

impl JsonLines {
    /// For a host (`host.name`) and its wall clock.
    pub const fn new(host_name: String, clock: WallClock) -> Self {
        Self { host_name, clock }
    }

    /// Takes a newly measured wall clock.
    pub const fn set_clock(&mut self, clock: WallClock) {
        self.clock = clock;
    }

    /// Appends the event's line, with its line break, to `out`. On an error `out` is as before.
    pub fn write(&self, event: &Event, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let start = out.len();
        let result = self.write_object(event, out);
        match result {
            Ok(()) => out.push(b'\n'),
            Err(_) => out.truncate(start),
        }
        result
    }

    fn write_object(&self, event: &Event, out: &mut Vec<u8>) -> Result<(), serde_json::Error> {
        let mut serializer = serde_json::Serializer::with_formatter(out, Escaping);
        let mut fields = Fields(serializer.serialize_map(None)?);
        fields.put("event", event.body.kind().name())?;
        fields.put("schema_version", &SCHEMA_VERSION)?;
        fields.put("time", &Time(self.clock.at(event.monotonic_ns)))?;
        fields.put("monotonic_ns", &event.monotonic_ns)?;
        fields.put("seq", &event.seq)?;
        fields.put("host.name", &Bounded(&self.host_name))?;
        match &event.body {
            EventBody::OomKill(oom) => oom::write(&mut fields, oom)?,
            EventBody::CpuThrottle(throttle) => throttle::write(&mut fields, throttle)?,
            EventBody::ContainerStart(life) | EventBody::ContainerExit(life) => {
                lifecycle::write(&mut fields, life)?;
            }
            EventBody::ContainerNamed(named) => lifecycle::write_named(&mut fields, named)?,
            EventBody::ContainerStats(stats) => stats::write(&mut fields, stats)?,
            EventBody::Finding(event) => finding::write(&mut fields, event)?,
            EventBody::Agent(agent) => agent::write(&mut fields, agent)?,
        }
        fields.0.end()
    }
}
