//! Every distinct path once, whatever hierarchies it is in, with the identity it has.

use std::collections::HashMap;
use std::sync::Arc;

use crate::identity::names::Names;
use crate::identity::path::{PATH_MAX, PathIdentity};
use crate::model::identity::{Attribute, Identity, SharedIdentity};

/// Names a path while it is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct PathId(u32);

pub(super) struct KnownPath {
    pub path: Arc<[u8]>,
    /// Bytes of the path that are its owner's; all of them where it owns itself.
    pub owner_len: usize,
    pub identity: SharedIdentity,
    /// Cgroups that have it.
    users: u32,
}

impl KnownPath {
    pub fn owns_itself(&self) -> bool {
        self.owner_len == self.path.len()
    }

    pub fn owner(&self) -> &[u8] {
        &self.path[..self.owner_len]
    }
}

#[derive(Default)]
pub(super) struct Paths {
    ids: HashMap<Arc<[u8]>, PathId>,
    known: Vec<Option<KnownPath>>,
    free: Vec<PathId>,
}

impl Paths {
    pub fn find(&self, path: &[u8]) -> Option<PathId> {
        self.ids.get(path).copied()
    }

    pub fn get(&self, id: PathId) -> Option<&KnownPath> {
        self.known.get(id.0 as usize)?.as_ref()
    }

    pub fn set_identity(&mut self, id: PathId, identity: SharedIdentity) {
        if let Some(Some(known)) = self.known.get_mut(id.0 as usize) {
            known.identity = identity;
        }
    }

    /// Counts one more user of a path that is known.
    pub fn share(&mut self, path: &[u8]) -> Option<PathId> {
        let id = self.find(path)?;
        if let Some(Some(known)) = self.known.get_mut(id.0 as usize) {
            known.users += 1;
        }
        Some(id)
    }

    /// Adds a path that is not known, with one user.
    pub fn add(&mut self, path: &[u8], owner_len: usize, identity: SharedIdentity) -> PathId {
        let path: Arc<[u8]> = path.into();
        let known = KnownPath {
            path: Arc::clone(&path),
            owner_len,
            identity,
            users: 1,
        };
        let id = if let Some(id) = self.free.pop() {
            self.known[id.0 as usize] = Some(known);
            id
        } else {
            self.known.push(Some(known));
            PathId(self.known.len() as u32 - 1)
        };
        self.ids.insert(path, id);
        id
    }

    /// Counts one user less; returns the path when that was the last one.
    pub fn release(&mut self, id: PathId) -> Option<KnownPath> {
        let place = self.known.get_mut(id.0 as usize)?;
        let known = place.as_mut()?;
        known.users -= 1;
        if known.users > 0 {
            return None;
        }
        let gone = place.take()?;
        self.ids.remove(&gone.path);
        self.free.push(id);
        Some(gone)
    }
}

/// A path as the index keeps it: a slash in front and none at the end, bounded.
pub(super) fn normal(path: &[u8]) -> Vec<u8> {
    let path = &path[..path.len().min(PATH_MAX)];
    let path = trim_slashes(path);
    if path.first() == Some(&b'/') {
        path.to_vec()
    } else {
        [b"/", path].concat()
    }
}

fn trim_slashes(path: &[u8]) -> &[u8] {
    let last = path.iter().rposition(|&byte| byte != b'/');
    &path[..last.map_or(0, |last| last + 1)]
}

/// Puts together what the path, the container's names and its pod's names say.
pub(super) fn compose(
    path: &[u8],
    parsed: &PathIdentity<'_>,
    names: Option<&Names>,
    pod: Option<&Names>,
    unresolved: Option<String>,
) -> Identity {
    let of = |field: fn(&Names) -> &Option<String>| {
        let own = names.and_then(|names| field(names).clone());
        own.or_else(|| pod.and_then(|pod| field(pod).clone()))
    };
    Identity {
        cgroup_path: String::from_utf8_lossy(path).into_owned(),
        level: parsed.level,
        container_id: parsed.container_id.map(str::to_owned),
        container_name: of(|names| &names.container_name)
            .or_else(|| parsed.container_name.as_deref().map(str::to_owned)),
        image_name: of(|names| &names.image_name),
        runtime_name: parsed
            .runtime_name
            .or_else(|| names.and_then(|names| names.runtime_name)),
        k8s_namespace: of(|names| &names.k8s_namespace),
        k8s_pod_name: of(|names| &names.k8s_pod_name),
        // That of a static pod's cgroup is none that the API server knows.
        k8s_pod_uid: pod
            .and_then(|pod| pod.k8s_pod_uid.clone())
            .or_else(|| parsed.k8s_pod_uid.as_deref().map(str::to_owned))
            .or_else(|| of(|names| &names.k8s_pod_uid)),
        k8s_container_name: of(|names| &names.k8s_container_name),
        restart_count: names.and_then(|names| names.restart_count),
        attributes: attributes(names, pod).into(),
        resolver: names
            .or(pod)
            .and_then(|names| names.resolver)
            .or_else(|| parsed.container_name.is_some().then_some("path")),
        unresolved,
    }
}

/// What is known of the pod, and of the container besides.
fn attributes(names: Option<&Names>, pod: Option<&Names>) -> Vec<Attribute> {
    let of = |names: Option<&Names>| names.map_or_else(Vec::new, |names| names.attributes.clone());
    let mut all = of(pod);
    for attribute in of(names) {
        if all.iter().all(|one| one.key != attribute.key) {
            all.push(attribute);
        }
    }
    all.sort_by(|a, b| a.key.cmp(&b.key));
    all
}
