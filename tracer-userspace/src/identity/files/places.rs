//! Where the files are, and what is in them. Every file is bounded, and so is every text.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::identity::names::{Names, bounded};

/// Longest file that is read, in bytes. A bundle has some tens of kilobytes, the list of Podman's
/// containers a few hundred bytes for each.
const MAX_BYTES: u64 = 16 << 20;

/// Most namespaces of a containerd, and most log files of a node, that are looked through.
const MAX_ENTRIES: usize = 65_536;

/// States of containerd: as it comes, in K3s, k0s and MicroK8s.
const CONTAINERD: [&str; 4] = [
    "run/containerd",
    "run/k3s/containerd",
    "run/k0s/containerd",
    "var/snap/microk8s/common/run/containerd",
];

/// Bundles of the shims below such a state.
const TASKS: &str = "io.containerd.runtime.v2.task";

/// Storage of Podman and CRI-O for root.
const STORAGE: &str = "var/lib/containers/storage/overlay-containers/containers.json";

/// Bundles of CRI-O.
const CRIO: &str = "run/containers/storage/overlay-containers";

/// What the bundles say of a container. They are in memory (`/run`), so nobody waits for a disk.
/// `id` must be one that changes no path.
pub(super) fn in_memory(root: &Path, id: &str) -> Option<Names> {
    containerd(root, id).or_else(|| crio(root, id))
}

/// What files on the host's disk say of a container.
pub(super) fn on_disk(root: &Path, id: &str) -> Option<Names> {
    docker(root, id)
        .or_else(|| storage(root, id))
        .or_else(|| kubelet_log(root, id))
}

/// The part of an OCI bundle's `config.json` that is of use.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Bundle {
    annotations: HashMap<String, String>,
}

fn containerd(root: &Path, id: &str) -> Option<Names> {
    CONTAINERD.iter().find_map(|state| {
        let tasks = root.join(state).join(TASKS);
        let namespaces = fs::read_dir(tasks).ok()?.take(MAX_ENTRIES);
        let found: Option<Bundle> = namespaces
            .filter_map(Result::ok)
            .find_map(|namespace| read(&namespace.path().join(id).join("config.json")));
        from_containerd(&found?)
    })
}

/// Annotations of containerd's CRI plugin (`pkg/cri/annotations`).
fn from_containerd(bundle: &Bundle) -> Option<Names> {
    let said = |key: &str| {
        let text = bundle.annotations.get(&format!("io.kubernetes.cri.{key}"));
        text.cloned().and_then(bounded)
    };
    let pod_itself = said("container-type").as_deref() == Some("sandbox");
    let container = said("container-name").filter(|_| !pod_itself);
    let name = container
        .clone()
        .or_else(|| pod_itself.then(|| "POD".to_owned()));
    name.is_some().then(|| Names {
        container_name: name,
        image_name: said("image-name"),
        runtime_name: Some("containerd"),
        k8s_namespace: said("sandbox-namespace"),
        k8s_pod_name: said("sandbox-name"),
        k8s_pod_uid: said("sandbox-uid"),
        k8s_container_name: container,
        ..Names::default()
    })
}

/// The part of Docker's `config.v2.json` that is of use.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DockerContainer {
    name: String,
    config: DockerConfig,
    restart_count: u32,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DockerConfig {
    image: String,
    labels: Option<HashMap<String, String>>,
}

fn docker(root: &Path, id: &str) -> Option<Names> {
    let folder = root.join("var/lib/docker/containers").join(id);
    let found: DockerContainer = read(&folder.join("config.v2.json"))?;
    let labels = found.config.labels.unwrap_or_default();
    let mut names = from_labels(&labels);
    names.container_name = bounded(found.name.trim_start_matches('/').to_owned());
    names.image_name = bounded(found.config.image);
    names.runtime_name = Some("docker");
    names.restart_count = Some(found.restart_count);
    names.is_named().then_some(names)
}

/// The labels that kubelet gives to containers.
fn from_labels(labels: &HashMap<String, String>) -> Names {
    let label = |key: &str| {
        let text = labels.get(&format!("io.kubernetes.{key}"));
        text.cloned().and_then(bounded)
    };
    Names {
        k8s_namespace: label("pod.namespace"),
        k8s_pod_name: label("pod.name"),
        k8s_pod_uid: label("pod.uid"),
        k8s_container_name: label("container.name"),
        ..Names::default()
    }
}

/// CRI-O writes a container's labels, as JSON, and the image into its bundle's annotations
/// (`internal/annotations`).
fn crio(root: &Path, id: &str) -> Option<Names> {
    let bundle: Bundle = read(&root.join(CRIO).join(id).join("userdata/config.json"))?;
    let said = |key: &str| {
        bundle
            .annotations
            .get(&format!("io.kubernetes.cri-o.{key}"))
    };
    let labels: HashMap<String, String> = serde_json::from_str(said("Labels")?).ok()?;
    let mut names = from_labels(&labels);
    let pod_itself = said("ContainerType").is_some_and(|kind| kind == "sandbox");
    if pod_itself {
        names.k8s_container_name = None;
    }
    let own = || names.k8s_container_name.clone();
    names.container_name = if pod_itself {
        Some("POD".to_owned())
    } else {
        own()
    };
    names.image_name = said("ImageName").cloned().and_then(bounded);
    names.runtime_name = Some("cri-o");
    names.is_named().then_some(names)
}

/// One entry of the list of containers in Podman's storage.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Stored {
    id: String,
    names: Vec<String>,
    /// JSON by itself.
    metadata: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct StoredMetadata {
    #[serde(rename = "image-name")]
    image_name: String,
}

fn storage(root: &Path, id: &str) -> Option<Names> {
    let all: Vec<Stored> = read(&root.join(STORAGE))?;
    let found = all.into_iter().find(|one| one.id == id)?;
    let metadata: StoredMetadata = serde_json::from_str(&found.metadata).unwrap_or_default();
    let names = Names {
        container_name: found.names.into_iter().next().and_then(bounded),
        image_name: bounded(metadata.image_name),
        ..Names::default()
    };
    names.is_named().then_some(names)
}

/// Kubelet links the logs of containers by `<pod>_<namespace>_<container>-<id>.log`; none of the
/// names can have an underscore.
fn kubelet_log(root: &Path, id: &str) -> Option<Names> {
    let end = format!("-{id}.log");
    let all = fs::read_dir(root.join("var/log/containers")).ok()?;
    let name = all
        .take(MAX_ENTRIES)
        .filter_map(Result::ok)
        .find_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            name.strip_suffix(&end).map(str::to_owned)
        })?;
    let [pod, namespace, container] = name.split('_').collect::<Vec<_>>().try_into().ok()?;
    let text = |text: &str| bounded(text.to_owned());
    let names = Names {
        container_name: text(container),
        k8s_namespace: text(namespace),
        k8s_pod_name: text(pod),
        k8s_container_name: text(container),
        ..Names::default()
    };
    names.is_named().then_some(names)
}

/// A file of JSON, if it is there, is one, and is not too long.
fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let file = File::open(path).ok()?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&bytes).ok()
}
