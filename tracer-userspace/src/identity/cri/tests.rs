//! What answers are turned into, and a runtime that hangs, refuses, or speaks another language.

use std::collections::HashMap;
use std::sync::LazyLock;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::convert::{
    About, exit, from_container, from_pod, from_status, lacks_image_name, runtime_name,
};
use super::messages::{
    Container, ContainerMetadata, ContainerStatus, ImageSpec, PodSandbox, PodSandboxMetadata,
    PodSandboxStatus,
};
use crate::identity::chosen::Chosen;
use crate::identity::client::{ClientConfig, SocketNames};
use crate::identity::names::{NameMessage, NameSource, NameUpdate, SourceState};

const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";

fn pod() -> PodSandbox {
    PodSandbox {
        id: ID.replace('3', "4"),
        metadata: Some(PodSandboxMetadata {
            name: "web-0".to_owned(),
            uid: "u-1".to_owned(),
            namespace: "shop".to_owned(),
        }),
        labels: HashMap::from([("app".to_owned(), "web".to_owned())]),
        annotations: HashMap::from([("team".to_owned(), "cart".to_owned())]),
    }
}

/// Of this runtime, without any label.
fn plain(runtime: Option<&'static str>) -> About<'static> {
    static NONE: LazyLock<Chosen> = LazyLock::new(Chosen::default);
    About {
        runtime,
        chosen: &NONE,
    }
}

fn container() -> Container {
    Container {
        id: ID.to_owned(),
        pod_sandbox_id: pod().id,
        metadata: Some(ContainerMetadata {
            name: "app".to_owned(),
            attempt: 2,
        }),
        image: Some(ImageSpec {
            image: "shop/web:1".to_owned(),
            ..ImageSpec::default()
        }),
        ..Container::default()
    }
}

#[test]
fn a_container_has_its_pods_names_without_any_label() {
    let found = from_container(&container(), Some(&pod()), &plain(Some("containerd"))).unwrap();
    assert_eq!(found.container_id, ID);
    let names = found.names;
    assert_eq!(names.container_name.as_deref(), Some("app"));
    assert_eq!(names.k8s_container_name.as_deref(), Some("app"));
    assert_eq!(names.image_name.as_deref(), Some("shop/web:1"));
    assert_eq!(names.k8s_pod_name.as_deref(), Some("web-0"));
    assert_eq!(names.k8s_namespace.as_deref(), Some("shop"));
    assert_eq!(names.k8s_pod_uid.as_deref(), Some("u-1"));
    assert_eq!(names.runtime_name, Some("containerd"));
    assert_eq!(names.restart_count, Some(2));
    // Labels say more than the pod, which may be another by now.
    let labels = [("io.kubernetes.pod.name", "web-1")];
    let labelled = Container {
        labels: labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..container()
    };
    let names = from_container(&labelled, Some(&pod()), &plain(None))
        .unwrap()
        .names;
    assert_eq!(names.k8s_pod_name.as_deref(), Some("web-1"));
}

#[test]
fn the_pods_own_container_is_none_of_its_specification() {
    let names = from_pod(&pod(), &plain(Some("cri-o"))).unwrap().names;
    assert_eq!(names.container_name.as_deref(), Some("POD"));
    assert_eq!(names.k8s_container_name, None);
    assert_eq!(names.k8s_pod_name.as_deref(), Some("web-0"));
    assert_eq!(runtime_name("cri-o"), Some("cri-o"));
    assert_eq!(runtime_name("hostile\n"), None);
}

#[test]
fn chosen_labels_and_annotations_are_the_pods() {
    let chosen = Chosen::new(&["app".to_owned()], &["team".to_owned()]);
    let about = About {
        runtime: None,
        chosen: &chosen,
    };
    let attributes = |update: Option<NameUpdate>| {
        let attributes = update.unwrap().names.attributes.into_iter();
        attributes
            .map(|one| format!("{}={}", one.key, one.value))
            .collect::<Vec<_>>()
    };
    let of_pod = ["k8s.pod.label.app=web", "k8s.pod.annotation.team=cart"];
    assert_eq!(attributes(from_pod(&pod(), &about)), of_pod);
    assert_eq!(
        attributes(from_container(&container(), Some(&pod()), &about)),
        of_pod
    );
    // A status has other numbers for the same.
    let status = PodSandboxStatus {
        id: pod().id,
        metadata: pod().metadata,
        labels: pod().labels,
        annotations: pod().annotations,
    };
    assert_eq!(PodSandbox::from(status), pod());
}

#[test]
fn incomplete_and_hostile_answers_give_nothing_or_less() {
    let nameless = Container {
        metadata: None,
        ..container()
    };
    assert_eq!(from_container(&nameless, None, &plain(None)), None);
    let hostile = Container {
        id: "../../x".to_owned(),
        ..container()
    };
    assert_eq!(from_container(&hostile, None, &plain(None)), None);
    let long = Container {
        annotations: HashMap::from([(
            "io.kubernetes.container.restartCount".to_owned(),
            "-7".to_owned(),
        )]),
        metadata: Some(ContainerMetadata {
            name: "ä".repeat(5_000),
            attempt: 1,
        }),
        ..container()
    };
    let names = from_container(&long, None, &plain(None)).unwrap().names;
    assert!(names.container_name.unwrap().len() <= 512);
    assert_eq!(names.restart_count, Some(1));
}

#[test]
fn digests_are_no_names_of_images() {
    let with = |image: &str, user: &str| Container {
        image: Some(ImageSpec {
            image: image.to_owned(),
            user_specified_image: user.to_owned(),
        }),
        ..container()
    };
    let lacks = |container: &Container| {
        lacks_image_name(&from_container(container, None, &plain(None)).unwrap())
    };
    assert!(lacks(&with(&format!("sha256:{ID}"), "")));
    assert!(lacks(&with(ID, "")));
    assert!(!lacks(&with("shop/web:1", "")));
    assert!(!lacks(&with(ID, "shop/web:1")));
}

#[test]
fn an_end_is_told_when_it_is_one() {
    let status = |state, reason: &str| ContainerStatus {
        id: ID.to_owned(),
        metadata: container().metadata,
        state,
        exit_code: 137,
        reason: reason.to_owned(),
        ..ContainerStatus::default()
    };
    assert_eq!(exit(&status(1, "")), None);
    let ended = exit(&status(2, "OOMKilled")).unwrap();
    assert_eq!((ended.code, ended.says_oom), (Some(137), true));
    assert_eq!(ended.restart_count, Some(2));
    assert!(!exit(&status(2, "Error")).unwrap().says_oom);
    let names = from_status(&status(1, ""), Some(&pod()), &plain(None))
        .unwrap()
        .names;
    assert_eq!(names.k8s_pod_name.as_deref(), Some("web-0"));
}

struct Bench {
    folder: TempDir,
    names: Option<SocketNames>,
    messages: mpsc::Receiver<NameMessage>,
}

impl Bench {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ClientConfig {
            call_timeout: Duration::from_millis(300),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(50),
            ..ClientConfig::new(vec![folder.path().join("cri.sock")])
        };
        let (sender, messages) = mpsc::channel(64);
        let names = Some(super::cri(config, sender));
        Self {
            folder,
            names,
            messages,
        }
    }

    /// The next state that is none of the start.
    async fn state(&mut self) -> SourceState {
        loop {
            let next = timeout(Duration::from_secs(20), self.messages.recv());
            match next.await.unwrap().unwrap() {
                NameMessage::State {
                    state: SourceState::Unavailable(reason),
                    ..
                } if reason.ends_with("has not answered yet") => {}
                NameMessage::State { state, .. } => return state,
                other => panic!("{other:?}"),
            }
        }
    }

    async fn reason(&mut self) -> String {
        loop {
            if let SourceState::Unavailable(reason) = self.state().await {
                return reason;
            }
        }
    }
}

#[tokio::test]
async fn an_absent_socket_is_said_to_be() {
    let mut bench = Bench::start();
    assert_eq!(bench.state().await, SourceState::Absent);
    assert!(bench.names.as_ref().unwrap().ask(ID));
    bench.names = None;
    while bench.messages.recv().await.is_some() {}
}

#[tokio::test]
async fn a_runtime_that_refuses_or_hangs_is_tried_again() {
    let mut bench = Bench::start();
    let socket = bench.folder.path().join("cri.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    assert!(bench.reason().await.ends_with("connection refused"));
    std::fs::remove_file(&socket).unwrap();
    let listener = UnixListener::bind(&socket).unwrap();
    let reason = bench.reason().await;
    assert!(reason.ends_with("no answer within 0.3 s"), "{reason}");
    // It says the same each time, so it is told once; then it speaks another language.
    let garbage = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.write_all(b"HTTP/1.1 400 no\r\n\r\n").await;
            let _ = stream.read(&mut [0; 64]).await;
        }
    });
    let reason = bench.reason().await;
    assert!(!reason.ends_with("no answer within 0.3 s"), "{reason}");
    garbage.abort();
}
