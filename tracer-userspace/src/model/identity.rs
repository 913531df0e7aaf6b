//! What a cgroup is to people: a container, a pod, a service.

use std::sync::Arc;

pub use tracer_common::header::CgroupKey;

/// What a cgroup stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Level {
    /// A container.
    Container,
    /// A Kubernetes or Podman pod.
    Pod,
    /// A Kubernetes quality-of-service class, or `kubepods` itself.
    Qos,
    /// A systemd slice.
    Slice,
    /// A systemd service, scope or other unit.
    Service,
    /// The root of the hierarchy.
    Root,
    /// Anything else.
    #[default]
    Other,
}

impl Level {
    /// Name in the output (`throttle.level`, `oom.limit.level`).
    pub const fn name(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Qos => "qos",
            Self::Slice => "slice",
            Self::Service => "service",
            Self::Root => "root",
            Self::Other => "other",
        }
    }
}

/// A fact about a container or its pod that not every machine can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its key in the output, such as `k8s.deployment.name`.
    pub key: Arc<str>,
    /// Text from outside.
    pub value: String,
    /// Who says so, as in `container.resolver`.
    pub resolver: &'static str,
}

/// Who a cgroup is. Fields are `None` where nothing is known; names are text from outside and
/// hostile until a sink has escaped them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// Path of the cgroup within its hierarchy; invalid UTF-8 is replaced (U+FFFD).
    pub cgroup_path: String,
    /// What the cgroup stands for.
    pub level: Level,
    /// `container.id`: as the runtime writes it, usually 64 hex digits.
    pub container_id: Option<String>,
    /// `container.name`.
    pub container_name: Option<String>,
    /// `container.image.name`.
    pub image_name: Option<String>,
    /// `container.runtime.name`: `docker`, `containerd`, `cri-o`, `podman`, `lxc`, `systemd`, …
    pub runtime_name: Option<&'static str>,
    /// `k8s.namespace.name`.
    pub k8s_namespace: Option<String>,
    /// `k8s.pod.name`.
    pub k8s_pod_name: Option<String>,
    /// `k8s.pod.uid`, with dashes.
    pub k8s_pod_uid: Option<String>,
    /// `k8s.container.name`.
    pub k8s_container_name: Option<String>,
    /// How often the container was restarted, as its runtime counts.
    pub restart_count: Option<u32>,
    /// Further facts, such as the pod's owner and chosen labels.
    pub attributes: Box<[Attribute]>,
    /// `container.resolver`: who gave the names.
    pub resolver: Option<&'static str>,
    /// `container.unresolved`: why there is no name, where a container has none.
    pub unresolved: Option<String>,
}

impl Identity {
    /// The same container at the path of another of its cgroups, as one that is nested in it.
    pub fn at(&self, other: &Self) -> SharedIdentity {
        Arc::new(Self {
            cgroup_path: other.cgroup_path.clone(),
            level: other.level,
            ..self.clone()
        })
    }

    /// Short text for people: the best name there is.
    pub fn display_name(&self) -> &str {
        self.k8s_container_name
            .as_deref()
            .or(self.container_name.as_deref())
            .or(self.k8s_pod_name.as_deref())
            .or(self.container_id.as_deref())
            .unwrap_or(&self.cgroup_path)
    }
}

/// Identities are shared: one per cgroup, replaced when more becomes known.
pub type SharedIdentity = Arc<Identity>;
