//! The client against a server that behaves well, comes late or goes away.

mod hostile;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::fake::{FakeDocker, Reply};
use super::{docker, sockets};
use crate::identity::client::memory::FORGET_UNKNOWN;
use crate::identity::client::{ClientConfig, SocketNames};
use crate::identity::names::{NameMessage, NameSource, SourceState};

/// No test waits longer for anything.
const PATIENCE: Duration = Duration::from_secs(20);

fn id(number: usize) -> String {
    format!("{number:064x}")
}

fn entry(number: usize, name: &str) -> String {
    let id = id(number);
    format!(r#"{{"Id":"{id}","Names":["/{name}"],"Image":"bb:1","Labels":{{}}}}"#)
}

fn event(action: &str, number: usize, name: &str) -> String {
    let id = id(number);
    let attributes = format!(r#"{{"name":"{name}","image":"bb:1"}}"#);
    format!(
        r#"{{"Type":"container","Action":"{action}","Actor":{{"ID":"{id}","Attributes":{attributes}}}}}"#
    ) + "\n"
}

fn json(body: &str) -> Reply {
    Reply::Json(200, body.to_owned())
}

/// A daemon with these containers and these events, and nobody else.
fn well(target: &str, list: &str, events: &str) -> Reply {
    match target.split('?').next().unwrap() {
        "/_ping" => json("OK"),
        "/containers/json" => json(list),
        "/events" => Reply::Stream(events.to_owned()),
        _ => Reply::Json(404, r#"{"message":"No such container"}"#.to_owned()),
    }
}

struct Bench {
    folder: TempDir,
    config: ClientConfig,
    names: Option<SocketNames>,
    messages: Option<mpsc::Receiver<NameMessage>>,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = ClientConfig {
            call_timeout: Duration::from_millis(800),
            retry_min: Duration::from_millis(20),
            retry_max: Duration::from_millis(100),
            check_every: Duration::from_millis(200),
            max_answer_bytes: 1 << 20,
            ..ClientConfig::new(vec![folder.path().join("docker.sock")])
        };
        Self {
            folder,
            config,
            names: None,
            messages: None,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("docker.sock")
    }

    fn start(&mut self) {
        let (sender, receiver) = mpsc::channel(64);
        self.names = Some(docker(self.config.clone(), sender));
        self.messages = Some(receiver);
    }

    async fn next(&mut self) -> NameMessage {
        let messages = self.messages.as_mut().unwrap();
        timeout(PATIENCE, messages.recv()).await.unwrap().unwrap()
    }

    /// The next message that `pick` takes.
    async fn wait<T>(&mut self, pick: impl Fn(&NameMessage) -> Option<T>) -> T {
        loop {
            if let Some(found) = pick(&self.next().await) {
                return found;
            }
        }
    }

    async fn connected(&mut self) {
        self.wait(|message| match message {
            NameMessage::State {
                state: SourceState::Connected,
                ..
            } => Some(()),
            _ => None,
        })
        .await;
    }

    /// The next reason for being unavailable, without the one of the start.
    async fn unavailable(&mut self) -> String {
        let reason = self
            .wait(|message| match message {
                NameMessage::State {
                    state: SourceState::Unavailable(reason),
                    ..
                } if reason != "docker has not answered yet" => Some(reason.clone()),
                NameMessage::State {
                    source,
                    state: SourceState::Absent,
                } => Some(format!("{} is not there", source.place)),
                _ => None,
            })
            .await;
        let socket = self.socket().display().to_string();
        reason.replace(&socket, "SOCKET")
    }

    async fn name(&mut self, number: usize) -> String {
        let id = id(number);
        self.wait(|message| match message {
            NameMessage::Names(update) if update.container_id == id => {
                update.names.container_name.clone()
            }
            _ => None,
        })
        .await
    }

    async fn reason(&mut self, number: usize) -> String {
        let id = id(number);
        self.wait(|message| match message {
            NameMessage::Unknown {
                container_id,
                reason,
                ..
            } if *container_id == id => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    fn ask(&self, number: usize) {
        assert!(self.names.as_ref().unwrap().ask(&id(number)));
    }
}

#[tokio::test]
async fn lists_follows_and_inspects() {
    let mut bench = Bench::new();
    let docker = FakeDocker::serve(&bench.socket(), |target| {
        if target.starts_with(&format!("/containers/{}/json", id(7))) {
            let id = id(7);
            let body = format!(r#"{{"Id":"{id}","Name":"/asked","Config":{{"Image":"bb:1"}}}}"#);
            return json(&body);
        }
        let list = format!("[{},{}]", entry(1, "web"), entry(2, "db"));
        let events = event("create", 3, "young") + &event("destroy", 3, "young");
        well(target, &list, &(events + &event("rename", 1, "www")))
    });
    bench.start();
    let start = bench.next().await;
    let source = bench.names.as_ref().unwrap().source().clone();
    assert_eq!(
        (source.resolver, source.runtimes),
        ("docker", &["docker"][..])
    );
    let state = SourceState::Unavailable("docker has not answered yet".to_owned());
    assert_eq!(start, NameMessage::State { source, state });

    let mut names = Vec::new();
    while names.len() < 4 {
        if let NameMessage::Names(update) = bench.next().await {
            assert_eq!(update.names.image_name.as_deref(), Some("bb:1"));
            names.push(update.names.container_name.unwrap());
        }
    }
    names.sort_unstable();
    assert_eq!(names, ["db", "web", "www", "young"]);

    bench.ask(7);
    assert_eq!(bench.name(7).await, "asked");
    // It is gone from Docker, and still has its name.
    bench.ask(3);
    assert_eq!(bench.name(3).await, "young");
    bench.ask(9);
    let unknown = "docker does not know this container";
    assert_eq!(bench.reason(9).await, unknown);
    // Believed for a while: it is not asked again at once.
    bench.ask(9);
    bench.ask(7);
    assert_eq!(bench.name(7).await, "asked");
    assert_eq!(docker.count(&id(9)), 1);
    assert_eq!(docker.count(&id(7)), 1);
    tokio::time::sleep(FORGET_UNKNOWN).await;
    bench.ask(9);
    assert_eq!(bench.reason(9).await, unknown);
    assert_eq!(docker.count(&id(9)), 2);
    assert!(
        docker
            .requests()
            .iter()
            .all(|line| line.starts_with("GET "))
    );
    let asked_for_all = docker.count("/containers/json?all=true&limit=16384");
    assert_eq!(asked_for_all, 1);
}

#[tokio::test]
async fn comes_when_the_socket_does() {
    let mut bench = Bench::new();
    bench.start();
    assert_eq!(bench.unavailable().await, "SOCKET is not there");
    bench.ask(1);
    let _docker = FakeDocker::serve(&bench.socket(), |target| {
        well(target, &format!("[{}]", entry(1, "web")), "")
    });
    assert_eq!(bench.name(1).await, "web");
    bench.connected().await;
}

#[tokio::test]
async fn says_that_the_socket_refuses() {
    let mut bench = Bench::new();
    drop(std::os::unix::net::UnixListener::bind(bench.socket()).unwrap());
    bench.start();
    let reason = bench.unavailable().await;
    assert_eq!(reason, "docker socket SOCKET: connection refused");
}

#[tokio::test]
async fn tries_all_sockets() {
    let mut bench = Bench::new();
    let absent = bench.folder.path().join("none.sock");
    bench.config.sockets.insert(0, absent);
    let docker = FakeDocker::serve(&bench.socket(), |target| well(target, "[]", ""));
    bench.start();
    bench.connected().await;
    drop(docker);
    bench.unavailable().await;
    let reason = bench.unavailable().await;
    assert!(
        reason.ends_with("none.sock, SOCKET is not there"),
        "{reason}"
    );
}

#[tokio::test]
async fn refuses_ids_that_would_be_another_request() {
    let mut bench = Bench::new();
    let docker = FakeDocker::serve(&bench.socket(), |target| well(target, "[]", ""));
    bench.start();
    bench.connected().await;
    assert!(bench.names.as_ref().unwrap().ask("../images/json?x="));
    let reason = bench
        .wait(|message| match message {
            NameMessage::Unknown { reason, .. } => Some(reason.clone()),
            _ => None,
        })
        .await;
    assert_eq!(reason, "its id is none that docker gives");
    assert_eq!(docker.count("images"), 0);
}

#[tokio::test]
async fn ends_with_either_side() {
    let mut bench = Bench::new();
    let _docker = FakeDocker::serve(&bench.socket(), |target| well(target, "[]", ""));
    bench.start();
    bench.connected().await;
    // Dropped: the channel ends.
    bench.names = None;
    let messages = bench.messages.as_mut().unwrap();
    let rest = timeout(PATIENCE, async { while messages.recv().await.is_some() {} });
    rest.await.unwrap();

    bench.start();
    bench.connected().await;
    bench.messages = None;
    let names = bench.names.take().unwrap();
    let ended = async {
        while !names.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, ended).await.unwrap();
    assert!(!names.ask(&id(1)));
}

#[test]
fn the_usual_sockets() {
    let usual = ["/run/docker.sock", "/var/run/docker.sock"].map(PathBuf::from);
    assert_eq!(sockets(None), usual);
    assert_eq!(sockets(Some("tcp://127.0.0.1:2375")), usual);
    assert_eq!(sockets(Some("unix:///run/docker.sock")), usual);
    let rootless = sockets(Some("unix:///run/user/7/docker.sock"));
    assert_eq!(rootless[0], Path::new("/run/user/7/docker.sock"));
    assert_eq!(rootless[1..], usual);
}
