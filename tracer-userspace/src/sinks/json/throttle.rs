//! `cpu_throttle`.

use serde::ser::SerializeMap;

use super::fields::Fields;
use super::identity;
use crate::model::throttle::ThrottleEvent;

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(
    fields: &mut Fields<M>,
    event: &ThrottleEvent,
) -> Result<(), M::Error> {
    identity::write(fields, &event.container)?;
    fields.put("throttle.duration_ns", &event.duration_ns)?;
    fields.put("throttle.cpu", &event.cpu)?;
    fields.put("throttle.level", event.level.name())?;
    fields.text("throttle.cgroup", &event.quota_cgroup.cgroup_path)?;
    fields.put("throttle.source", event.source)?;
    fields.maybe("throttle.burn_ns", event.burn_ns)?;
    fields.put("throttle.threads", &event.threads)?;
    fields.maybe(
        "throttle.quota.quota_us",
        event.quota_ns.map(|quota| quota / 1000),
    )?;
    fields.put("throttle.quota.period_us", &(event.period_ns / 1000))?;
    if let Some(quota) = event.quota_ns {
        // A period of 0 makes it infinite, which is left out.
        fields.float("throttle.quota.cpus", quota as f64 / event.period_ns as f64)?;
    }
    // Without a thread that was seen being parked, the container is the quota's own.
    if event.threads > 0 {
        fields.text("throttle.held.cgroup", &event.container.cgroup_path)?;
    }
    Ok(())
}
