//! Containers that are restarted again and again, by Docker's policy and as kubelet does it.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    containerd::Containerd,
    cri::Resources,
    docker::Docker,
    events::{Events, Line},
    wait,
};
use serde_json::Value;

/// Short, so that a test sees the end too.
const STABLE: &str = "restart-stable-seconds=6";

fn listening(option: &str, socket: &std::path::Path) -> Result<Agent> {
    let socket = socket.to_str().context("a path in UTF-8")?;
    Agent::start(&["--interval", "500ms", option, socket, "--threshold", STABLE])
}

/// The findings of a kind of container, with this phase.
fn loops(events: &Events, key: &str, value: &str, phase: &str) -> Events {
    let loops = events.kind("finding").with("finding.kind", "restart_loop");
    loops.with(key, value).with("finding.phase", phase)
}

/// What is told of the last ends: their causes and codes.
fn last_ends(line: &Line) -> Result<Vec<(Value, Value)>> {
    let ends = line.value["finding.evidence"]["last_ends"].as_array();
    let ends = ends.with_context(|| line.value.to_string())?;
    Ok(ends
        .iter()
        .map(|end| (end["cause"].clone(), end["exit_code"].clone()))
        .collect())
}

/// It fails four times, and then it runs: one beginning, with what Docker counts, and one end.
#[test]
fn dockers_policy_makes_a_loop_that_ends_when_it_runs() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening("--docker-socket", &docker.socket())?;
    // Its own file system stays from run to run.
    let script = "echo >> /runs; [ $(wc -l < /runs) -gt 4 ] || { usleep 200000; exit 3; }; \
                  while :; do usleep 50000; done";
    let id = docker.container("lst-loop", &["--restart", "always"], &["sh", "-c", script])?;
    let is = |line: &Line, phase: &str| {
        line.kind() == "finding"
            && line.value["finding.kind"] == "restart_loop"
            && line.value["container.id"] == id.as_str()
            && line.value["finding.phase"] == phase
    };
    let begun = agent.wait_for("the loop", |line| is(line, "start"))?;
    assert_eq!(begun.text("container.name")?, "lst-loop");
    println!("{}", begun.value);
    assert_eq!(begun.text("finding.severity")?, "critical");
    assert_eq!(begun.text("finding.confidence")?, "high");
    assert_eq!(
        begun.value["finding.evidence"]["restarts"], 3,
        "{}",
        begun.value
    );
    let ends = last_ends(&begun)?;
    ensure!(ends.len() == 3, "{ends:?}");
    ensure!(
        ends.iter()
            .all(|(cause, code)| cause == "error" && code == 3),
        "{ends:?}"
    );
    assert_eq!(
        begun.text("finding.recommendation")?,
        "read what it said last: docker logs --tail 50 lst-loop"
    );
    let over = agent.wait_for("its end", |line| is(line, "end"))?;
    // Docker's own count, of all that it restarted.
    let inspect = docker.inspect(&id)?;
    assert_eq!(inspect["RestartCount"], 4);
    assert_eq!(over.value["finding.evidence"]["restart_count"], 4);
    assert_eq!(last_ends(&over)?.len(), 4);
    let ran_ns = wait::monotonic_ns() - began(&inspect)?;
    ensure!(ran_ns >= 6_000_000_000, "it ran for {ran_ns} ns only");
    let events = agent.stop()?.events;
    for phase in ["start", "end"] {
        loops(&events, "container.id", &id, phase).only()?;
    }
    Ok(())
}

/// When a container that Docker tells of started, by the monotonic clock.
fn began(inspect: &Value) -> Result<u64> {
    let pid = inspect["State"]["Pid"].as_u64().context("a pid")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").context("a command")?.1;
    // The 22nd field, in ticks of a hundredth of a second (proc_pid_stat(5)).
    let ticks: u64 = rest.split(' ').nth(19).context("a start")?.parse()?;
    Ok(ticks * 10_000_000)
}

/// What somebody restarts by hand is no loop, however often, and neither is one that is given up.
#[test]
fn restarts_by_hand_are_no_loop() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening("--docker-socket", &docker.socket())?;
    let ticking = ["sh", "-c", "while :; do usleep 10000; done"];
    let id = docker.container("lst-hand", &["--restart", "always"], &ticking)?;
    for _ in 0..5 {
        docker.run(["restart", "-t", "0", "lst-hand"])?;
    }
    let few = ["--restart", "on-failure:2"];
    let given_up = docker.container("lst-few", &few, &["sh", "-c", "exit 5"])?;
    wait::until("the last restart", wait::PATIENCE, || {
        let inspect = docker.inspect(&given_up)?;
        let over = inspect["RestartCount"] == 2 && inspect["State"]["Running"] == false;
        Ok(over.then_some(()))
    })?;
    thread::sleep(Duration::from_millis(1500));
    let events = agent.stop()?.events;
    let exits = events.kind("container_exit");
    assert_eq!(exits.with("container.id", &id).0.len(), 5);
    assert_eq!(exits.with("container.id", &given_up).0.len(), 3);
    for id in [&id, &given_up] {
        let found = loops(&events, "container.id", id, "start").0;
        ensure!(found.is_empty(), "{found:?}");
    }
    Ok(())
}

/// In a pod each run is a container with an id of its own; pod and name stay. The cause is an OOM
/// kill each time, and the line that tells of it is named.
#[test]
fn runs_in_a_pod_are_one_container() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let agent = listening("--cri-socket", &containerd.socket())?;
    let pod = containerd.pod("lst-again", 8)?;
    let small = Resources {
        memory_limit: 32 << 20,
        ..Resources::default()
    };
    let hungry = ["tail", "-c", "90m", "/dev/zero"];
    for attempt in 0..4 {
        let id = containerd.container(&pod, "app", attempt, &small, &hungry)?;
        let status = containerd.wait(&id)?;
        assert_eq!(status.exit_code, 137);
        agent.wait_for("its end", |line| {
            line.kind() == "container_exit" && line.value["container.id"] == id.as_str()
        })?;
    }
    let begun = agent.wait_for("the loop", |line| {
        line.value["finding.kind"] == "restart_loop" && line.value["finding.phase"] == "start"
    })?;
    assert_eq!(begun.text("k8s.container.name")?, "app");
    assert_eq!(begun.text("k8s.pod.name")?, "lst-again");
    assert_eq!(begun.value["finding.evidence"]["restarts"], 3);
    let ends = last_ends(&begun)?;
    ensure!(ends.len() == 4, "{ends:?}");
    ensure!(
        ends.iter().all(|(cause, _)| cause == "oom_killed"),
        "{ends:?}"
    );
    let events = agent.stop()?.events;
    let kills = events.kind("oom_kill").with("k8s.pod.name", "lst-again");
    let told = begun.value["finding.evidence"]["last_ends"][3]["oom_kill_seq"].clone();
    assert_eq!(kills.0.last().map(|kill| &kill.value["seq"]), Some(&told));
    let over = loops(&events, "k8s.pod.name", "lst-again", "end");
    ensure!(over.only()?.number("finding.lasted_ns")? > 0);
    Ok(())
}
