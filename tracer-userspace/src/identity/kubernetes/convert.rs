//! From pods to names. Pure; every text is bounded.

use std::sync::Arc;

use super::objects::{ContainerStatus, OwnerReference, Pod};
use crate::identity::chosen::{Chosen, attribute};
use crate::identity::client::is_id;
use crate::identity::names::{NameUpdate, Names, PodUpdate, bounded};
use crate::model::identity::Attribute;

/// Where the API's copy of a static pod has the uid that the pod has on its node: a hash of its
/// manifest (`ConfigMirrorAnnotationKey`, `pkg/kubelet/types/pod_update.go`).
const MIRROR: &str = "kubernetes.io/config.mirror";

/// The label that tells a Deployment's pods of one template from those of another.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// Who made what made a pod.
#[derive(Clone, Copy, Debug)]
pub(super) enum Grandparent<'a> {
    /// That was not found out.
    Unknown,
    /// It was, and may be nobody.
    Known(Option<&'a OwnerReference>),
}

/// The names of a pod and of its containers.
pub(super) fn names(
    pod: &Pod,
    grandparent: Grandparent<'_>,
    chosen: &Chosen,
) -> Option<(PodUpdate, Vec<NameUpdate>)> {
    let meta = &pod.metadata;
    let of_pod = Names {
        k8s_namespace: bounded(meta.namespace.clone()),
        k8s_pod_name: Some(bounded(meta.name.clone())?),
        k8s_pod_uid: Some(bounded(meta.uid.clone())?),
        attributes: attributes(pod, grandparent, chosen),
        ..Names::default()
    };
    let status = &pod.status;
    let containers = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let containers = containers.into_iter().flatten();
    let containers = containers.filter_map(|status| container(status, &of_pod));
    let containers = containers.collect();
    let update = PodUpdate {
        uid: uid_of_cgroup(pod).to_owned(),
        names: of_pod,
    };
    Some((update, containers))
}

/// The uid that the pod's cgroup has.
fn uid_of_cgroup(pod: &Pod) -> &str {
    let hash = pod.metadata.annotations.get(MIRROR);
    let is_hash = |text: &&String| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    hash.filter(is_hash).unwrap_or(&pod.metadata.uid)
}

fn container(status: &ContainerStatus, of_pod: &Names) -> Option<NameUpdate> {
    let (runtime, id) = status.container_id.split_once("://")?;
    let name = bounded(status.name.clone())?;
    is_id(id).then(|| NameUpdate {
        container_id: id.to_owned(),
        names: Names {
            container_name: Some(name.clone()),
            k8s_container_name: Some(name),
            image_name: bounded(status.image.clone()),
            runtime_name: match runtime {
                "containerd" => Some("containerd"),
                "cri-o" => Some("cri-o"),
                "docker" => Some("docker"),
                _ => None,
            },
            restart_count: Some(status.restart_count),
            ..of_pod.clone()
        },
    })
}

/// Node, owners, and what was chosen, by OpenTelemetry's names.
fn attributes(pod: &Pod, grandparent: Grandparent<'_>, chosen: &Chosen) -> Vec<Attribute> {
    let meta = &pod.metadata;
    let node = fact("k8s.node.name", &pod.spec.node_name);
    let parent = meta.controller();
    let of_owner = |owner: &OwnerReference| fact(key(owner)?, &owner.name);
    let grandparent = match grandparent {
        Grandparent::Known(owner) => owner.and_then(of_owner),
        Grandparent::Unknown => deployment(pod).and_then(|name| fact("k8s.deployment.name", name)),
    };
    let reason = fact("k8s.pod.status.reason", &pod.status.reason);
    let mut all: Vec<Attribute> = [node, parent.and_then(of_owner), grandparent, reason]
        .into_iter()
        .flatten()
        .collect();
    all.extend(chosen.of_pod(&meta.labels, &meta.annotations));
    all
}

fn fact(key: &str, value: &str) -> Option<Attribute> {
    attribute(&Arc::from(key), value)
}

/// The key of an owner's name; kinds that others have made have none.
fn key(owner: &OwnerReference) -> Option<&'static str> {
    let group = owner
        .api_version
        .split_once('/')
        .map_or("", |(group, _)| group);
    Some(match (group, &*owner.kind) {
        ("apps", "Deployment") => "k8s.deployment.name",
        ("apps", "ReplicaSet") => "k8s.replicaset.name",
        ("apps", "StatefulSet") => "k8s.statefulset.name",
        ("apps", "DaemonSet") => "k8s.daemonset.name",
        ("batch", "Job") => "k8s.job.name",
        ("batch", "CronJob") => "k8s.cronjob.name",
        ("", "ReplicationController") => "k8s.replicationcontroller.name",
        _ => return None,
    })
}

/// The Deployment whose controller named the pod's ReplicaSet: after itself and the hash that its
/// pods have for a label.
fn deployment(pod: &Pod) -> Option<&str> {
    let set = pod.metadata.controller()?;
    let hash = pod.metadata.labels.get(TEMPLATE_HASH)?;
    let is_set = key(set) == Some("k8s.replicaset.name") && !hash.is_empty();
    let name = set.name.strip_suffix(hash.as_str())?.strip_suffix('-')?;
    is_set.then_some(name)
}
