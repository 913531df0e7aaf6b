//! Which containers the user wants to see.

use crate::model::identity::Identity;

/// A container by name, id or cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerFilter(String);

/// Shortest part of an id that stands for it.
const ID_PART: usize = 4;

impl std::fmt::Display for ContainerFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl ContainerFilter {
    /// For what the user gave.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// Whether it means this one: a whole name of the container, its pod or its Kubernetes
    /// container; the beginning of its id; its cgroup's path or the end of it, by components.
    pub fn matches(&self, identity: &Identity) -> bool {
        let wanted = self.0.as_str();
        let named = [
            &identity.container_name,
            &identity.k8s_container_name,
            &identity.k8s_pod_name,
            &identity.k8s_pod_uid,
        ]
        .into_iter()
        .any(|name| name.as_deref() == Some(wanted));
        let by_id = wanted.len() >= ID_PART
            && identity
                .container_id
                .as_deref()
                .is_some_and(|id| id.starts_with(wanted));
        let path = identity.cgroup_path.as_str();
        let by_path = path.strip_suffix(wanted).is_some_and(|rest| {
            wanted.starts_with('/') && rest.is_empty()
                || !wanted.starts_with('/') && rest.ends_with('/')
        });
        named || by_id || by_path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        Identity {
            cgroup_path: "/docker/0123456789ab".to_owned(),
            container_id: Some("0123456789ab".to_owned()),
            container_name: Some("web".to_owned()),
            ..Identity::default()
        }
    }

    #[test]
    fn names_ids_and_paths() {
        for yes in [
            "web",
            "0123",
            "0123456789ab",
            "/docker/0123456789ab",
            "docker/0123456789ab",
        ] {
            assert!(
                ContainerFilter::new(yes.to_owned()).matches(&identity()),
                "{yes}"
            );
        }
        for no in [
            "we",
            "012",
            "123456",
            "/0123456789ab",
            "ocker/0123456789ab",
            "",
        ] {
            assert!(
                !ContainerFilter::new(no.to_owned()).matches(&identity()),
                "{no}"
            );
        }
    }
}
