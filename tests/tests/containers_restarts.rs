//! A container of a pod that is restarted again and again, as kubelet does it.

use anyhow::{Result, ensure};
use limitscope_tests::{
    containerd::Containerd,
    cri::Resources,
    restarts::{last_ends, listening, loops},
};

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
