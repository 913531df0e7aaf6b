//! From a runtime's answers to names. Pure; every text is bounded.

use std::collections::HashMap;

use super::messages::{
    CONTAINER_EXITED, Container, ContainerMetadata, ContainerStatus, ImageSpec, PodSandbox,
    PodSandboxMetadata,
};
use crate::identity::chosen::Chosen;
use crate::identity::client::is_id;
use crate::identity::names::{NameUpdate, Names, bounded};
use crate::model::exit::ExitReport;

/// What goes into all names of a runtime.
pub(super) struct About<'a> {
    /// The runtime, as in `container.runtime.name`.
    pub runtime: Option<&'static str>,
    /// The labels and annotations that are told.
    pub chosen: &'a Chosen,
}

/// What a pod's own container is called, the one that holds its namespaces: as kubelet and cAdvisor
/// call it.
pub(super) const POD_CONTAINER: &str = "POD";

/// The name of a runtime as it is in `container.runtime.name`.
pub(super) fn runtime_name(said: &str) -> Option<&'static str> {
    match said {
        "containerd" => Some("containerd"),
        "cri-o" => Some("cri-o"),
        "docker" => Some("docker"),
        _ => None,
    }
}

/// A pod's names; they are those of its own container.
pub(super) fn from_pod(pod: &PodSandbox, about: &About<'_>) -> Option<NameUpdate> {
    if !is_id(&pod.id) {
        return None;
    }
    let mut names = Names {
        container_name: Some(POD_CONTAINER.to_owned()),
        runtime_name: about.runtime,
        attributes: about.chosen.of_pod(&pod.labels, &pod.annotations),
        ..Names::default()
    };
    add_pod(&mut names, pod.metadata.as_ref()?);
    Some(NameUpdate {
        container_id: pod.id.clone(),
        names,
    })
}

/// A container's names, with those of its pod where that is known.
pub(super) fn from_container(
    container: &Container,
    pod: Option<&PodSandbox>,
    about: &About<'_>,
) -> Option<NameUpdate> {
    update(
        &container.id,
        container.metadata.as_ref(),
        container.image.as_ref(),
        (&container.labels, &container.annotations),
        pod,
        about,
    )
}

/// The same of a container's status, which has the image's name where the list has its digest.
pub(super) fn from_status(
    status: &ContainerStatus,
    pod: Option<&PodSandbox>,
    about: &About<'_>,
) -> Option<NameUpdate> {
    update(
        &status.id,
        status.metadata.as_ref(),
        status.image.as_ref(),
        (&status.labels, &status.annotations),
        pod,
        about,
    )
}

fn update(
    id: &str,
    metadata: Option<&ContainerMetadata>,
    image: Option<&ImageSpec>,
    (labels, annotations): (&HashMap<String, String>, &HashMap<String, String>),
    pod: Option<&PodSandbox>,
    about: &About<'_>,
) -> Option<NameUpdate> {
    if !is_id(id) {
        return None;
    }
    let metadata = metadata?;
    let label = |key: &str| labels.get(key).cloned().and_then(bounded);
    let name = bounded(metadata.name.clone());
    let mut names = Names {
        container_name: name.clone(),
        image_name: image.and_then(image_name),
        runtime_name: about.runtime,
        attributes: about.chosen.of_container(Some(labels)),
        k8s_namespace: label("io.kubernetes.pod.namespace"),
        k8s_pod_name: label("io.kubernetes.pod.name"),
        k8s_pod_uid: label("io.kubernetes.pod.uid"),
        // Kubelet makes both of the container's name in the specification.
        k8s_container_name: label("io.kubernetes.container.name").or(name),
        restart_count: annotations
            .get("io.kubernetes.container.restartCount")
            .and_then(|count| count.parse().ok())
            .or(Some(metadata.attempt)),
        ..Names::default()
    };
    if let Some(pod) = pod {
        let of_pod = about.chosen.of_pod(&pod.labels, &pod.annotations);
        names.attributes.extend(of_pod);
        if let Some(pod) = &pod.metadata {
            add_pod(&mut names, pod);
        }
    }
    names.container_name.is_some().then(|| NameUpdate {
        container_id: id.to_owned(),
        names,
    })
}

fn add_pod(names: &mut Names, pod: &PodSandboxMetadata) {
    for (place, text) in [
        (&mut names.k8s_namespace, &pod.namespace),
        (&mut names.k8s_pod_name, &pod.name),
        (&mut names.k8s_pod_uid, &pod.uid),
    ] {
        if place.is_none() {
            *place = bounded(text.clone());
        }
    }
}

fn image_name(image: &ImageSpec) -> Option<String> {
    let user = Some(&image.user_specified_image).filter(|name| !name.is_empty());
    bounded(user.unwrap_or(&image.image).clone())
}

/// Whether the image is told by its digest: kubelet hands that to the runtime, and the status knows
/// a name.
pub(super) fn lacks_image_name(update: &NameUpdate) -> bool {
    let image = update.names.image_name.as_deref();
    image.is_none_or(|image| {
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        image.starts_with("sha256:") || hex(image)
    })
}

/// How a container ended, if it has.
pub(super) fn exit(status: &ContainerStatus) -> Option<ExitReport> {
    (status.state == CONTAINER_EXITED).then(|| ExitReport {
        code: Some(status.exit_code),
        says_oom: status.reason == "OOMKilled",
        restart_count: status.metadata.as_ref().map(|metadata| metadata.attempt),
        killed_by: None,
    })
}
