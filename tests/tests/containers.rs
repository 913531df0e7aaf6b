//! Names, levels and ends of containers of containerd (by its CRI) and Podman, against what the
//! engines say of them.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    containerd::{self, Containerd, NAMESPACE, Pod},
    cri::{ContainerStatus, Resources},
    events::Line,
    podman::{self, Podman},
    sockets::{self, NOWHERE},
};

const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];
const TICKING: [&str; 3] = ["sh", "-c", "while :; do usleep 10000; done"];
const HUNGRY: [&str; 4] = ["tail", "-c", "90m", "/dev/zero"];
const MIB: i64 = 1 << 20;

/// The program, with one engine's socket and no other's.
fn listening(option: &str, socket: &Path, more: &[&str]) -> Result<Agent> {
    let socket = socket.to_str().context("a path in UTF-8")?;
    let mut args = vec!["--interval", "500ms", "--throttle-min", "0ns"];
    for each in ["--docker-socket", "--cri-socket", "--podman-socket"] {
        args.extend([each, if each == option { socket } else { NOWHERE }]);
    }
    args.extend(more);
    Agent::start(&args)
}

fn of(line: &Line, id: &str) -> bool {
    line.value["container.id"] == id
}

fn line(agent: &Agent, kind: &str, id: &str) -> Result<Line> {
    agent.wait_for(&format!("{kind} of {id}"), |line| {
        line.kind() == kind && of(line, id)
    })
}

/// Waits for a line of this kind about this container with its name: statistics do not wait for it.
fn named(agent: &Agent, kind: &str, id: &str) -> Result<Line> {
    agent.wait_for(&format!("{kind} of {id} with a name"), |line| {
        line.kind() == kind && of(line, id) && line.value["container.name"].is_string()
    })
}

/// Compares a line's identity with what containerd says.
fn check_cri(line: &Line, pod: &Pod, status: &ContainerStatus) -> Result<()> {
    let value = &line.value;
    let name = &status.metadata.as_ref().context("metadata")?.name;
    assert_eq!(value["container.id"], *status.id, "{value}");
    assert_eq!(value["container.name"], **name, "{value}");
    assert_eq!(value["k8s.container.name"], **name, "{value}");
    assert_eq!(value["container.image.name"], containerd::IMAGE, "{value}");
    assert_eq!(value["container.runtime.name"], "containerd", "{value}");
    assert_eq!(value["container.resolver"], "cri", "{value}");
    check_pod(line, pod);
    Ok(())
}

fn check_pod(line: &Line, pod: &Pod) {
    let value = &line.value;
    assert_eq!(value["k8s.namespace.name"], NAMESPACE, "{value}");
    assert_eq!(value["k8s.pod.name"], *pod.name, "{value}");
    assert_eq!(value["k8s.pod.uid"], *pod.uid, "{value}");
    assert!(value["container.unresolved"].is_null(), "{value}");
}

#[test]
fn containers_of_pods_have_their_names() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let pod = containerd.pod("lst-web-0", 1)?;
    let free = Resources::default();
    // One is there before the program, one comes after it, and one lives 50 ms.
    let old = containerd.container(&pod, "old", 0, &free, &TICKING)?;
    let labels = ["io.kubernetes.pod.name", "io.kubernetes.container.name"];
    let choose = ["--label", labels[0], "--label", labels[1]];
    let agent = listening("--cri-socket", &containerd.socket(), &choose)?;
    let new = containerd.container(&pod, "new", 3, &free, &TICKING)?;
    let brief = containerd.container(&pod, "brief", 0, &free, &["usleep", "50000"])?;
    for id in [&old, &new, &brief] {
        let stats = named(&agent, "container_stats", id)?;
        let status = containerd.status(id)?;
        check_cri(&stats, &pod, &status)?;
        // Those of the pod and those of the container; here both have one of them.
        let said = |scope: &str, key: &str| stats.value[format!("{scope}.label.{key}")].clone();
        assert_eq!(said("k8s.pod", labels[0]), *pod.name);
        assert_eq!(said("container", labels[1]), status.labels[labels[1]]);
        assert!(said("k8s.pod", labels[1]).is_null());
    }
    for id in [&new, &brief] {
        check_cri(
            &line(&agent, "container_start", id)?,
            &pod,
            &containerd.status(id)?,
        )?;
    }
    check_cri(
        &line(&agent, "container_exit", &brief)?,
        &pod,
        &containerd.status(&brief)?,
    )?;
    agent.stop()?;
    Ok(())
}

#[test]
fn files_name_where_no_socket_does() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let pod = containerd.pod("lst-files", 2)?;
    let root = containerd.host_root()?;
    let root = root.to_str().context("UTF-8")?;
    let agent = listening("", Path::new(NOWHERE), &["--host-root", root])?;
    // A pod's own container runs before the CRI knows of it.
    let other = containerd.pod("lst-files-1", 6)?;
    let brief = ["usleep", "50000"];
    let brief = containerd.container(&pod, "brief", 0, &Resources::default(), &brief)?;
    let start = line(&agent, "container_start", &other.id)?;
    check_pod(&start, &other);
    assert_eq!(start.value["container.name"], "POD", "{}", start.value);
    assert!(
        start.value["k8s.container.name"].is_null(),
        "{}",
        start.value
    );
    for kind in ["container_start", "container_exit"] {
        let line = line(&agent, kind, &brief)?;
        check_pod(&line, &pod);
        assert_eq!(line.value["container.name"], "brief", "{}", line.value);
        assert_eq!(line.value["container.image.name"], containerd::IMAGE);
        assert_eq!(line.value["container.resolver"], "files");
    }
    agent.stop()?;
    Ok(())
}

#[test]
fn limits_name_the_container_and_the_pod() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let agent = listening("--cri-socket", &containerd.socket(), &[])?;
    let pod = containerd.pod("lst-limits", 3)?;
    let hog = Resources {
        memory_limit: 32 * MIB,
        ..Resources::default()
    };
    let hog = containerd.container(&pod, "hog", 0, &hog, &HUNGRY)?;
    let kill = line(&agent, "oom_kill", &hog)?;
    let status = containerd.wait(&hog)?;
    // Its reason is "OOMKilled" or "Error", whichever of containerd's two watchers comes first.
    assert_eq!(status.exit_code, 137);
    check_cri(&kill, &pod, &status)?;
    assert_eq!(kill.text("oom.limit.level")?, "container");
    let quota = Resources {
        cpu_period: 100_000,
        cpu_quota: 10_000,
        ..Resources::default()
    };
    let busy = containerd.container(&pod, "busy", 0, &quota, &BUSY)?;
    let throttle = line(&agent, "cpu_throttle", &busy)?;
    check_cri(&throttle, &pod, &containerd.status(&busy)?)?;
    assert_eq!(throttle.text("throttle.level")?, "container");
    agent.stop()?;
    Ok(())
}

#[test]
fn ends_in_pods_are_told_with_code_and_cause() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let agent = listening("--cri-socket", &containerd.socket(), &[])?;
    let pod = containerd.pod("lst-ends", 7)?;
    let free = Resources::default();
    let trap = [
        "sh",
        "-c",
        "trap 'exit 143' TERM; while :; do usleep 10000; done",
    ];
    let stopped = containerd.container(&pod, "stopped", 0, &free, &trap)?;
    // The shell has set its trap when it sleeps.
    named(&agent, "container_stats", &stopped)?;
    containerd.stop(&stopped, 10)?;
    let failed = containerd.container(&pod, "failed", 4, &free, &["sh", "-c", "exit 3"])?;
    let hog = Resources {
        memory_limit: 32 * MIB,
        ..Resources::default()
    };
    let hog = containerd.container(&pod, "hog", 0, &hog, &HUNGRY)?;
    for (id, cause, restarts) in [
        (&stopped, "stopped", 0),
        (&failed, "error", 4),
        (&hog, "oom_killed", 0),
    ] {
        let status = containerd.wait(id)?;
        let exit = line(&agent, "container_exit", id)?;
        check_cri(&exit, &pod, &status)?;
        assert_eq!(
            exit.value["container.exit.code"], status.exit_code,
            "{}",
            exit.value
        );
        assert_eq!(exit.text("container.exit.cause")?, cause);
        assert_eq!(exit.number("k8s.container.restart_count")?, restarts);
    }
    let kill = line(&agent, "oom_kill", &hog)?;
    let exit = line(&agent, "container_exit", &hog)?;
    assert_eq!(exit.value["container.exit.oom_kill_seq"], kill.value["seq"]);
    agent.stop()?;
    Ok(())
}

#[test]
fn names_of_the_cri_go_and_return() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let pod = containerd.pod("lst-return", 4)?;
    let agent = listening("--cri-socket", &containerd.socket(), &[])?;
    let free = Resources::default();
    let first = containerd.container(&pod, "first", 0, &free, &TICKING)?;
    check_cri(
        &named(&agent, "container_stats", &first)?,
        &pod,
        &containerd.status(&first)?,
    )?;
    containerd.down()?;
    // It keeps its name while nobody can be asked.
    let later = agent
        .events()
        .0
        .last()
        .context("lines")?
        .number("monotonic_ns")?
        + 1_000_000_000;
    let still = agent.wait_for("its statistics without containerd", |line| {
        of(line, &first) && line.number("monotonic_ns").is_ok_and(|at| at > later)
    })?;
    assert_eq!(still.value["container.name"], "first");
    containerd.up()?;
    let second = containerd.container(&pod, "second", 0, &free, &TICKING)?;
    let named = |line: &Line| of(line, &second) && line.value["container.name"] == "second";
    let named = agent.wait_for("the second by name", named)?;
    check_cri(&named, &pod, &containerd.status(&second)?)?;
    agent.stop()?;
    Ok(())
}

#[test]
fn a_runtime_that_hangs_stalls_nothing() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let pod = containerd.pod("lst-hang", 5)?;
    let id = containerd.container(&pod, "app", 0, &Resources::default(), &TICKING)?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("hanging.sock");
    sockets::hang(&socket)?;
    let root = dir.path().join("no-files");
    fs::create_dir(&root)?;
    let root = root.to_str().context("UTF-8")?;
    let agent = listening("--cri-socket", &socket, &["--host-root", root])?;
    let first = line(&agent, "container_stats", &id)?;
    let later = first.number("monotonic_ns")? + 3_000_000_000;
    agent.wait_for("statistics of 3 s later", |line| {
        of(line, &id) && line.number("monotonic_ns").is_ok_and(|at| at > later)
    })?;
    let stats = agent.stop()?.events.kind("container_stats");
    let stats = stats.choose(|line| of(line, &id)).0;
    for pair in stats.windows(2) {
        let gap = pair[1].arrived_ns - pair[0].arrived_ns;
        ensure!(gap < 1_500_000_000, "the stream stalled for {gap} ns");
    }
    for line in &stats {
        assert!(line.value["container.name"].is_null(), "{}", line.value);
        assert_eq!(line.value["k8s.pod.uid"], *pod.uid);
        assert!(line.text("container.unresolved")?.contains("cri"));
    }
    Ok(())
}

fn check_podman(line: &Line, inspect: &serde_json::Value) {
    let value = &line.value;
    assert_eq!(value["container.id"], inspect["Id"], "{value}");
    assert_eq!(value["container.name"], inspect["Name"], "{value}");
    assert_eq!(value["container.image.name"], podman::IMAGE, "{value}");
    assert_eq!(value["container.runtime.name"], "podman", "{value}");
    assert_eq!(value["container.resolver"], "podman", "{value}");
    assert!(value["container.unresolved"].is_null(), "{value}");
}

fn podman_names(runtime: &'static str) -> Result<()> {
    let mut podman = Podman::start(runtime)?;
    let label = ["--label", "lst.app=web"];
    let old = podman.container("lst-old", &label, &TICKING)?;
    let choose = ["--label", "lst.app"];
    let agent = listening("--podman-socket", &podman.socket(), &choose)?;
    let new = podman.container("lst-new", &label, &TICKING)?;
    for id in [&old, &new] {
        let stats = named(&agent, "container_stats", id)?;
        check_podman(&stats, &podman.inspect(id)?);
        assert_eq!(stats.value["container.label.lst.app"], "web");
    }
    // Podman tells of a container when it is made, and of its end a moment after it.
    let inspect = podman.inspect(&new)?;
    podman.run(["rm", "--force", "--time", "0", "lst-new"])?;
    check_podman(&line(&agent, "container_exit", &new)?, &inspect);
    let hog = podman.container("lst-hog", &["--memory", "32m"], &HUNGRY)?;
    let kill = line(&agent, "oom_kill", &hog)?;
    check_podman(&kill, &podman.inspect(&hog)?);
    // Podman itself does not say that it was the OOM killer.
    let exit = line(&agent, "container_exit", &hog)?;
    assert_eq!(exit.number("container.exit.code")?, 137, "{}", exit.value);
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    assert_eq!(exit.value["container.exit.oom_kill_seq"], kill.value["seq"]);
    assert_eq!(kill.text("oom.limit.level")?, "container");
    // Names stay when the service goes, and return with it.
    podman.down()?;
    podman.up()?;
    let late = podman.container("lst-late", &[], &TICKING)?;
    let named = |line: &Line| of(line, &late) && line.value["container.name"] == "lst-late";
    check_podman(
        &agent.wait_for("lst-late by name", named)?,
        &podman.inspect(&late)?,
    );
    agent.stop()?;
    Ok(())
}

#[test]
fn the_storage_of_podman_names_where_no_socket_does() -> Result<()> {
    let podman = Podman::start("runc")?;
    let root = podman.host_root()?;
    let root = root.to_str().context("UTF-8")?;
    let agent = listening("", Path::new(NOWHERE), &["--host-root", root])?;
    let id = podman.container("lst-stored", &[], &TICKING)?;
    // The start may be told before the disk has answered.
    named(&agent, "container_stats", &id)?;
    podman.run(["rm", "--force", "--time", "0", "lst-stored"])?;
    let exit = line(&agent, "container_exit", &id)?;
    assert_eq!(exit.value["container.name"], "lst-stored", "{}", exit.value);
    assert_eq!(exit.value["container.image.name"], podman::IMAGE);
    assert_eq!(exit.value["container.resolver"], "files");
    agent.stop()?;
    Ok(())
}

#[test]
fn containers_of_podman_with_runc() -> Result<()> {
    podman_names("runc")
}

#[test]
fn containers_of_podman_with_crun() -> Result<()> {
    podman_names("crun")
}
