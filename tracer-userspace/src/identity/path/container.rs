//! Components that name a container, one runtime family after the other.

use std::borrow::Cow;

use super::{Place, kubernetes};
use crate::model::identity::Level;

const DOCKER: &str = "docker";
const CONTAINERD: &str = "containerd";
const CRI_O: &str = "cri-o";
const PODMAN: &str = "podman";
const LXC: &str = "lxc";

/// Length of the ids that Docker, containerd's CRI, CRI-O and Podman give, in hex digits.
const ID_LEN: usize = 64;

/// A container that a component names.
pub(super) struct Found<'p> {
    pub id: &'p str,
    /// Where the runtime's id is a name.
    pub name: Option<&'p str>,
    /// `None` where several runtimes write such a path.
    pub runtime: Option<&'static str>,
    /// Where the component names its pod as well.
    pub pod_uid: Option<Cow<'p, str>>,
}

impl<'p> Found<'p> {
    const fn by_id(id: &'p str, runtime: Option<&'static str>) -> Self {
        Self {
            id,
            name: None,
            runtime,
            pod_uid: None,
        }
    }

    const fn by_name(name: &'p str, runtime: &'static str) -> Self {
        Self {
            id: name,
            name: Some(name),
            runtime: Some(runtime),
            pod_uid: None,
        }
    }
}

/// The container that `name` is, below a cgroup of level `above`.
pub(super) fn find<'p>(place: &Place<'_>, name: &'p [u8], above: Level) -> Option<Found<'p>> {
    let name = std::str::from_utf8(name).ok()?;
    if let Some(id) = hex_id(name) {
        return Some(Found::by_id(id, runtime_of_parent(place)));
    }
    if let Some(found) = with_prefix(name).or_else(|| with_colons(name)) {
        return Some(found);
    }
    if let Some(id) = fargate_id(name, place) {
        return Some(Found::by_id(id, None));
    }
    lxc(place, name, above).or_else(|| containerd_name(place, name))
}

/// A bare id: cgroupfs drivers of Docker (`/docker/<id>`, or any `--cgroup-parent`), of kubelet
/// (`/kubepods/…/pod<uid>/<id>`), of containerd (`/<namespace>/<id>`), and ECS (`/ecs/<task>/<id>`).
///
/// Docker puts it below any directory that its user names, so the parent only tells the runtime.
fn hex_id(name: &str) -> Option<&str> {
    let digits = name
        .bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (digits && name.len() == ID_LEN).then_some(name)
}

fn runtime_of_parent(place: &Place<'_>) -> Option<&'static str> {
    match place.parent {
        // The second is the parent that GitHub's runner names for the containers of a job.
        b"docker" | b"actions_job" => Some(DOCKER),
        b"default" | b"k8s.io" | b"moby" if place.depth == 1 => Some(CONTAINERD),
        _ if place.grandparent == b"ecs" => Some(DOCKER),
        _ => None,
    }
}

/// `<runtime>-<id>.scope` (systemd's drivers) and `<runtime>-<id>` (cgroupfs of CRI-O and Podman).
///
/// Monitors (`libpod-conmon-<id>.scope`, `crio-conmon-<id>`) do not fit, as what follows the
/// prefix is no id: they are no containers.
fn with_prefix(name: &str) -> Option<Found<'_>> {
    let (prefix, id) = name
        .strip_suffix(".scope")
        .unwrap_or(name)
        .rsplit_once('-')?;
    let runtime = runtime_of_prefix(prefix)?;
    Some(Found::by_id(hex_id(id)?, Some(runtime)))
}

fn runtime_of_prefix(prefix: &str) -> Option<&'static str> {
    match prefix {
        "docker" => Some(DOCKER),
        "cri-containerd" | "containerd" | "nerdctl" => Some(CONTAINERD),
        "crio" => Some(CRI_O),
        // The second is what `podman run --cgroups=split` makes inside of the unit it runs in.
        "libpod" | "libpod-payload" => Some(PODMAN),
        _ => None,
    }
}

/// `<slice>:<runtime>:<id>`: a runtime with the cgroupfs driver that got a path meant for
/// systemd's takes it for a directory's name.
fn with_colons(name: &str) -> Option<Found<'_>> {
    let (rest, id) = name.rsplit_once(':')?;
    let (slice, prefix) = rest.rsplit_once(':')?;
    let mut found = Found::by_id(hex_id(id)?, runtime_of_prefix(prefix));
    if let Some(kubernetes::Found::Pod(uid)) = kubernetes::find(slice.as_bytes(), false) {
        found.pod_uid = Some(uid);
    }
    Some(found)
}

/// `/ecs/<task>/<task>-<number>`: on Fargate the container's id is the task's, numbered.
fn fargate_id<'p>(name: &'p str, place: &Place<'_>) -> Option<&'p str> {
    let (task, number) = name.rsplit_once('-')?;
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (place.grandparent == b"ecs" && task.as_bytes() == place.parent && numbered).then_some(name)
}

/// `lxc.payload.<name>`, `lxc.payload/<name>` and, before LXC 4, `lxc/<name>`.
fn lxc<'p>(place: &Place<'_>, name: &'p str, above: Level) -> Option<Found<'p>> {
    if let Some(container) = name.strip_prefix("lxc.payload.") {
        return (!container.is_empty()).then(|| Found::by_name(container, LXC));
    }
    let below = match place.parent {
        b"lxc.payload" => true,
        // Too common a name to believe it inside of a container.
        b"lxc" => place.depth == 1 || above == Level::Slice,
        _ => false,
    };
    below.then(|| Found::by_name(name, LXC))
}

/// `/default/<name>`: `ctr` lets its user choose the id, in containerd's default namespace.
fn containerd_name<'p>(place: &Place<'_>, name: &'p str) -> Option<Found<'p>> {
    // `identifiers.Validate` of containerd: letters and digits, with single `.`, `-` or `_`
    // between, 76 at most.
    let valid = name.len() <= 76
        && name
            .split(['.', '-', '_'])
            .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    let below = place.depth == 1 && matches!(place.parent, b"default" | b"k8s.io");
    (below && valid).then(|| Found::by_name(name, CONTAINERD))
}

/// A pod of Podman: `libpod_parent/<id>` (cgroupfs), `machine-libpod_pod_<id>.slice` and
/// `user-libpod_pod_<id>.slice` (systemd).
pub(super) fn is_podman_pod(parent: &[u8], name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else {
        return false;
    };
    if parent == b"libpod_parent" {
        return hex_id(name).is_some();
    }
    name.strip_suffix(".slice")
        .and_then(|name| name.rsplit_once("libpod_pod_"))
        .is_some_and(|(before, id)| {
            (before.is_empty() || before.ends_with('-')) && hex_id(id).is_some()
        })
}

/// A task of ECS, which is what others call a pod: `/ecs/<task>` and `ecstasks-<task>.slice`.
pub(super) fn is_ecs_task(parent: &[u8], name: &[u8]) -> bool {
    match parent {
        b"ecs" => !name.is_empty(),
        b"ecstasks.slice" => name.starts_with(b"ecstasks-") && name.ends_with(b".slice"),
        _ => false,
    }
}
