//! `container_start` and `container_exit`.

use serde::ser::SerializeMap;

use super::fields::Fields;
use super::identity;
use crate::model::event::Lifecycle;

/// Writes the event's own keys.
pub fn write<M: SerializeMap>(fields: &mut Fields<M>, life: &Lifecycle) -> Result<(), M::Error> {
    identity::write(fields, &life.container)?;
    fields.maybe("container.lifetime_ns", life.lifetime_ns)
}
