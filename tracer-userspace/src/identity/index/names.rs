//! What the runtimes say, put onto the cgroups that it is about.

use std::collections::HashSet;
use std::sync::Arc;

use super::paths::{PathId, compose};
use super::{CgroupIndex, Change, ChangeKind};
use crate::identity::names::{NameMessage, NameUpdate, Names, SourceState};
use crate::identity::path::{self, PathIdentity};
use crate::model::identity::Level;

impl CgroupIndex {
    /// Takes what a source has sent; the changes are of kind [`ChangeKind::Renamed`].
    pub fn apply(&mut self, message: NameMessage) -> Vec<Change> {
        match message {
            NameMessage::Names(NameUpdate {
                container_id,
                names,
            }) => self.apply_names(&container_id, names),
            NameMessage::Unknown {
                container_id,
                reason,
            } => self.apply_unknown(&container_id, reason),
            NameMessage::State { source, state } => self.apply_state(source, state),
        }
    }

    /// A container has these names. They are kept for a container that has no cgroup yet.
    pub fn apply_names(&mut self, container_id: &str, names: Names) -> Vec<Change> {
        let pod = self.pod_names(container_id, &names);
        let mut paths = self.containers.update(container_id, |container| {
            container.names = Some(Box::new(names));
            container.reason = None;
        });
        if let Some((uid, names)) = pod {
            paths.extend(
                self.pods
                    .update(&uid, |pod| pod.names = Some(Box::new(names))),
            );
        }
        self.refresh(paths)
    }

    /// A source was asked for a container and has no names.
    pub fn apply_unknown(&mut self, container_id: &str, reason: String) -> Vec<Change> {
        let paths = self.containers.update(container_id, |container| {
            // Names of one that its runtime has forgotten are still its names.
            if container.names.is_none() {
                container.reason = Some(reason);
            }
        });
        self.refresh(paths)
    }

    /// A source became available or unavailable: the reason of every container without names.
    pub fn apply_state(&mut self, source: &'static str, state: SourceState) -> Vec<Change> {
        match self.sources.iter_mut().find(|(name, _)| *name == source) {
            Some((_, old)) if *old == state => return Vec::new(),
            Some((_, old)) => *old = state,
            None => self.sources.push((source, state)),
        }
        let unnamed = self.containers.unnamed_paths();
        self.refresh(unnamed)
    }

    /// A pod's cgroup has no names of its own; its containers tell them.
    fn pod_names(&self, container_id: &str, names: &Names) -> Option<(String, Names)> {
        names.k8s_pod_name.as_ref()?;
        let by_path = || {
            let path = *self.containers.get(container_id)?.paths.iter().next()?;
            self.paths.get(path)?.identity.k8s_pod_uid.clone()
        };
        let uid = by_path().or_else(|| names.k8s_pod_uid.clone())?;
        let of_pod = Names {
            k8s_namespace: names.k8s_namespace.clone(),
            k8s_pod_name: names.k8s_pod_name.clone(),
            ..Names::default()
        };
        Some((uid, of_pod))
    }

    /// Makes the identities of these paths anew; reports those that are others now.
    fn refresh(&mut self, paths: Vec<PathId>) -> Vec<Change> {
        let mut changes = Vec::new();
        let distinct: HashSet<PathId> = paths.into_iter().collect();
        for id in distinct {
            let Some(known) = self.paths.get(id) else {
                continue;
            };
            let parsed = path::parse(&known.path);
            let identity = compose(
                &known.path,
                &parsed,
                self.names_of(&parsed),
                self.pod_of(&parsed),
                self.unresolved(&parsed),
            );
            if identity == *known.identity {
                continue;
            }
            self.paths.set_identity(id, Arc::new(identity));
            let bearer = self.at_path(self.config.slot_hierarchy, id);
            changes.extend(bearer.and_then(|key| self.change(key, ChangeKind::Renamed)));
        }
        changes
    }

    pub(super) fn names_of(&self, parsed: &PathIdentity<'_>) -> Option<&Names> {
        self.containers.get(parsed.container_id?)?.names.as_deref()
    }

    pub(super) fn pod_of(&self, parsed: &PathIdentity<'_>) -> Option<&Names> {
        let uid = parsed.k8s_pod_uid.as_deref()?;
        self.pods.get(uid)?.names.as_deref()
    }

    /// Why a container has no name; `None` where it has one, and for what is no container.
    pub(super) fn unresolved(&self, parsed: &PathIdentity<'_>) -> Option<String> {
        if parsed.level != Level::Container || parsed.container_name.is_some() {
            return None;
        }
        let container = self.containers.get(parsed.container_id?);
        if container.is_some_and(|one| one.names.is_some()) {
            return None;
        }
        if let Some(reason) = container.and_then(|one| one.reason.clone()) {
            return Some(reason);
        }
        Some(self.general_reason(parsed.runtime_name))
    }

    /// Why containers of a runtime have no names as a whole.
    fn general_reason(&self, runtime: Option<&str>) -> String {
        if self.sources.is_empty() {
            return "no runtime is asked for names".to_owned();
        }
        let mut serving = self
            .sources
            .iter()
            .filter(|(source, _)| runtime.is_none_or(|runtime| runtime == *source))
            .peekable();
        if serving.peek().is_none() {
            let sources: Vec<&str> = self.sources.iter().map(|(source, _)| *source).collect();
            let sources = sources.join(", ");
            let runtime = runtime.unwrap_or("unknown");
            return format!("runtime is {runtime}; only names of {sources} are read");
        }
        let reasons: Vec<String> = serving
            .map(|(source, state)| match state {
                SourceState::Connected => format!("{source} has not named it yet"),
                SourceState::Unavailable(reason) => reason.clone(),
            })
            .collect();
        reasons.join("; ")
    }
}
