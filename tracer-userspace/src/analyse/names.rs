//! What people call a container, where one name has to do.

use crate::model::identity::Identity;

/// Name of a container in reports and on the terminal: `namespace/pod/container` in Kubernetes,
/// else the container's name, else its id, else the cgroup's path. Text from outside.
pub fn qualified_name(identity: &Identity) -> String {
    let pod = identity
        .k8s_pod_name
        .as_deref()
        .or(identity.k8s_pod_uid.as_deref());
    let container = identity
        .k8s_container_name
        .as_deref()
        .or(identity.container_name.as_deref())
        .or(identity.container_id.as_deref());
    let parts = [identity.k8s_namespace.as_deref(), pod, container];
    let name = parts.into_iter().flatten().collect::<Vec<_>>().join("/");
    if name.is_empty() {
        identity.cgroup_path.clone()
    } else {
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_name_there_is() {
        let mut identity = Identity {
            cgroup_path: "/a".into(),
            ..Identity::default()
        };
        assert_eq!(qualified_name(&identity), "/a");
        identity.container_id = Some("4f2a".into());
        assert_eq!(qualified_name(&identity), "4f2a");
        identity.container_name = Some("k8s_web_shop-1".into());
        assert_eq!(qualified_name(&identity), "k8s_web_shop-1");
        identity.k8s_container_name = Some("web".into());
        identity.k8s_pod_name = Some("shop-1".into());
        identity.k8s_namespace = Some("shop".into());
        assert_eq!(qualified_name(&identity), "shop/shop-1/web");
    }
}
