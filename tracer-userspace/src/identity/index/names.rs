//! What the runtimes say, put onto the cgroups that it is about.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use super::paths::{PathId, compose};
use super::subjects::Subject;
use super::{CgroupIndex, Change, ChangeKind};
use crate::identity::names::{NameMessage, NameUpdate, Names, PodUpdate, Source, SourceState};
use crate::identity::path::{self, PathIdentity};
use crate::model::identity::{Attribute, Identity, Level};

impl CgroupIndex {
    /// Takes what a source has sent; the changes are of kind [`ChangeKind::Renamed`].
    pub fn apply(&mut self, message: NameMessage) -> Vec<Change> {
        match message {
            NameMessage::Names(NameUpdate {
                container_id,
                names,
            }) => self.apply_names(&container_id, names),
            NameMessage::Pod(PodUpdate { uid, names }) => self.apply_pod(&uid, names),
            NameMessage::Unknown {
                source,
                container_id,
                reason,
            } => self.apply_unknown(&container_id, source, reason),
            // Ends are no names.
            NameMessage::Exit { .. } => Vec::new(),
            NameMessage::State { source, state } => self.apply_state(source, state),
        }
    }

    /// A container has these names. They are kept for a container that has no cgroup yet.
    pub fn apply_names(&mut self, container_id: &str, names: Names) -> Vec<Change> {
        let pod = self.pod_names(container_id, &names);
        let mut paths = self
            .containers
            .update(container_id, |container| container.learn(names));
        if let Some((uid, names)) = pod {
            paths.extend(self.pods.update(&uid, |pod| pod.learn(names)));
        }
        self.refresh(paths)
    }

    /// A pod has these names, and so have its containers.
    pub fn apply_pod(&mut self, uid: &str, names: Names) -> Vec<Change> {
        // That of a static pod's mirror is another one than the cgroup's, and a new one with every
        // mirror.
        let mirror = names.k8s_pod_uid.clone().filter(|said| said != uid);
        let paths = self.pods.update(uid, |pod| {
            pod.learn(names);
            if let (Some(names), Some(mirror)) = (&mut pod.names, mirror) {
                names.k8s_pod_uid = Some(mirror);
            }
        });
        self.refresh(paths)
    }

    /// A source was asked for a container and has no names.
    pub fn apply_unknown(
        &mut self,
        container_id: &str,
        source: Arc<Source>,
        reason: String,
    ) -> Vec<Change> {
        let paths = self.containers.update(container_id, |container| {
            container.learn_reason(source, reason);
        });
        self.refresh(paths)
    }

    /// A source became available or unavailable: the reason of every container without names.
    pub fn apply_state(&mut self, source: Arc<Source>, state: SourceState) -> Vec<Change> {
        match self.sources.iter_mut().find(|(one, _)| *one == source) {
            Some((_, old)) if *old == state => return Vec::new(),
            Some((_, old)) => *old = state,
            None => self.sources.push((source, state)),
        }
        let unnamed = self.containers.unnamed_paths();
        self.refresh(unnamed)
    }

    /// Whether a source may still name the container: one that answers, knows containers of its
    /// runtime, and has not said yet that it does not know this one.
    pub fn name_may_come(&self, identity: &Identity) -> bool {
        let Some(id) = identity.container_id.as_deref() else {
            return false;
        };
        let container = self.containers.get(id);
        self.answering(identity)
            .any(|source| container.and_then(|one| one.reason_of(source)).is_none())
    }

    /// Whether a source that answers will tell how the container ended.
    pub fn exit_may_come(&self, identity: &Identity) -> bool {
        identity.container_id.is_some() && self.answering(identity).any(|source| source.tells_exits)
    }

    fn answering(&self, identity: &Identity) -> impl Iterator<Item = &Source> {
        let runtime = identity.runtime_name;
        let in_pod = identity.k8s_pod_uid.is_some();
        self.sources.iter().filter_map(move |(source, state)| {
            let answers = *state == SourceState::Connected && source.serves(runtime, in_pod);
            answers.then_some(&**source)
        })
    }

    /// A pod's cgroup has no names of its own; its containers tell them.
    fn pod_names(&self, container_id: &str, names: &Names) -> Option<(String, Names)> {
        names.k8s_pod_name.as_ref()?;
        if names.within.is_some() {
            return None;
        }
        let by_path = || {
            let path = *self.containers.get(container_id)?.paths.iter().next()?;
            self.paths.get(path)?.identity.k8s_pod_uid.clone()
        };
        let uid = by_path().or_else(|| names.k8s_pod_uid.clone())?;
        let of_pod = |attribute: &&Attribute| attribute.key.starts_with("k8s.");
        let pod = Names {
            k8s_namespace: names.k8s_namespace.clone(),
            k8s_pod_name: names.k8s_pod_name.clone(),
            resolver: names.resolver,
            attributes: names.attributes.iter().filter(of_pod).cloned().collect(),
            ..Names::default()
        };
        Some((uid, pod))
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
        let names = self
            .containers
            .get(parsed.container_id?)?
            .names
            .as_deref()?;
        let believed = |within: &str| parsed.owner.starts_with(within.as_bytes());
        names
            .within
            .as_deref()
            .is_none_or(believed)
            .then_some(names)
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
        let id = parsed.container_id?;
        if self.names_of(parsed).is_some_and(Names::is_named) {
            return None;
        }
        let in_pod = parsed.k8s_pod_uid.is_some();
        Some(self.reason(parsed.runtime_name, in_pod, self.containers.get(id)))
    }

    /// Why a container has no name, as far as the sources that may know it say.
    fn reason(&self, runtime: Option<&str>, in_pod: bool, container: Option<&Subject>) -> String {
        if self.sources.is_empty() {
            return "no runtime is asked for names".to_owned();
        }
        let serving = || {
            let all = self.sources.iter();
            all.filter(|(source, _)| source.serves(runtime, in_pod))
        };
        if serving().next().is_none() {
            let sources: Vec<&str> = self
                .sources
                .iter()
                .map(|(source, _)| source.resolver)
                .collect();
            let sources = sources.join(", ");
            let runtime = runtime.unwrap_or("unknown");
            return format!("runtime is {runtime}; only names of {sources} are read");
        }
        let mut reasons: Vec<Cow<'_, str>> = Vec::new();
        for (source, state) in serving() {
            let resolver = source.resolver;
            let known = container.and_then(|one| one.reason_of(source));
            match (known, state) {
                (Some(reason), _) => reasons.push(reason.into()),
                (None, SourceState::Unavailable(reason)) => reasons.push(reason.into()),
                (None, SourceState::Connected) => {
                    reasons.push(format!("{resolver} has not named it yet").into());
                }
                (None, SourceState::Absent) => {}
            }
        }
        // Sockets that are not there are worth telling where none of their kind is.
        let mut absent: Vec<(&str, Vec<&str>)> = Vec::new();
        for (source, _) in serving().filter(|(_, state)| *state == SourceState::Absent) {
            let resolver = source.resolver;
            let another = |(one, state): &&(Arc<Source>, SourceState)| {
                one.resolver == resolver && *state != SourceState::Absent
            };
            if serving().any(|one| another(&one)) {
                continue;
            }
            match absent.iter_mut().find(|(kind, _)| *kind == resolver) {
                Some((_, places)) => places.push(&source.place),
                None => absent.push((resolver, vec![&source.place])),
            }
        }
        for (resolver, places) in absent {
            let places = places.join(", ");
            reasons.push(format!("{resolver} socket {places}: no such file").into());
        }
        reasons.join("; ")
    }
}
