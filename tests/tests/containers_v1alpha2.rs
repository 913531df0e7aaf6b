//! A runtime that has the Container Runtime Interface in its version v1alpha2 alone, as those of
//! Kubernetes before 1.23.

use anyhow::Result;
use limitscope_tests::{
    agent::Agent,
    containerd::{self, Containerd, NAMESPACE},
    cri::Resources,
    sockets::NOWHERE,
};

#[test]
fn containers_of_an_old_runtime_have_their_names_and_ends() -> Result<()> {
    let mut containerd = Containerd::start_release(containerd::OLDER)?;
    assert_eq!(containerd.cri_version()?, "v1alpha2");
    let pod = containerd.pod("lst-old", 31)?;
    let socket = containerd.socket();
    let agent = Agent::start(&[
        "--interval",
        "500ms",
        "--docker-socket",
        NOWHERE,
        "--podman-socket",
        NOWHERE,
        "--cri-socket",
        &socket.to_string_lossy(),
    ])?;
    let limit = Resources {
        memory_limit: 32 << 20,
        ..Resources::default()
    };
    let hungry = ["sh", "-c", "usleep 100000; exec tail -c 90m /dev/zero"];
    let id = containerd.container(&pod, "app", 2, &limit, &hungry)?;
    let status = containerd.wait(&id)?;
    let exit = agent.wait_for("its end", |line| {
        line.kind() == "container_exit" && line.value["container.id"] == id.as_str()
    })?;
    assert_eq!(exit.value["container.exit.code"], status.exit_code);
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    assert_eq!(exit.number("k8s.container.restart_count")?, 2);
    let events = agent.stop()?.events;
    let of_it = events.with("container.id", &id);
    for kind in ["container_start", "oom_kill", "container_exit"] {
        let lines = of_it.kind(kind);
        let line = lines.only()?;
        let value = &line.value;
        assert_eq!(line.text("container.name")?, "app", "{value}");
        assert_eq!(value["k8s.container.name"], "app", "{value}");
        assert_eq!(value["k8s.pod.name"], "lst-old", "{value}");
        assert_eq!(value["k8s.pod.uid"], *pod.uid, "{value}");
        assert_eq!(value["k8s.namespace.name"], NAMESPACE, "{value}");
        assert_eq!(value["container.image.name"], containerd::IMAGE, "{value}");
        assert_eq!(value["container.resolver"], "cri", "{value}");
    }
    Ok(())
}
