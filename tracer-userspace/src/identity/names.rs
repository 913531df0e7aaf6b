//! What resolvers tell about containers, and the interface that all of them have.
//!
//! A resolver (Docker's API, CRI, Podman's API, Kubernetes, the runtimes' files) runs in the background, sends
//! [`NameMessage`]s, and is asked through [`NameSource`]. Several work side by side: where two know
//! a container, the better one's word counts and the other fills its gaps (see [`Names::merge`]).

use std::sync::Arc;

use crate::model::{
    exit::ExitReport,
    identity::{Attribute, Identity},
};

/// Longest name that is kept, in bytes; what is longer is cut.
pub const NAME_MAX: usize = 512;

/// Who can be asked for names: one socket, one server, or the files of all runtimes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What kind it is, as in `container.resolver`: `docker`, `cri`, `podman`, `api_server`, `kubelet`,
    /// `files`.
    pub resolver: &'static str,
    /// Runtimes whose containers it knows, as in `container.runtime.name`; all where none is named.
    pub runtimes: &'static [&'static str],
    /// Whether it knows containers of pods alone.
    pub pods_only: bool,
    /// Where it is, for people: its socket or its address.
    pub place: String,
    /// Whether it tells how containers ended.
    pub tells_exits: bool,
}

impl Source {
    /// Whether it may know containers of a runtime; one that the path does not tell may be anyone's.
    pub fn serves(&self, runtime: Option<&str>, in_pod: bool) -> bool {
        let known = |runtime| self.runtimes.is_empty() || self.runtimes.contains(&runtime);
        (in_pod || !self.pods_only) && runtime.is_none_or(known)
    }
}

/// What a runtime says about one container. Text is from outside, and hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `container.name`.
    pub container_name: Option<String>,
    /// `container.image.name`.
    pub image_name: Option<String>,
    /// Who says so, as in `container.resolver`.
    pub resolver: Option<&'static str>,
    /// Believed only of cgroups below this path: said by somebody who has no say elsewhere.
    pub within: Option<Arc<str>>,
    /// Which runtime says so; stands in where the path suits several.
    pub runtime_name: Option<&'static str>,
    /// `k8s.namespace.name`.
    pub k8s_namespace: Option<String>,
    /// `k8s.pod.name`.
    pub k8s_pod_name: Option<String>,
    /// `k8s.pod.uid`.
    pub k8s_pod_uid: Option<String>,
    /// `k8s.container.name`.
    pub k8s_container_name: Option<String>,
    /// How often it was restarted, as its runtime counts.
    pub restart_count: Option<u32>,
    /// Further facts; those of its pod have keys that begin with `k8s.`.
    pub attributes: Vec<Attribute>,
}

impl Names {
    /// Whether they name the container itself.
    pub const fn is_named(&self) -> bool {
        self.container_name.is_some() || self.k8s_container_name.is_some()
    }

    /// Takes in what another resolver says: the better one's word counts, and where it says
    /// nothing the other's. A resolver that speaks again replaces what it said.
    pub fn merge(&mut self, mut new: Self) {
        let again = self.resolver == new.resolver && self.within == new.within;
        if self.within == new.within && !new.attributes.is_empty() {
            // Facts that it told before are others or no more, also where its names count less.
            let speaker = new.resolver;
            self.attributes
                .retain(|attribute| Some(attribute.resolver) != speaker);
        }
        if again || rank(&new) > rank(self) {
            std::mem::swap(self, &mut new);
        }
        // What a stranger says fills no gap of those that are believed everywhere.
        if self.within != new.within {
            return;
        }
        let fields: [fn(&mut Self) -> &mut Option<String>; 6] = [
            |names| &mut names.container_name,
            |names| &mut names.image_name,
            |names| &mut names.k8s_namespace,
            |names| &mut names.k8s_pod_name,
            |names| &mut names.k8s_pod_uid,
            |names| &mut names.k8s_container_name,
        ];
        for field in fields {
            if field(self).is_none() {
                *field(self) = field(&mut new).take();
            }
        }
        self.runtime_name = self.runtime_name.or(new.runtime_name);
        self.restart_count = self.restart_count.or(new.restart_count);
        for attribute in new.attributes {
            if self.attributes.iter().all(|one| one.key != attribute.key) {
                self.attributes.push(attribute);
            }
        }
    }
}

/// How much a resolver's word counts. Where CRI knows a container, its name is the one of the pod's
/// specification, and not one that was composed for Docker.
fn rank(names: &Names) -> u8 {
    if names.within.is_some() {
        return 0;
    }
    match names.resolver {
        Some("cri") => 5,
        Some("docker" | "podman") => 4,
        // They know the names, and that a container has another id, a moment later.
        Some("api_server" | "kubelet") => 3,
        Some("files") => 2,
        _ => 1,
    }
}

/// A container has names, or other ones than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameUpdate {
    /// The container.
    pub container_id: String,
    /// Its names.
    pub names: Names,
}

/// A pod has names, or other ones than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUpdate {
    /// The uid that its cgroup has.
    pub uid: String,
    /// Its names; its containers have them too.
    pub names: Names,
}

/// Whether a source can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It answers.
    Connected,
    /// Its socket is not there.
    Absent,
    /// It does not, and why.
    Unavailable(String),
}

/// What a source sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameMessage {
    /// Names of one container.
    Names(NameUpdate),
    /// Names of one pod.
    Pod(PodUpdate),
    /// An answer to [`NameSource::ask`]: there are no names, and why.
    Unknown {
        /// Who does not know it.
        source: Arc<Source>,
        /// The container that was asked for.
        container_id: String,
        /// Why it has no names.
        reason: String,
    },
    /// A container has ended.
    Exit {
        /// The container.
        container_id: String,
        /// How.
        exit: ExitReport,
    },
    /// The source became available or unavailable.
    State {
        /// The source.
        source: Arc<Source>,
        /// Its state.
        state: SourceState,
    },
}

/// A background source of names.
pub trait NameSource: Send {
    /// Who it is.
    fn source(&self) -> &Arc<Source>;

    /// Asks for one container, without waiting; the answer comes as a [`NameMessage`].
    ///
    /// False where the source has too many questions already, or has ended: ask again later.
    fn ask(&self, container_id: &str) -> bool;

    /// Asks how a container ended whose cgroup is gone, without waiting. The answer comes as
    /// [`NameMessage::Exit`], or not at all.
    fn ask_exit(&self, container_id: &str) -> bool;

    /// Whether it is the one to ask for a container: the path names its runtime, or none.
    fn serves(&self, identity: &Identity) -> bool {
        let in_pod = identity.k8s_pod_uid.is_some();
        let runtime = identity.runtime_name;
        identity.container_id.is_some() && self.source().serves(runtime, in_pod)
    }
}

/// `text`, cut to [`NAME_MAX`] bytes between two characters; `None` where nothing is left.
pub fn bounded(mut text: String) -> Option<String> {
    text.truncate(text.floor_char_boundary(NAME_MAX));
    text.shrink_to_fit();
    (!text.is_empty()).then_some(text)
}
