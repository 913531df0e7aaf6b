//! `container_start`, `container_exit` and `container_named`.

use serde::ser::SerializeMap;

use super::fields::Fields;
use super::identity;
use crate::model::event::{Lifecycle, NamedEvent};

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(fields: &mut Fields<M>, life: &Lifecycle) -> Result<(), M::Error> {
    identity::write(fields, &life.container)?;
    fields.maybe("container.lifetime_ns", life.lifetime_ns)?;
    // OpenTelemetry has a name for the count, for containers of Kubernetes alone.
    let count = match life.container.k8s_container_name {
        Some(_) => "k8s.container.restart_count",
        None => "container.restart_count",
    };
    fields.maybe(count, life.restart_count)?;
    let Some(exit) = &life.exit else {
        return Ok(());
    };
    fields.put("container.exit.code", &exit.code)?;
    fields.maybe("container.exit.signal", exit.signal)?;
    fields.text("container.exit.cause", exit.cause.name())?;
    fields.maybe("container.exit.killed_by", exit.killed_by)?;
    if let Some(killer) = &exit.killer {
        fields.put("container.exit.killer.process.pid", &killer.pid)?;
        fields.text("container.exit.killer.process.command", &killer.command)?;
    }
    fields.maybe("container.exit.oom_kill_seq", exit.oom_kill_seq)
}

/// Writes the keys of a name that came late.
pub fn write_named<M: SerializeMap>(
    fields: &mut Fields<M>,
    named: &NamedEvent,
) -> Result<(), M::Error> {
    identity::write(fields, &named.container)?;
    fields.put("named.lines", &named.lines)?;
    fields.put("named.seqs", &named.seqs)
}
