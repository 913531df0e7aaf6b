//! The clients of the API server and the kubelet, against servers on loopback.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fake::{Reply, Server};
use super::{ID, fact, pod};
use crate::identity::chosen::Chosen;
use crate::identity::client::{ClientConfig, SocketNames};
use crate::identity::kubernetes::KubernetesOptions;
use crate::identity::names::{NameMessage, NameSource, Names, SourceState};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A client of it, and what the client says.
pub(super) struct Bench {
    names: Vec<SocketNames>,
    messages: mpsc::Receiver<NameMessage>,
}

impl Bench {
    pub fn start(options: &KubernetesOptions) -> Self {
        let (sender, messages) = mpsc::channel(64);
        let config = |places| ClientConfig {
            call_timeout: Duration::from_millis(300),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(50),
            check_every: Duration::from_millis(200),
            max_answer_bytes: 1 << 20,
            chosen: Arc::new(Chosen::new(&["app".to_owned()], &[])),
            ..ClientConfig::new(places)
        };
        let names = options.places().unwrap().start(config, &sender);
        Self { names, messages }
    }

    fn of_server(server: &Server) -> Self {
        Self::start(&KubernetesOptions {
            api_server: Some(server.url.clone()),
            node: Some("node1".to_owned()),
            ..KubernetesOptions::default()
        })
    }

    async fn next(&mut self) -> NameMessage {
        let next = timeout(PATIENCE, self.messages.recv());
        next.await.unwrap().unwrap()
    }

    /// The next message that `pick` takes.
    async fn wait<T>(&mut self, pick: impl Fn(NameMessage) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(self.next().await) {
                return found;
            }
        }
    }

    pub async fn connected(&mut self) {
        self.wait(|message| match message {
            NameMessage::State { state, .. } => (state == SourceState::Connected).then_some(()),
            _ => None,
        })
        .await;
    }

    /// The next reason for being unavailable, without the one of the start.
    pub async fn unavailable(&mut self) -> String {
        self.wait(|message| match message {
            NameMessage::State {
                state: SourceState::Unavailable(reason),
                ..
            } if !reason.ends_with("has not answered yet") => Some(reason),
            _ => None,
        })
        .await
    }

    /// The pod's next names that have such a fact.
    async fn pod_with(&mut self, key: &str, value: &str) -> Names {
        self.wait(|message| match message {
            NameMessage::Pod(pod) if fact(&pod.names, key) == Some(value) => Some(pod.names),
            _ => None,
        })
        .await
    }
}

fn list(pods: &[Value]) -> Value {
    json!({ "kind": "PodList", "metadata": { "resourceVersion": "5" }, "items": pods })
}

fn refusal() -> Value {
    json!({ "kind": "Status", "status": "Failure", "code": 403,
        "message": "pods is forbidden: User \"system:serviceaccount:x:y\" cannot list resource" })
}

/// The Deployment's own name is another than the set's tells.
fn set() -> Value {
    json!({ "metadata": { "name": "web-5d9f7c", "uid": "set-1", "ownerReferences": [{
        "apiVersion": "apps/v1", "kind": "Deployment", "name": "shop-web", "uid": "d",
        "controller": true }] } })
}

fn is_watch(target: &str) -> bool {
    target.contains("watch=true")
}

#[tokio::test]
async fn the_server_lists_watches_and_tells_owners() {
    let mut later = pod();
    later["metadata"]["labels"]["app"] = "web2".into();
    let events = vec![
        json!({ "type": "BOOKMARK", "object": { "metadata": { "resourceVersion": "6" } } }),
        json!({ "type": "MODIFIED", "object": later }),
        json!({ "type": "DELETED", "object": pod() }),
    ];
    let server = Server::start(move |target| match target {
        _ if is_watch(target) => Reply::Lines(events.clone()),
        _ if target.contains("replicasets/web-5d9f7c") => Reply::Json(200, set()),
        _ => Reply::Json(200, list(&[pod()])),
    })
    .await;
    let mut bench = Bench::of_server(&server);
    let first = bench.pod_with("k8s.pod.label.app", "web").await;
    assert_eq!(first.resolver, Some("api_server"));
    assert_eq!(first.attributes[0].resolver, "api_server");
    let names = bench
        .wait(|message| match message {
            NameMessage::Names(update) if update.container_id == ID => Some(update.names),
            _ => None,
        })
        .await;
    assert_eq!(names.k8s_container_name.as_deref(), Some("app"));
    bench.connected().await;
    // In the end both are told, whichever came first: the change, and the server's word on the owner.
    loop {
        let names = bench.pod_with("k8s.deployment.name", "shop-web").await;
        if fact(&names, "k8s.pod.label.app") == Some("web2") {
            break;
        }
    }
    assert_eq!(server.count("spec.nodeName%3Dnode1"), 2);
    assert_eq!(server.count("replicasets/"), 1);
    // It answers from memory, and says of others that it does not know them.
    let source = &bench.names[0];
    assert!(source.source().serves(Some("docker"), true));
    assert!(!source.source().serves(Some("docker"), false));
    assert!(!source.source().tells_exits);
    assert!(source.ask(ID) && source.ask(&ID.replace('3', "4")));
    let (id, reason) = bench
        .wait(|message| match message {
            NameMessage::Unknown {
                container_id,
                reason,
                ..
            } => Some((container_id, reason)),
            _ => None,
        })
        .await;
    assert_eq!(id, ID.replace('3', "4"));
    assert!(reason.contains("knows no pod"), "{reason}");
}

#[tokio::test]
async fn a_server_that_refuses_is_tried_again_and_says_why() {
    let mut refusals = 3;
    let server = Server::start(move |target| {
        if is_watch(target) {
            return Reply::Lines(Vec::new());
        }
        if target.contains("replicasets") {
            return Reply::Json(403, refusal());
        }
        if refusals == 0 {
            return Reply::Json(200, list(&[pod()]));
        }
        refusals -= 1;
        Reply::Json(403, refusal())
    })
    .await;
    let mut bench = Bench::of_server(&server);
    let reason = bench.unavailable().await;
    let begin = format!(
        "api_server at {}: list of pods: status 403: pods is",
        server.url
    );
    assert!(reason.starts_with(&begin), "{reason}");
    // The owner's owner is refused for good: the label has to do.
    bench.pod_with("k8s.deployment.name", "web").await;
    bench.connected().await;
}

#[tokio::test]
async fn a_server_that_hangs_or_talks_nonsense_is_tried_again() {
    let mut turn = 0;
    let server = Server::start(move |target| {
        if is_watch(target) {
            return Reply::Lines(Vec::new());
        }
        turn += 1;
        match turn {
            1 => Reply::Hang,
            2 => Reply::Raw(b"SSH-2.0-x\r\n"),
            3 => Reply::Json(200, json!("x")),
            4 => Reply::Json(200, json!({ "items": "x".repeat(2 << 20) })),
            _ => Reply::Json(200, list(&[])),
        }
    })
    .await;
    let mut bench = Bench::of_server(&server);
    let mut reasons = Vec::new();
    for _ in 0..4 {
        reasons.push(bench.unavailable().await);
    }
    for (reason, part) in reasons
        .iter()
        .zip(["no answer within", "", "no sense", "longer than"])
    {
        assert!(reason.contains(part), "{reasons:?}");
    }
    bench.connected().await;
}

#[tokio::test]
async fn a_watch_that_expires_breaks_or_ends_is_begun_again() {
    let gone = json!({ "type": "ERROR", "object": { "kind": "Status", "status": "Failure",
        "code": 410, "message": "too old resource version" } });
    let broken = json!({ "type": "ERROR", "object": { "kind": "Status", "status": "Failure",
        "code": 500, "message": "etcd is away" } });
    let mut turn = 0;
    let server = Server::start(move |target| {
        if !is_watch(target) {
            return Reply::Json(200, list(&[]));
        }
        turn += 1;
        match turn {
            1 => Reply::Lines(vec![gone.clone()]),
            2 => Reply::Json(410, json!({})),
            3 => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
            4 => Reply::Lines(vec![broken.clone()]),
            5 => Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[1, 2, 3\n"),
            _ => Reply::Lines(vec![json!({ "type": "ADDED", "object": pod() })]),
        }
    })
    .await;
    let mut bench = Bench::of_server(&server);
    bench.connected().await;
    let reason = bench.unavailable().await;
    assert!(
        reason.ends_with("watch of pods: status 500: etcd is away"),
        "{reason}"
    );
    // Both expired ones are listed anew without a word; one that is over goes on where it was.
    assert_eq!(server.count("watch=true"), 4);
    let reason = bench.unavailable().await;
    assert!(reason.contains("makes no sense"), "{reason}");
    bench.pod_with("k8s.node.name", "node1").await;
}

#[tokio::test]
async fn watches_that_are_over_at_once_are_not_begun_without_a_pause() {
    let server = Server::start(|target| {
        if is_watch(target) {
            Reply::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        } else {
            Reply::Json(200, list(&[]))
        }
    })
    .await;
    let mut bench = Bench::of_server(&server);
    bench.connected().await;
    let reason = bench.unavailable().await;
    assert!(
        reason.ends_with("watch of pods: each is over at once"),
        "{reason}"
    );
    assert_eq!(server.count("watch=true"), 4);
}

#[tokio::test]
async fn the_kubelet_is_asked_again_for_who_is_unknown() {
    let mut turn = 0;
    let server = Server::start(move |target| {
        assert_eq!(target, "/pods");
        turn += 1;
        match turn {
            1 => Reply::Json(401, json!("Unauthorized")),
            2 => Reply::Json(200, json!({ "kind": "PodList", "items": null })),
            _ => Reply::Json(200, list(&[pod()])),
        }
    })
    .await;
    let mut bench = Bench::start(&KubernetesOptions {
        kubelet: Some(server.url.clone()),
        ..KubernetesOptions::default()
    });
    let reason = bench.unavailable().await;
    assert!(reason.contains("status 401"), "{reason}");
    bench.connected().await;
    assert!(bench.names[0].ask(ID));
    let names = bench
        .wait(|message| match message {
            NameMessage::Names(update) if update.container_id == ID => Some(update.names),
            _ => None,
        })
        .await;
    assert_eq!(names.resolver, Some("kubelet"));
    assert_eq!(fact(&names, "k8s.deployment.name"), Some("web"));
}

#[tokio::test]
async fn without_a_nodes_name_nobody_is_asked() {
    let server = Server::start(|_| Reply::Hang).await;
    let options = KubernetesOptions {
        api_server: Some(server.url.clone()),
        ..KubernetesOptions::default()
    };
    let mut places = options.places().unwrap();
    places.node = None;
    let (sender, messages) = mpsc::channel(64);
    let names = places.start(ClientConfig::new, &sender);
    let mut bench = Bench { names, messages };
    let reason = bench.unavailable().await;
    assert!(reason.ends_with("set NODE_NAME or --node-name"), "{reason}");
    assert_eq!(server.count(""), 0);
}
