//! Containers that Docker restarts again and again, and those that somebody restarts.

use std::{fs, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    docker::Docker,
    events::Line,
    restarts::{last_ends, listening, loops},
    wait,
};
use serde_json::Value;

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
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
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
    wait::until("the last restart", Duration::from_mins(1), || {
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
