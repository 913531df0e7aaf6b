//! Names, kills and throttling of real containers, against what Docker says of them.

use std::{fs, os::unix::net::UnixListener, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    docker::{Docker, IMAGE},
    events::{Events, Line},
    mounts::Hierarchies,
    referee::{cpu_stat::CpuStat, kmsg::Kmsg},
    sockets::{self, NOWHERE},
    wait,
};
use rustix::process::{Pid, Signal, kill_process};

fn listening(socket: &Path, more: &[&str]) -> Result<Agent> {
    let socket = socket.to_str().context("a path in UTF-8")?;
    Agent::start(&[&["--interval", "500ms", "--docker-socket", socket], more].concat())
}

fn of(line: &Line, id: &str) -> bool {
    line.value["container.id"] == id
}

/// Waits for a line of this kind about this container.
fn line(agent: &Agent, kind: &str, id: &str) -> Result<Line> {
    agent.wait_for(&format!("{kind} of {id}"), |line| {
        line.kind() == kind && of(line, id)
    })
}

/// Compares a line's identity with `docker inspect`.
fn check_identity(line: &Line, inspect: &serde_json::Value) -> Result<()> {
    assert_eq!(line.value["container.id"], inspect["Id"]);
    let name = inspect["Name"].as_str().context("Name")?;
    assert_eq!(
        line.text("container.name")?,
        name.trim_start_matches('/'),
        "{}",
        line.value
    );
    assert_eq!(
        line.value["container.image.name"],
        inspect["Config"]["Image"]
    );
    assert_eq!(line.text("container.runtime.name")?, "docker");
    assert!(
        line.value["container.unresolved"].is_null(),
        "{}",
        line.value
    );
    let id = inspect["Id"].as_str().context("Id")?;
    assert!(line.cgroup().ends_with(id), "{}", line.value);
    Ok(())
}

const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];
const TICKING: [&str; 3] = ["sh", "-c", "while :; do usleep 10000; done"];

#[test]
fn the_daemon_of_the_tests_leaves_nothing() -> Result<()> {
    let mut docker = Docker::start()?;
    let id = docker.container("lst-fixture", &[], &["sleep", "1000"])?;
    assert_eq!(docker.inspect(&id)?["State"]["Running"], true);
    docker.down()?;
    docker.up()?;
    assert_eq!(docker.inspect(&id)?["State"]["Running"], false);
    let socket = docker.socket();
    drop(docker);
    assert!(!socket.exists());
    Ok(())
}

#[test]
fn containers_have_their_names_ids_and_images() -> Result<()> {
    let docker = Docker::start()?;
    // One is there before the program, one comes after it.
    let labels = ["--label", "lst.app=web\u{202e}", "--label", "lst.other=x"];
    let old = docker.container("lst-old", &labels, &TICKING)?;
    let agent = listening(&docker.socket(), &["--label", "lst.app"])?;
    let new = docker.container("lst-new", &labels, &TICKING)?;
    for id in [&old, &new] {
        let line = line(&agent, "container_stats", id)?;
        let inspect = docker.inspect(id)?;
        check_identity(&line, &inspect)?;
        let label = &inspect["Config"]["Labels"]["lst.app"];
        assert_eq!(line.value["container.label.lst.app"], *label);
        assert!(line.value["container.label.lst.other"].is_null());
    }
    check_identity(
        &line(&agent, "container_start", &new)?,
        &docker.inspect(&new)?,
    )?;
    let inspect = docker.inspect(&new)?;
    docker.run(["rm", "-f", "lst-new"])?;
    check_identity(&line(&agent, "container_exit", &new)?, &inspect)?;
    let events = agent.stop()?.events;
    for kind in ["container_start", "container_exit"] {
        assert_eq!(
            events.kind(kind).choose(|line| of(line, &new)).0.len(),
            1,
            "{kind}"
        );
    }
    assert!(
        events
            .kind("container_exit")
            .choose(|line| of(line, &old))
            .0
            .is_empty()
    );
    Ok(())
}

#[test]
fn a_container_of_50_ms_is_named() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening(&docker.socket(), &[])?;
    let id = docker.create("lst-short", &[], &["usleep", "50000"])?;
    let inspect = docker.inspect(&id)?;
    docker.run(["start", "-a", "lst-short"])?;
    docker.run(["rm", "lst-short"])?;
    check_identity(&line(&agent, "container_exit", &id)?, &inspect)?;
    check_identity(&line(&agent, "container_stats", &id)?, &inspect)?;
    let events = agent.stop()?.events.choose(|line| of(line, &id));
    for event in &events.0 {
        check_identity(event, &inspect)?;
    }
    let switches = events
        .kind("container_stats")
        .sum("sched.context_switches.voluntary")?;
    assert!(switches > 0, "it ran, so it switched");
    Ok(())
}

#[test]
fn a_container_that_removes_itself_is_named() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening(&docker.socket(), &[])?;
    docker.run([
        "run",
        "--rm",
        "--network",
        "none",
        "--name",
        "lst-rm",
        IMAGE,
        "usleep",
        "50000",
    ])?;
    let named =
        |line: &Line| line.kind() == "container_exit" && line.value["container.name"] == "lst-rm";
    let exit = agent.wait_for("the exit of lst-rm", named)?;
    assert_eq!(exit.text("container.image.name")?, IMAGE);
    agent.stop()?;
    Ok(())
}

#[test]
fn an_oom_kill_in_a_container() -> Result<()> {
    let docker = Docker::start()?;
    let mut kmsg = Kmsg::open()?;
    let agent = listening(&docker.socket(), &[])?;
    let id = docker.container(
        "lst-oomer",
        &["--memory", "32m"],
        &["tail", "-c", "90m", "/dev/zero"],
    )?;
    assert_eq!(docker.wait(&id)?, 137);
    let inspect = docker.inspect(&id)?;
    assert_eq!(inspect["State"]["OOMKilled"], true);
    let kill = line(&agent, "oom_kill", &id)?;
    check_identity(&kill, &inspect)?;
    let log = kmsg.read_kills("tail", 1)?;
    let victim = log.victim("tail")?;
    assert_eq!(
        kill.number("oom.victim.process.pid")?,
        u64::from(victim.pid)
    );
    assert_eq!(kill.text("oom.victim.process.command")?, "tail");
    assert_eq!(
        kill.value["oom.limit.bytes"],
        inspect["HostConfig"]["Memory"]
    );
    assert_eq!(kill.text("oom.limit.level")?, "container");
    let report = log.report(victim.pid)?;
    assert_eq!(kill.text("oom.limit.cgroup")?, report.pairs["oom_memcg"]);
    let anon_kb = kill.number("oom.victim.memory.anon_bytes")? / 1024;
    if kill.value["oom.victim.memory.exact"] == false {
        assert_eq!(anon_kb, u64::try_from(victim.fields["anon-rss"])?);
    }
    check_identity(&line(&agent, "container_exit", &id)?, &inspect)?;
    let kills = agent
        .stop()?
        .events
        .kind("oom_kill")
        .choose(|line| of(line, &id));
    assert_eq!(kills.0.len(), 1);
    Ok(())
}

#[test]
fn a_container_over_its_cpus() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening(&docker.socket(), &["--throttle-min", "0ns"])?;
    let id = docker.container("lst-cpus", &["--cpus", "0.1"], &BUSY)?;
    let inspect = docker.inspect(&id)?;
    let first = line(&agent, "cpu_throttle", &id)?;
    check_identity(&first, &inspect)?;
    let place = Hierarchies::find()?
        .controller("cpu")
        .context("a CPU controller")?;
    let (version, dir) = place.dir(first.cgroup());
    let read = || CpuStat::in_dir(version, &dir);
    wait::until("5 s of throttled time", Duration::from_secs(30), || {
        Ok((read()?.throttled_ns > 5_000_000_000).then_some(()))
    })?;
    // Stopped, so that no interval is open when the kernel's figure is read.
    let pid = inspect["State"]["Pid"].as_i64().context("Pid")?;
    kill_process(Pid::from_raw(pid as i32).context("a pid")?, Signal::STOP)?;
    let rest = Duration::from_millis(400);
    let kernel = wait::until_at_rest("cpu.stat", rest, wait::PATIENCE, read)?;
    let events = agent.stop()?.events.choose(|line| of(line, &id));
    let throttles = events.kind("cpu_throttle");
    let ours = throttles.sum("throttle.duration_ns")?;
    assert_within("intervals", ours as f64, kernel.throttled_ns as f64, 1.0);
    let stats = events.kind("container_stats");
    let summed = stats.sum("throttle.summed_ns")?;
    assert_within(
        "throttle.summed_ns",
        summed as f64,
        kernel.throttled_ns as f64,
        1.0,
    );
    let periods = stats.sum("throttle.throttled_periods")?;
    assert!(
        periods.abs_diff(kernel.throttled_periods) <= 1,
        "{periods}, kernel {kernel:?}"
    );
    let cpus = inspect["HostConfig"]["NanoCpus"]
        .as_f64()
        .context("NanoCpus")?
        / 1e9;
    for event in &throttles.0 {
        check_identity(event, &inspect)?;
        assert_eq!(event.text("throttle.level")?, "container");
        assert_eq!(event.value["throttle.quota.cpus"].as_f64(), Some(cpus));
    }
    Ok(())
}

#[test]
fn a_pod_is_read_from_the_path() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening(&docker.socket(), &[])?;
    let uid = "7f3c2b1a-5d4e-4f60-8a9b-0c1d2e3f4a5b";
    let parent = format!("/kubepods/burstable/pod{uid}");
    let id = docker.container("lst-pod", &["--cgroup-parent", &parent], &TICKING)?;
    let stats = line(&agent, "container_stats", &id)?;
    check_identity(&stats, &docker.inspect(&id)?)?;
    assert_eq!(stats.text("k8s.pod.uid")?, uid);
    agent.stop()?;
    Ok(())
}

#[test]
fn a_filter_lets_one_container_through() -> Result<()> {
    let docker = Docker::start()?;
    let wanted = docker.container("lst-wanted", &[], &TICKING)?;
    docker.container("lst-other", &[], &TICKING)?;
    let agent = listening(&docker.socket(), &["--container", "lst-wanted"])?;
    for _ in 0..3 {
        line(&agent, "container_stats", &wanted)?;
    }
    let events = agent.stop()?.events;
    let stray = events.choose(|line| line.kind() != "agent" && !of(line, &wanted));
    assert!(stray.0.is_empty(), "{stray:?}");
    Ok(())
}

/// Ids with a reason instead of names, and intervals that keep their pace.
fn check_degraded(agent: Agent, id: &str) -> Result<Events> {
    let first = line(&agent, "container_stats", id)?;
    let later = first.number("monotonic_ns")? + 3_000_000_000;
    let is_later =
        |line: &Line| of(line, id) && line.number("monotonic_ns").is_ok_and(|t| t > later);
    agent.wait_for("statistics of 3 s later", is_later)?;
    let events = agent.stop()?.events.choose(|line| of(line, id));
    for event in &events.0 {
        assert!(event.value["container.name"].is_null(), "{}", event.value);
        assert!(!event.text("container.unresolved")?.is_empty());
        assert_eq!(event.text("container.runtime.name")?, "docker");
    }
    let stats = events.kind("container_stats").0;
    for pair in stats.windows(2) {
        let gap = pair[1].arrived_ns - pair[0].arrived_ns;
        ensure!(gap < 1_500_000_000, "the stream stalled for {gap} ns");
    }
    Ok(events)
}

#[test]
fn without_a_socket_ids_come_with_the_reason() -> Result<()> {
    let docker = Docker::start()?;
    let id = docker.container("lst-nosock", &[], &TICKING)?;
    let agent = listening(Path::new(NOWHERE), &[])?;
    check_degraded(agent, &id)?;
    Ok(())
}

#[test]
fn a_hanging_socket_stalls_nothing() -> Result<()> {
    let docker = Docker::start()?;
    let id = docker.container("lst-hang", &[], &TICKING)?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("hanging.sock");
    sockets::hang(&socket)?;
    let agent = listening(&socket, &[])?;
    check_degraded(agent, &id)?;
    Ok(())
}

#[test]
fn a_refusing_socket_stalls_nothing() -> Result<()> {
    let docker = Docker::start()?;
    let id = docker.container("lst-refuse", &[], &TICKING)?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("refusing.sock");
    // The file stays when the listener is gone.
    drop(UnixListener::bind(&socket)?);
    ensure!(fs::exists(&socket)?, "a socket nobody listens on");
    check_degraded(listening(&socket, &[])?, &id)?;
    Ok(())
}

#[test]
fn names_return_with_the_daemon() -> Result<()> {
    let mut docker = Docker::start()?;
    let agent = listening(&docker.socket(), &[])?;
    let first = docker.container("lst-before", &[], &TICKING)?;
    check_identity(
        &line(&agent, "container_stats", &first)?,
        &docker.inspect(&first)?,
    )?;
    docker.down()?;
    docker.up()?;
    let second = docker.container("lst-after", &[], &TICKING)?;
    let inspect = docker.inspect(&second)?;
    let named = |line: &Line| of(line, &second) && line.value["container.name"] == "lst-after";
    check_identity(&agent.wait_for("lst-after by name", named)?, &inspect)?;
    agent.stop()?;
    Ok(())
}
