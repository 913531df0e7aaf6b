//! What the runtimes tell about containers, whichever runtime it is.
//!
//! A source of names (Docker's API today) runs in the background, sends [`NameMessage`]s, and is
//! asked through [`NameSource`]. Another runtime's source is another file that does the same.

use crate::model::identity::Identity;

/// Longest name that is kept, in bytes; what is longer is cut.
pub const NAME_MAX: usize = 512;

/// What a runtime says about one container. Text is from outside, and hostile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// `container.name`.
    pub container_name: Option<String>,
    /// `container.image.name`.
    pub image_name: Option<String>,
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
}

/// A container has names, or other ones than before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameUpdate {
    /// The container.
    pub container_id: String,
    /// Its names.
    pub names: Names,
}

/// Whether a source can be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It answers.
    Connected,
    /// It does not, and why.
    Unavailable(String),
}

/// What a source sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameMessage {
    /// Names of one container.
    Names(NameUpdate),
    /// An answer to [`NameSource::ask`]: there are no names, and why.
    Unknown {
        /// The container that was asked for.
        container_id: String,
        /// Why it has no names.
        reason: String,
    },
    /// The source became available or unavailable.
    State {
        /// The source, named as its runtime: `docker`.
        source: &'static str,
        /// Its state.
        state: SourceState,
    },
}

/// A background source of names.
pub trait NameSource: Send {
    /// Its runtime, as in `container.runtime.name`.
    fn runtime(&self) -> &'static str;

    /// Asks for one container, without waiting; the answer comes as a [`NameMessage`].
    ///
    /// False where the source has too many questions already, or has ended: ask again later.
    fn ask(&self, container_id: &str) -> bool;

    /// Whether it is the one to ask for a container: the path names its runtime, or none.
    fn serves(&self, identity: &Identity) -> bool {
        let runtime = identity.runtime_name.as_deref();
        identity.container_id.is_some() && runtime.is_none_or(|name| name == self.runtime())
    }
}

/// `text`, cut to [`NAME_MAX`] bytes between two characters; `None` where nothing is left.
pub fn bounded(mut text: String) -> Option<String> {
    text.truncate(text.floor_char_boundary(NAME_MAX));
    text.shrink_to_fit();
    (!text.is_empty()).then_some(text)
}
