//! The keys that say whose event it is.

use serde::ser::SerializeMap;

use super::fields::Fields;
use crate::model::identity::Identity;

/// Writes what is known of a container.
pub fn write<M: SerializeMap>(fields: &mut Fields<M>, identity: &Identity) -> Result<(), M::Error> {
    fields.maybe_text("container.id", identity.container_id.as_deref())?;
    fields.maybe_text("container.name", identity.container_name.as_deref())?;
    fields.maybe_text("container.image.name", identity.image_name.as_deref())?;
    fields.maybe_text("container.runtime.name", identity.runtime_name)?;
    fields.maybe_text("k8s.namespace.name", identity.k8s_namespace.as_deref())?;
    fields.maybe_text("k8s.pod.name", identity.k8s_pod_name.as_deref())?;
    fields.maybe_text("k8s.pod.uid", identity.k8s_pod_uid.as_deref())?;
    fields.maybe_text("k8s.container.name", identity.k8s_container_name.as_deref())?;
    for attribute in &identity.attributes {
        fields.text(&attribute.key, &attribute.value)?;
    }
    fields.maybe_text("container.resolver", identity.resolver)?;
    fields.maybe_text("container.unresolved", identity.unresolved.as_deref())?;
    fields.text("process.linux.cgroup", &identity.cgroup_path)
}
