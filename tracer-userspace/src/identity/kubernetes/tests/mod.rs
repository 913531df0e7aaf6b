//! Pods turned into names, and servers that answer well, badly or not at all.

mod fake;
mod servers;
mod tls;

use serde_json::{Value, json};

use super::convert::{Grandparent, names};
use super::objects::{OwnerReference, Pod};
use crate::identity::chosen::Chosen;
use crate::identity::names::{Names, PodUpdate};

const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";
const UID: &str = "6f1c0a2e-0000-4000-8000-0000000000aa";

/// A pod of a Deployment, as the API server tells it.
fn pod() -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "web-5d9f7c-x2x4z", "namespace": "shop", "uid": UID, "resourceVersion": "7",
            "labels": { "app": "web", "pod-template-hash": "5d9f7c" },
            "annotations": { "team": "cart" },
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d9f7c",
                "uid": "set-1", "controller": true, "blockOwnerDeletion": true,
            }],
        },
        "spec": { "nodeName": "node1", "containers": [{ "name": "app", "image": "shop/web:1" }] },
        "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "app", "image": "shop/web:1", "restartCount": 3, "ready": true,
                "containerID": format!("containerd://{ID}"),
            }],
            "initContainerStatuses": null,
        },
    })
}

fn found(pod: &Value, grandparent: Grandparent<'_>) -> (PodUpdate, Vec<Names>) {
    let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
    let chosen = Chosen::new(&["app".to_owned()], &["team".to_owned()]);
    let (of_pod, containers) = names(&pod, grandparent, &chosen).unwrap();
    let containers = containers.into_iter().map(|update| update.names);
    (of_pod, containers.collect())
}

fn fact<'n>(names: &'n Names, key: &str) -> Option<&'n str> {
    let attribute = names.attributes.iter().find(|one| &*one.key == key)?;
    Some(&attribute.value)
}

#[test]
fn a_pod_names_itself_its_containers_and_its_owner() {
    let (of_pod, containers) = found(&pod(), Grandparent::Unknown);
    assert_eq!(of_pod.uid, UID);
    let [container] = &containers[..] else {
        panic!("{containers:?}")
    };
    assert_eq!(container.container_name.as_deref(), Some("app"));
    assert_eq!(container.k8s_container_name.as_deref(), Some("app"));
    assert_eq!(container.image_name.as_deref(), Some("shop/web:1"));
    assert_eq!(container.restart_count, Some(3));
    assert_eq!(container.runtime_name, Some("containerd"));
    for names in [container, &of_pod.names] {
        assert_eq!(names.k8s_namespace.as_deref(), Some("shop"));
        assert_eq!(names.k8s_pod_name.as_deref(), Some("web-5d9f7c-x2x4z"));
        assert_eq!(names.k8s_pod_uid.as_deref(), Some(UID));
        assert_eq!(fact(names, "k8s.node.name"), Some("node1"));
        assert_eq!(fact(names, "k8s.replicaset.name"), Some("web-5d9f7c"));
        // By the template's hash, until the server is asked.
        assert_eq!(fact(names, "k8s.deployment.name"), Some("web"));
        assert_eq!(fact(names, "k8s.pod.label.app"), Some("web"));
        assert_eq!(fact(names, "k8s.pod.annotation.team"), Some("cart"));
    }
}

#[test]
fn owners_have_the_keys_of_their_kinds() {
    let owner = |api: &str, kind: &str| OwnerReference {
        api_version: api.to_owned(),
        kind: kind.to_owned(),
        name: "web".to_owned(),
        uid: "u".to_owned(),
        controller: true,
    };
    let of = |api: &str, kind: &str| {
        let mut pod = pod();
        pod["metadata"]["ownerReferences"] = json!([
            { "apiVersion": "v1", "kind": "Secret", "name": "x", "uid": "x" },
            { "apiVersion": api, "kind": kind, "name": "web-5d9f7c", "uid": "u", "controller": true },
        ]);
        found(&pod, Grandparent::Known(None)).0.names
    };
    for (api, kind, key) in [
        ("apps/v1", "StatefulSet", "k8s.statefulset.name"),
        ("apps/v1", "DaemonSet", "k8s.daemonset.name"),
        ("batch/v1", "Job", "k8s.job.name"),
        (
            "v1",
            "ReplicationController",
            "k8s.replicationcontroller.name",
        ),
    ] {
        assert_eq!(fact(&of(api, kind), key), Some("web-5d9f7c"), "{kind}");
    }
    // Not every kind is the one of that name; and a set may stand for itself.
    let other = of("example.com/v1", "StatefulSet");
    assert_eq!(fact(&other, "k8s.statefulset.name"), None);
    assert_eq!(
        fact(&of("apps/v1", "ReplicaSet"), "k8s.deployment.name"),
        None
    );
    let deployment = owner("apps/v1", "Deployment");
    let (of_pod, _) = found(&pod(), Grandparent::Known(Some(&deployment)));
    assert_eq!(fact(&of_pod.names, "k8s.deployment.name"), Some("web"));
}

#[test]
fn a_pod_that_was_evicted_says_so() {
    let mut evicted = pod();
    evicted["status"]["reason"] = "Evicted".into();
    let (of_pod, _) = found(&evicted, Grandparent::Unknown);
    assert_eq!(
        fact(&of_pod.names, "k8s.pod.status.reason"),
        Some("Evicted")
    );
    let (of_pod, _) = found(&pod(), Grandparent::Unknown);
    assert_eq!(fact(&of_pod.names, "k8s.pod.status.reason"), None);
}

#[test]
fn a_static_pod_is_the_one_that_mirrors_it() {
    let mut mirror = pod();
    let hash = "0123456789abcdef0123456789abcdef";
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = hash.into();
    let (of_pod, _) = found(&mirror, Grandparent::Unknown);
    assert_eq!(of_pod.uid, hash);
    assert_eq!(of_pod.names.k8s_pod_uid.as_deref(), Some(UID));
    // Another pod's uid is not taken for one's own.
    mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"] = UID.replace('6', "7").into();
    assert_eq!(found(&mirror, Grandparent::Unknown).0.uid, UID);
}

#[test]
fn incomplete_and_hostile_pods_give_nothing_or_less() {
    let nothing = |value: Value| {
        let pod: Pod = serde_json::from_value(value).unwrap();
        names(&pod, Grandparent::Unknown, &Chosen::default()).is_none()
    };
    assert!(nothing(json!({})));
    assert!(nothing(json!({ "metadata": { "name": "x" } })));
    let mut hostile = pod();
    hostile["metadata"]["name"] = "ä".repeat(5_000).into();
    hostile["status"]["containerStatuses"] = json!([
        { "name": "a", "containerID": "containerd://../../x", "restartCount": 0 },
        { "name": "b", "containerID": "", "restartCount": 0 },
        { "name": "", "containerID": format!("containerd://{ID}") },
    ]);
    let (of_pod, containers) = found(&hostile, Grandparent::Unknown);
    assert!(containers.is_empty());
    assert!(of_pod.names.k8s_pod_name.unwrap().len() <= 512);
}
