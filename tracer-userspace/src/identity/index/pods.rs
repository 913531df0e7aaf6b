//! Pods that are named by themselves, and what their containers get of it.

use std::sync::Arc;

use super::tests::index;
use super::{CgroupIndex, ChangeKind};
use crate::identity::names::{NameMessage, NameUpdate, Names, PodUpdate, Source, SourceState};
use crate::model::identity::{Attribute, CgroupKey, Identity};

const CPU: u32 = 1;
const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";
const HASH: &str = "0123456789abcdef0123456789abcdef";
const UID: &str = "6f1c0a2e-0000-4000-8000-0000000000aa";

fn fact(key: &str, value: &str, resolver: &'static str) -> Attribute {
    Attribute {
        key: key.into(),
        value: value.to_owned(),
        resolver,
    }
}

fn of_server(attributes: Vec<Attribute>) -> Names {
    Names {
        k8s_namespace: Some("shop".to_owned()),
        k8s_pod_name: Some("web-node1".to_owned()),
        k8s_pod_uid: Some(UID.to_owned()),
        resolver: Some("api_server"),
        attributes,
        ..Names::default()
    }
}

fn of_cri(attempt: u32) -> NameMessage {
    NameMessage::Names(NameUpdate {
        container_id: ID.to_owned(),
        names: Names {
            container_name: Some("app".to_owned()),
            k8s_container_name: Some("app".to_owned()),
            k8s_namespace: Some("shop".to_owned()),
            k8s_pod_name: Some("web-node1".to_owned()),
            k8s_pod_uid: Some(HASH.to_owned()),
            restart_count: Some(attempt),
            resolver: Some("cri"),
            attributes: vec![fact("k8s.pod.label.app", "web", "cri")],
            ..Names::default()
        },
    })
}

fn tell(index: &mut CgroupIndex, names: Names) -> usize {
    let update = PodUpdate {
        uid: HASH.to_owned(),
        names,
    };
    let changes = index.apply(NameMessage::Pod(update));
    assert!(
        changes
            .iter()
            .all(|change| change.kind == ChangeKind::Renamed)
    );
    changes.len()
}

fn facts(identity: &Identity) -> Vec<String> {
    let all = identity.attributes.iter();
    all.map(|one| format!("{}={}", one.key, one.value))
        .collect()
}

#[test]
fn a_static_pods_containers_have_its_mirrors_uid_and_owner() {
    let mut index = index();
    let (pod, app) = (CgroupKey::new(CPU, 10), CgroupKey::new(CPU, 11));
    let path = format!("/kubepods/burstable/pod{HASH}");
    index.insert(pod, 0, path.as_bytes(), Some(1));
    index.insert(app, 10, format!("{path}/{ID}").as_bytes(), Some(2));
    index.apply(of_cri(0));
    let identity = index.identity(app).unwrap();
    assert_eq!(identity.k8s_pod_uid.as_deref(), Some(HASH));
    // Both are told anew: the pod and its container.
    let node = || fact("k8s.node.name", "node1", "api_server");
    let changed = tell(
        &mut index,
        of_server(vec![node(), fact("k8s.job.name", "j", "api_server")]),
    );
    assert_eq!(changed, 2);
    for key in [pod, app] {
        let identity = index.identity(key).unwrap();
        assert_eq!(identity.k8s_pod_uid.as_deref(), Some(UID));
        assert_eq!(identity.k8s_pod_name.as_deref(), Some("web-node1"));
        let expected = [
            "k8s.job.name=j",
            "k8s.node.name=node1",
            "k8s.pod.label.app=web",
        ];
        assert_eq!(facts(&identity), expected);
    }
    assert_eq!(index.identity(app).unwrap().resolver, Some("cri"));
    // What the runtime says again takes nothing away, and the server takes back its own.
    index.apply(of_cri(1));
    let identity = index.identity(app).unwrap();
    assert_eq!(
        (identity.restart_count, identity.attributes.len()),
        (Some(1), 3)
    );
    assert_eq!(tell(&mut index, of_server(vec![node()])), 2);
    let identity = index.identity(app).unwrap();
    assert_eq!(
        facts(&identity),
        ["k8s.node.name=node1", "k8s.pod.label.app=web"]
    );
    assert_eq!(identity.container_name.as_deref(), Some("app"));
    assert_eq!(tell(&mut index, of_server(vec![node()])), 0);
    // A mirror that is made anew has a new uid; the kubelet tells the hash, which says less.
    let uid = |uid: &str| Names {
        k8s_pod_uid: Some(uid.to_owned()),
        ..of_server(vec![node()])
    };
    assert_eq!(tell(&mut index, uid("u-2")), 2);
    assert_eq!(tell(&mut index, uid(HASH)), 0);
    let identity = index.identity(app).unwrap();
    assert_eq!(identity.k8s_pod_uid.as_deref(), Some("u-2"));
}

#[test]
fn a_source_of_pods_is_no_reason_of_others() {
    let mut index = index();
    let source = Arc::new(Source {
        resolver: "api_server",
        runtimes: &[],
        pods_only: true,
        place: "https://10.0.0.1".to_owned(),
        tells_exits: false,
    });
    let docker = super::tests::source("docker", &["docker"]);
    index.apply_state(docker, SourceState::Absent);
    let state = SourceState::Unavailable("api_server at https://10.0.0.1: status 403".to_owned());
    index.apply_state(source, state);
    let reason =
        |index: &CgroupIndex, key| index.identity(key).unwrap().unresolved.clone().unwrap();
    let (of_docker, in_pod) = (CgroupKey::new(CPU, 1), CgroupKey::new(CPU, 2));
    index.insert(of_docker, 0, format!("/docker/{ID}").as_bytes(), Some(1));
    let path = format!("/kubepods/pod{UID}/{}", ID.replace('3', "4"));
    index.insert(in_pod, 0, path.as_bytes(), Some(1));
    assert!(!reason(&index, of_docker).contains("api_server"));
    assert!(reason(&index, in_pod).contains("status 403"));
}
