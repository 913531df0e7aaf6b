//! Every kind of file, whole and broken.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::FileNames;
use super::places::{in_memory, on_disk};
use crate::identity::names::{NameMessage, NameSource, Names, SourceState};

const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";

fn write(root: &Path, file: &str, content: &str) {
    let path = root.join(file.replace("ID", ID));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content.replace("ID", ID)).unwrap();
}

fn of(file: &str, content: &str) -> Option<Names> {
    let root = tempfile::tempdir().unwrap();
    write(root.path(), file, content);
    in_memory(root.path(), ID).or_else(|| on_disk(root.path(), ID))
}

const POD: &str = "io.kubernetes.cri.sandbox-";

#[test]
fn bundles_of_containerd() {
    let annotations = |kind: &str| {
        json!({"annotations": {
            "io.kubernetes.cri.container-type": kind,
            "io.kubernetes.cri.container-name": "app",
            "io.kubernetes.cri.image-name": "shop/web:1",
            format!("{POD}name"): "web-0",
            format!("{POD}namespace"): "shop",
            format!("{POD}uid"): "u-1",
        }})
        .to_string()
    };
    for state in ["run/containerd", "run/k3s/containerd", "run/k0s/containerd"] {
        let file = format!("{state}/io.containerd.runtime.v2.task/k8s.io/ID/config.json");
        let names = of(&file, &annotations("container")).unwrap();
        assert_eq!(names.container_name.as_deref(), Some("app"), "{state}");
        assert_eq!(names.k8s_container_name.as_deref(), Some("app"));
        assert_eq!(names.image_name.as_deref(), Some("shop/web:1"));
        assert_eq!(names.k8s_pod_name.as_deref(), Some("web-0"));
        assert_eq!(names.k8s_namespace.as_deref(), Some("shop"));
        assert_eq!(names.k8s_pod_uid.as_deref(), Some("u-1"));
    }
    let file = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    let pause = of(file, &annotations("sandbox")).unwrap();
    assert_eq!(pause.container_name.as_deref(), Some("POD"));
    assert_eq!(pause.k8s_container_name, None);
    assert_eq!(pause.k8s_pod_name.as_deref(), Some("web-0"));
    // What Docker runs has a bundle without annotations.
    assert_eq!(
        of(&file.replace("k8s.io", "moby"), r#"{"annotations":{}}"#),
        None
    );
    for broken in ["", "{", "[]", r#"{"annotations":7}"#, "\0"] {
        assert_eq!(of(file, broken), None, "{broken}");
    }
}

#[test]
fn docker_podman_and_crio() {
    let file = "var/lib/docker/containers/ID/config.v2.json";
    let content = r#"{"Name":"/web","RestartCount":3,"Config":{"Image":"bb:1","Labels":{}}}"#;
    let names = of(file, content).unwrap();
    assert_eq!(names.container_name.as_deref(), Some("web"));
    assert_eq!(names.image_name.as_deref(), Some("bb:1"));
    assert_eq!(names.restart_count, Some(3));
    assert_eq!(of(file, r#"{"Name":"/"}"#), None);

    let file = "var/lib/containers/storage/overlay-containers/containers.json";
    let list = r#"[{"id":"other","names":["db"]},
        {"id":"ID","names":["web"],"metadata":"{\"image-name\":\"localhost/bb:1\"}"}]"#;
    let names = of(file, list).unwrap();
    assert_eq!(names.container_name.as_deref(), Some("web"));
    assert_eq!(names.image_name.as_deref(), Some("localhost/bb:1"));
    let names = of(file, r#"[{"id":"ID","names":["web"],"metadata":"{"}]"#).unwrap();
    assert_eq!(names.image_name, None);
    assert_eq!(of(file, r#"[{"id":"ID"}]"#), None);

    let file = "run/containers/storage/overlay-containers/ID/userdata/config.json";
    let bundle = |kind: &str| {
        let labels = json!({
            "io.kubernetes.container.name": "app", "io.kubernetes.pod.name": "web-0",
            "io.kubernetes.pod.namespace": "shop", "io.kubernetes.pod.uid": "u-1",
        });
        json!({"annotations": {
            "io.kubernetes.cri-o.Labels": labels.to_string(),
            "io.kubernetes.cri-o.ContainerType": kind,
            "io.kubernetes.cri-o.ImageName": "shop/web:1",
        }})
        .to_string()
    };
    let names = of(file, &bundle("container")).unwrap();
    assert_eq!(names.container_name.as_deref(), Some("app"));
    assert_eq!(names.k8s_pod_uid.as_deref(), Some("u-1"));
    assert_eq!(names.image_name.as_deref(), Some("shop/web:1"));
    let pause = of(file, &bundle("sandbox")).unwrap();
    assert_eq!(pause.container_name.as_deref(), Some("POD"));
    assert_eq!(pause.k8s_container_name, None);
}

#[test]
fn names_of_log_files() {
    let names = of("var/log/containers/web-0_shop_app-ID.log", "").unwrap();
    assert_eq!(names.container_name.as_deref(), Some("app"));
    assert_eq!(names.k8s_pod_name.as_deref(), Some("web-0"));
    assert_eq!(names.k8s_namespace.as_deref(), Some("shop"));
    for other in [
        "web-0_app-ID.log",
        "a_b_c_d-ID.log",
        "-ID.log",
        "a_b_c-ID0.log",
    ] {
        assert_eq!(
            of(&format!("var/log/containers/{other}"), ""),
            None,
            "{other}"
        );
    }
}

#[tokio::test]
async fn answers_questions_and_refuses_paths() {
    let root = tempfile::tempdir().unwrap();
    let log = "var/log/containers/web-0_shop_app-ID.log";
    write(root.path(), log, "");
    let (sender, mut messages) = mpsc::channel(8);
    let names = FileNames::spawn(root.path().to_owned(), sender);
    let mut next = async || {
        let message = timeout(Duration::from_secs(20), messages.recv());
        message.await.unwrap().unwrap()
    };
    let state = SourceState::Connected;
    let source = names.source().clone();
    assert_eq!(next().await, NameMessage::State { source, state });
    assert!(names.ask(ID));
    let NameMessage::Names(update) = next().await else {
        panic!("no names");
    };
    assert_eq!(update.names.resolver, Some("files"));
    // Remembered when the file is gone.
    fs::remove_file(root.path().join(log.replace("ID", ID))).unwrap();
    assert!(names.ask(ID));
    assert_eq!(next().await, NameMessage::Names(update));
    for other in ["../../etc/passwd", "unheard"] {
        assert!(names.ask(other));
        let NameMessage::Unknown { container_id, .. } = next().await else {
            panic!("an answer to {other}");
        };
        assert_eq!(container_id, other);
    }
}
