//! Names and ends by what a runtime tells by itself (`GetContainerEvents` of the CRI, which containerd has
//! since 1.7): nothing has to be asked for, so that it is known of containers too that are removed at once.

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    containerd::{self, Containerd, NAMESPACE},
    cri::Resources,
    sockets::NOWHERE,
};

/// Containers, each with an exit code of its own.
const COUNT: u32 = 12;

#[test]
fn the_ends_of_containers_that_are_removed_at_once_are_told() -> Result<()> {
    let mut containerd = Containerd::start_release(containerd::NEWER)?;
    let pod = containerd.pod("lst-events", 21)?;
    let socket = containerd.socket();
    let socket = socket.to_str().context("a path in UTF-8")?;
    let args = ["--interval", "500ms", "--cri-socket", socket];
    let others = ["--docker-socket", NOWHERE, "--podman-socket", NOWHERE];
    let agent = Agent::start(&[args, others].concat())?;
    let mut told = Vec::new();
    for number in 0..COUNT {
        let (code, kind) = match number {
            0 => (137, Some("oom_kill")),
            _ => (number, None),
        };
        let limit = Resources {
            memory_limit: 32 << 20,
            ..Resources::default()
        };
        let script = match kind {
            Some(_) => "exec tail -c 90m /dev/zero".to_owned(),
            None => format!("usleep 50000; exit {code}"),
        };
        let name = format!("app-{number}");
        let command = ["sh", "-c", script.as_str()];
        let id = containerd.container(&pod, &name, number, &limit, &command)?;
        let status = containerd.wait(&id)?;
        containerd.remove(&id)?;
        ensure!(u32::try_from(status.exit_code)? == code, "{status:?}");
        told.push((id, name, code));
    }
    for (id, name, code) in &told {
        let exit = agent.wait_for(&format!("the end of {name}"), |line| {
            line.kind() == "container_exit" && line.value["container.id"] == id.as_str()
        })?;
        let value = &exit.value;
        assert_eq!(value["container.exit.code"], *code, "{value}");
        let cause = if *code == 137 { "oom_killed" } else { "error" };
        assert_eq!(exit.text("container.exit.cause")?, cause, "{value}");
        assert_eq!(exit.text("k8s.container.name")?, name);
        assert_eq!(value["k8s.container.restart_count"], code_attempt(*code));
    }
    let events = agent.stop()?.events;
    for (id, name, _) in &told {
        for line in &events.with("container.id", id).0 {
            let value = &line.value;
            if value["container.name"].is_null() {
                continue;
            }
            assert_eq!(line.text("container.name")?, name, "{value}");
            assert_eq!(value["k8s.pod.name"], "lst-events", "{value}");
            assert_eq!(value["k8s.namespace.name"], NAMESPACE, "{value}");
            assert_eq!(value["container.resolver"], "cri", "{value}");
        }
    }
    let last = events.kind("agent").0.pop().context("no agent event")?;
    let unnamed = last.number("agent.names.unnamed")?;
    assert_eq!(last.number("agent.names.completed")?, unnamed);
    Ok(())
}

/// The attempt of a container is its number, and but for the first its exit code.
const fn code_attempt(code: u32) -> u32 {
    if code == 137 { 0 } else { code }
}
