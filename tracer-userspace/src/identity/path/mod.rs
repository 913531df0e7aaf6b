//! What a cgroup's path says: container, pod or unit, its id and runtime. Pure.
//!
//! A path is read from the root downwards, and each component may change the answer:
//!
//! - A component that names a **container** always does, also below another container (Docker in
//!   Docker, a Kubernetes node in a container): the innermost container owns what is below it.
//! - A **pod** does too; what is below it and names no container belongs to the pod (an agent's
//!   or monitor's own cgroup, for one).
//! - **Units and slices** of systemd do only where systemd itself made them, which is below slices
//!   all the way from the root, or below a user's own manager (`user@UID.service`). Units of a
//!   systemd that runs in a container belong to the container, and cgroups that a unit made for
//!   itself belong to the unit.
//! - **Anything else** stands for itself, unless it is below a container, a pod or a unit.

mod container;
mod kubernetes;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::ops::Range;

use crate::model::identity::Level;

/// Bytes of a path that are looked at; the kernel's own limit for a path (`PATH_MAX`).
pub const PATH_MAX: usize = 4096;

/// Runtime name of systemd's units.
pub const SYSTEMD: &str = "systemd";

/// What a path says about its cgroup. Text is from outside, and hostile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathIdentity<'p> {
    /// What the owner is; for a cgroup that owns itself, what the cgroup is.
    pub level: Level,
    /// The container, pod, unit or other cgroup that the path belongs to: a prefix of the path,
    /// without a slash at its end (empty for the root).
    pub owner: &'p [u8],
    /// The container's id.
    pub container_id: Option<&'p str>,
    /// The container's or unit's name, where the path has it.
    pub container_name: Option<Cow<'p, str>>,
    /// Runtime; `None` also for a container whose path suits several runtimes.
    pub runtime_name: Option<&'static str>,
    /// The Kubernetes pod's uid, with dashes (a static pod's has none: it is 32 hex digits).
    pub k8s_pod_uid: Option<Cow<'p, str>>,
}

impl<'p> PathIdentity<'p> {
    const fn root() -> Self {
        Self {
            level: Level::Root,
            owner: &[],
            container_id: None,
            container_name: None,
            runtime_name: None,
            k8s_pod_uid: None,
        }
    }

    /// Takes the place of what is known so far, except for the pod: a container in a container of
    /// a pod is in that pod.
    fn become_container(&mut self, owner: &'p [u8], found: container::Found<'p>) {
        self.level = Level::Container;
        self.owner = owner;
        self.container_id = Some(found.id);
        self.container_name = found.name.map(Cow::Borrowed);
        self.runtime_name = found.runtime;
        if let Some(uid) = found.pod_uid {
            self.k8s_pod_uid = Some(uid);
        }
    }

    fn become_other(&mut self, owner: &'p [u8], level: Level) {
        *self = Self {
            level,
            owner,
            ..Self::root()
        };
    }

    fn become_unit(&mut self, owner: &'p [u8], level: Level, name: &'p [u8]) {
        self.become_other(owner, level);
        self.container_name = Some(String::from_utf8_lossy(name));
        self.runtime_name = Some(SYSTEMD);
    }
}

/// Reads a path within a hierarchy, with or without its leading slash.
///
/// Never fails: what it cannot read stands for itself, as [`Level::Other`]. Only the first
/// [`PATH_MAX`] bytes count.
pub fn parse(path: &[u8]) -> PathIdentity<'_> {
    let path = &path[..path.len().min(PATH_MAX)];
    let mut identity = PathIdentity::root();
    let mut place = Place::default();
    for range in components(path) {
        let owner = &path[..range.end];
        let name = &path[range];
        step(&mut identity, &mut place, owner, name);
        place.grandparent = place.parent;
        place.parent = name;
        place.parent_owns_itself = identity.owner.len() == owner.len();
        place.depth += 1;
    }
    identity
}

/// Where in the tree a component is.
#[derive(Default)]
struct Place<'p> {
    /// The component before it; empty at the top.
    parent: &'p [u8],
    /// The one before that.
    grandparent: &'p [u8],
    /// The parent is an owner, not a part of one.
    parent_owns_itself: bool,
    /// Components before it.
    depth: usize,
    /// Below a `kubepods` directory of kubelet's cgroupfs driver.
    below_kubepods: bool,
    /// Systemd does not manage this part of the tree.
    unmanaged: bool,
}

fn step<'p>(
    identity: &mut PathIdentity<'p>,
    place: &mut Place<'p>,
    owner: &'p [u8],
    name: &'p [u8],
) {
    let below_kubepods = std::mem::take(&mut place.below_kubepods);
    if container::is_podman_pod(place.parent, name) {
        identity.become_other(owner, Level::Pod);
        return;
    }
    if let Some(found) = container::find(place, name, identity.level) {
        identity.become_container(owner, found);
        return;
    }
    match kubernetes::find(name, below_kubepods) {
        Some(kubernetes::Found::Pod(uid)) => {
            identity.become_other(owner, Level::Pod);
            identity.k8s_pod_uid = Some(uid);
            return;
        }
        Some(kubernetes::Found::Qos { directory }) => {
            place.below_kubepods = directory;
            place.unmanaged |= directory;
            if !matches!(identity.level, Level::Container | Level::Pod) {
                identity.become_other(owner, Level::Qos);
            }
            return;
        }
        None => {}
    }
    match identity.level {
        Level::Container | Level::Pod => {}
        Level::Service if !(place.parent_owns_itself && is_user_manager(place.parent)) => {}
        _ if container::is_ecs_task(place.parent, name) => {
            identity.become_other(owner, Level::Pod);
        }
        _ if !place.unmanaged && name.ends_with(b".slice") => {
            identity.become_unit(owner, Level::Slice, name);
        }
        _ if !place.unmanaged && is_unit(name) => {
            identity.become_unit(owner, Level::Service, name);
        }
        _ => {
            place.unmanaged = true;
            identity.become_other(owner, Level::Other);
        }
    }
}

/// The types of units that have cgroups and are no slices (`man systemd.resource-control`).
fn is_unit(name: &[u8]) -> bool {
    [
        b".service".as_slice(),
        b".scope",
        b".socket",
        b".mount",
        b".swap",
    ]
    .iter()
    .any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// The service in which a user's own systemd runs, which makes slices and units below it.
fn is_user_manager(name: &[u8]) -> bool {
    name.starts_with(b"user@") && name.ends_with(b".service")
}

/// The non-empty components of a path.
fn components(path: &[u8]) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut at = 0;
    std::iter::from_fn(move || {
        while path.get(at) == Some(&b'/') {
            at += 1;
        }
        let rest = path.get(at..).filter(|rest| !rest.is_empty())?;
        let len = rest
            .iter()
            .position(|&byte| byte == b'/')
            .unwrap_or(rest.len());
        let range = at..at + len;
        at = range.end;
        Some(range)
    })
}
