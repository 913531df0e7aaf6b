//! How and why real containers end, and how often they are restarted, against what Docker says.

use anyhow::{Context, Result};
use limitscope_tests::{agent::Agent, docker::Docker, events::Line, wait};

const TICKING: [&str; 3] = ["sh", "-c", "while :; do usleep 10000; done"];

fn listening(docker: &Docker) -> Result<Agent> {
    let socket = docker.socket();
    let socket = socket.to_str().context("a path in UTF-8")?;
    Agent::start(&["--interval", "500ms", "--docker-socket", socket])
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

#[test]
fn ends_are_told_with_code_and_cause() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening(&docker)?;
    for (name, command, code, cause) in [
        ("lst-done", "true", 0, "completed"),
        ("lst-error", "exit 3", 3, "error"),
        ("lst-missing", "no-such-command", 127, "command_not_found"),
        ("lst-term", "kill -TERM $$", 143, "stopped"),
    ] {
        // The first process of a container heeds no signal of its own: the second is the shell's.
        let shell = format!("sh -c '{command}'; exit $?");
        let id = docker.container(name, &[], &["sh", "-c", &shell])?;
        assert_eq!(docker.wait(&id)?, code, "{name}");
        let exit = line(&agent, "container_exit", &id)?;
        assert_eq!(exit.value["container.exit.code"], code, "{}", exit.value);
        assert_eq!(exit.text("container.exit.cause")?, cause);
        assert_eq!(exit.text("container.name")?, name);
    }
    let id = docker.container("lst-killed", &[], &TICKING)?;
    docker.run(["kill", "lst-killed"])?;
    let exit = line(&agent, "container_exit", &id)?;
    assert_eq!(exit.text("container.exit.cause")?, "killed");
    assert_eq!(exit.number("container.exit.signal")?, 9);
    assert_eq!(exit.text("container.exit.killed_by")?, "docker");
    // By whom, the kernel knows: what Docker has do it, and anybody else.
    let killer = exit.text("container.exit.killer.process.command")?;
    assert!(
        ["runc", "containerd-shim"]
            .iter()
            .any(|known| killer.starts_with(known)),
        "{killer}"
    );
    let id = docker.container("lst-shot", &[], &TICKING)?;
    let pid = docker.inspect(&id)?["State"]["Pid"]
        .as_i64()
        .context("its pid")?;
    let pid = i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.context("a pid")?, rustix::process::Signal::KILL)?;
    let exit = line(&agent, "container_exit", &id)?;
    assert_eq!(exit.text("container.exit.cause")?, "killed");
    let killer = exit.number("container.exit.killer.process.pid")?;
    assert_eq!(killer, u64::from(std::process::id()));
    assert!(
        exit.value["container.exit.killed_by"].is_null(),
        "{}",
        exit.value
    );
    // Nobody heeds SIGTERM here, so the grace period ends it.
    let id = docker.container("lst-stopped", &[], &TICKING)?;
    docker.run(["stop", "--time", "1", "lst-stopped"])?;
    let exit = line(&agent, "container_exit", &id)?;
    assert_eq!(exit.text("container.exit.cause")?, "killed");
    assert_eq!(exit.text("container.exit.killed_by")?, "docker");
    // The same code by the kernel: the line that tells of the kill is named.
    let hungry = ["tail", "-c", "90m", "/dev/zero"];
    let id = docker.container("lst-eaten", &["--memory", "32m"], &hungry)?;
    let exit = line(&agent, "container_exit", &id)?;
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    assert_eq!(exit.number("container.exit.code")?, 137);
    assert!(exit.value["container.exit.killed_by"].is_null());
    let kill = line(&agent, "oom_kill", &id)?;
    assert_eq!(exit.value["container.exit.oom_kill_seq"], kill.value["seq"]);
    agent.stop()?;
    Ok(())
}

#[test]
fn restarts_are_counted_as_docker_does() -> Result<()> {
    let docker = Docker::start()?;
    let agent = listening(&docker)?;
    let options = ["--restart", "on-failure:2"];
    let id = docker.container("lst-again", &options, &["sh", "-c", "exit 5"])?;
    wait::until("the last restart", wait::PATIENCE, || {
        let inspect = docker.inspect(&id)?;
        let over = inspect["RestartCount"] == 2 && inspect["State"]["Running"] == false;
        Ok(over.then_some(()))
    })?;
    let last = |line: &Line| {
        line.kind() == "container_exit"
            && of(line, &id)
            && line.value["container.restart_count"] == 2
    };
    agent.wait_for("the last end", last)?;
    let exits = agent.stop()?.events.kind("container_exit");
    let exits = exits.choose(|line| of(line, &id)).0;
    assert_eq!(exits.len(), 3);
    for exit in &exits {
        assert_eq!(exit.text("container.name")?, "lst-again");
        assert_eq!(exit.number("container.exit.code")?, 5, "{}", exit.value);
        assert_eq!(exit.text("container.exit.cause")?, "error");
    }
    Ok(())
}
