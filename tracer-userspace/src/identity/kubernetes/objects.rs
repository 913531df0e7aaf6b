//! The part of Kubernetes' objects that is read.
//!
//! Names are those of the API, `k8s.io/api/core/v1`, `apps/v1`, `batch/v1` and
//! `apimachinery/pkg/apis/meta/v1`. Everything else is skipped in decoding.

use std::collections::HashMap;

use serde::{Deserialize, Deserializer};

/// `PodList`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct PodList {
    pub metadata: ListMeta,
    #[serde(deserialize_with = "or_default")]
    pub items: Vec<Pod>,
}

/// `ListMeta`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListMeta {
    pub resource_version: String,
}

/// `Pod`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Pod {
    pub metadata: Meta,
    pub spec: PodSpec,
    pub status: PodStatus,
}

/// Any object, of which only the metadata are read.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Object {
    pub metadata: Meta,
}

/// `ObjectMeta`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    #[serde(deserialize_with = "or_default")]
    pub labels: HashMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub annotations: HashMap<String, String>,
    #[serde(deserialize_with = "or_default")]
    pub owner_references: Vec<OwnerReference>,
}

/// `OwnerReference`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct OwnerReference {
    pub api_version: String,
    pub kind: String,
    pub name: String,
    pub uid: String,
    pub controller: bool,
}

impl Meta {
    /// The one that made it, and makes it anew.
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// `PodSpec`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodSpec {
    pub node_name: String,
}

/// `PodStatus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct PodStatus {
    /// Why the pod is over, where Kubernetes ended it.
    pub reason: String,
    #[serde(deserialize_with = "or_default")]
    pub container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// `ContainerStatus`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    pub image: String,
    /// `<runtime>://<id>`.
    #[serde(rename = "containerID")]
    pub container_id: String,
    pub restart_count: u32,
}

/// `WatchEvent`: what kind it is, which tells of what kind its object is.
#[derive(Debug, Deserialize)]
pub struct WatchKind {
    #[serde(rename = "type")]
    pub kind: String,
}

/// `WatchEvent` of an object.
#[derive(Debug, Deserialize)]
pub struct WatchEvent<T> {
    pub object: T,
}

/// `Status`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub code: u16,
    pub message: String,
}

/// Empty where there is `null`, as Go writes lists that are nil.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
