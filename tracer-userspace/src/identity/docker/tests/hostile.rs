//! The client against a server that hangs, sends garbage, or never ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Bench, PATIENCE, entry, event, id, json, well};
use crate::identity::docker::fake::{FakeDocker, Reply};
use crate::identity::names::{NameMessage, NameSource, SourceState};

/// Serves `broken` the first time that `path` is asked for, and behaves well afterwards.
async fn survives(path: &'static str, broken: Reply, expected: &str) {
    let mut bench = Bench::new();
    let tries = Arc::new(AtomicUsize::new(0));
    let _docker = FakeDocker::serve(&bench.socket(), move |target| {
        let here = target.split('?').next() == Some(path);
        if here && tries.fetch_add(1, Ordering::Relaxed) == 0 {
            return broken.clone();
        }
        let list = format!("[{}]", entry(1, "web"));
        well(target, &list, &event("create", 2, "db"))
    });
    bench.start();
    let reason = bench.unavailable().await;
    assert!(reason.starts_with("docker socket SOCKET: "), "{reason}");
    assert!(reason.contains(expected), "{reason}");
    // Names return.
    bench.connected().await;
    bench.ask(1);
    assert_eq!(bench.name(1).await, "web");
    bench.ask(2);
    assert_eq!(bench.name(2).await, "db");
}

#[tokio::test]
async fn survives_one_that_hangs() {
    survives("/_ping", Reply::Hang, "no answer in time").await;
    survives(
        "/containers/json",
        Reply::Hang,
        "list of containers: no answer",
    )
    .await;
    survives(
        "/containers/json",
        Reply::Stream("[".to_owned()),
        "no answer",
    )
    .await;
}

#[tokio::test]
async fn survives_garbage() {
    let garbage = b"\x00\xff not http at all\r\n\r\n";
    survives("/_ping", Reply::Raw(garbage), "invalid HTTP").await;
    survives("/_ping", Reply::Raw(b""), "closed").await;
    survives("/containers/json", json(r#"{"a":1}"#), "list of containers").await;
    survives("/containers/json", json("[[[[[[["), "list of containers").await;
    survives(
        "/containers/json",
        Reply::Cut("[{".to_owned()),
        "list of containers",
    )
    .await;
    let error = Reply::Json(500, r#"{"message":"no disk"}"#.to_owned());
    survives("/containers/json", error, "status 500: no disk").await;
    survives(
        "/events",
        Reply::Stream("nonsense\n".to_owned()),
        "events: ",
    )
    .await;
}

#[tokio::test]
async fn survives_a_stream_that_ends() {
    let one = event("create", 5, "seen");
    survives("/events", Reply::Cut(one.clone()), "events: ").await;
    survives(
        "/events",
        Reply::Json(200, one),
        "the stream of events has ended",
    )
    .await;
}

#[tokio::test]
async fn survives_answers_without_end() {
    let expected = "the answer is longer than 1048576 bytes";
    let endless = Reply::Endless(&[b' '; 4_096]);
    survives("/containers/json", endless.clone(), expected).await;
    survives("/_ping", endless.clone(), expected).await;
    survives("/events", Reply::Endless(&[b'['; 4_096]), "events: ").await;
}

#[tokio::test]
async fn a_list_that_is_too_long_is_cut() {
    let mut bench = Bench::new();
    bench.config.max_containers = 10;
    let _docker = FakeDocker::serve(&bench.socket(), |target| {
        let all: Vec<String> = (0..1_000).map(|one| entry(one, "n")).collect();
        well(target, &format!("[{}]", all.join(",")), "")
    });
    bench.start();
    let mut named = 0;
    loop {
        match bench.next().await {
            NameMessage::Names(_) => named += 1,
            NameMessage::State {
                state: SourceState::Connected,
                ..
            } => break,
            _ => {}
        }
    }
    assert_eq!(named, 10);
}

#[tokio::test]
async fn notices_a_daemon_that_hangs_later() {
    let mut bench = Bench::new();
    let pings = Arc::new(AtomicUsize::new(0));
    let _docker = FakeDocker::serve(&bench.socket(), move |target| {
        if target == "/_ping" && pings.fetch_add(1, Ordering::Relaxed) == 2 {
            return Reply::Hang;
        }
        well(target, "[]", "")
    });
    bench.start();
    bench.connected().await;
    let reason = bench.unavailable().await;
    assert_eq!(reason, "docker socket SOCKET: no answer in time");
    bench.connected().await;
}

#[tokio::test]
async fn an_inspection_that_hangs_stalls_nobody() {
    let mut bench = Bench::new();
    let _docker = FakeDocker::serve(&bench.socket(), |target| {
        if target.contains(&id(8)) {
            return Reply::Hang;
        }
        if target.starts_with(&format!("/containers/{}/json", id(7))) {
            let body = format!(r#"{{"Id":"{}","Name":"/quick","Config":{{}}}}"#, id(7));
            return json(&body);
        }
        well(target, "[]", "")
    });
    bench.start();
    bench.connected().await;
    bench.ask(8);
    bench.ask(7);
    assert_eq!(bench.name(7).await, "quick");
    assert_eq!(bench.reason(8).await, "docker: no answer within 0.8 s");
}

/// Questions that nobody answers are refused at some point, and never wait.
#[tokio::test]
async fn questions_never_wait() {
    let mut bench = Bench::new();
    let _docker = FakeDocker::serve(&bench.socket(), |target| match target {
        "/_ping" => Reply::Hang,
        _ => well(target, "[]", ""),
    });
    bench.config.call_timeout = PATIENCE;
    bench.start();
    let names = bench.names.as_ref().unwrap();
    let taken = (0..5_000).filter(|&number| names.ask(&id(number))).count();
    assert_eq!(taken, 1_024);
}
