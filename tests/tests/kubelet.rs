//! Names of pods of a real kubelet: by its own word, and by the word of the runtime with what the
//! kubelet knows besides.

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use limitscope_tests::{
    agent::Agent,
    events::Line,
    kubelet::{Kubelet, NODE},
    sockets::NOWHERE,
    wait,
};
use serde_json::Value;
use tempfile::TempDir;

/// A kubelet takes its time, more so with containers that fail again and again.
const PATIENCE: Duration = Duration::from_mins(1);

/// One container that goes on, and one that is killed again and again.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: lst-web
  namespace: lst-shop
  labels: {app: web, team: cart}
  annotations: {example.com/owner: "b. \u202e c"}
spec:
  hostNetwork: true
  terminationGracePeriodSeconds: 1
  containers:
    - name: app
      image: localhost/limitscope-test:1
      imagePullPolicy: Never
      command: [sh, -c, "while :; do usleep 10000; done"]
      resources: {limits: {cpu: 500m, memory: 32Mi}, requests: {cpu: 100m, memory: 16Mi}}
    - name: hog
      image: localhost/limitscope-test:1
      imagePullPolicy: Never
      command: [sh, -c, "sleep 2; tail -c 90m /dev/zero"]
      resources: {limits: {memory: 32Mi}}
"#;

/// An init container leaves files in memory behind, which stay charged to the pod; with them the second
/// container reaches the pod's limit, which the kubelet sets to the sum of its containers', below its
/// own.
const SHARING: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: lst-sharing, namespace: lst-shop}
spec:
  hostNetwork: true
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  volumes: [{name: memory, emptyDir: {medium: Memory}}]
  initContainers:
    - name: first
      image: localhost/limitscope-test:1
      imagePullPolicy: Never
      command: [sh, -c, "dd if=/dev/zero of=/memory/left bs=1M count=40"]
      volumeMounts: [{name: memory, mountPath: /memory}]
      resources: {limits: {cpu: 500m, memory: 64Mi}}
  containers:
    - name: app
      image: localhost/limitscope-test:1
      imagePullPolicy: Never
      command: [sh, -c, "sleep 2; tail -c 90m /dev/zero"]
      resources: {limits: {cpu: 500m, memory: 64Mi}}
"#;

/// `nothing` is an empty folder: no file of the host is to name the containers.
fn listening(kubelet: &Kubelet, cri: &Path, nothing: &TempDir) -> Result<Agent> {
    let (url, cri) = (kubelet.url(), cri.to_str().context("UTF-8")?);
    let nothing = nothing.path().to_str().context("UTF-8")?;
    let mut args = vec!["--interval", "500ms", "--docker-socket", NOWHERE];
    args.extend(["--podman-socket", NOWHERE, "--cri-socket", cri]);
    args.extend(["--kubelet", &url, "--label", "app"]);
    args.extend(["--annotation", "example.com/owner", "--host-root", nothing]);
    Agent::start(&args)
}

/// The pod and the id of one of its containers, as the kubelet tells them.
fn told(kubelet: &Kubelet, container: &str) -> Result<(Value, String)> {
    wait::until("the pod's container", PATIENCE, || {
        let Some(pod) = kubelet.pods()?.pop() else {
            return Ok(None);
        };
        let statuses = pod["status"]["containerStatuses"].as_array().cloned();
        let id = statuses.into_iter().flatten().find_map(|status| {
            let id = status["containerID"]
                .as_str()?
                .strip_prefix("containerd://")?;
            (status["name"] == container).then(|| id.to_owned())
        });
        Ok(id.map(|id| (pod, id)))
    })
}

fn check_pod(line: &Line, pod: &Value) {
    let value = &line.value;
    let meta = &pod["metadata"];
    assert_eq!(value["k8s.namespace.name"], meta["namespace"], "{value}");
    assert_eq!(value["k8s.pod.name"], meta["name"], "{value}");
    assert_eq!(value["k8s.pod.uid"], meta["uid"], "{value}");
    assert_eq!(value["k8s.node.name"], NODE, "{value}");
    assert_eq!(value["k8s.pod.label.app"], meta["labels"]["app"]);
    assert!(value["k8s.pod.label.team"].is_null(), "{value}");
    let owner = &meta["annotations"]["example.com/owner"];
    assert_eq!(value["k8s.pod.annotation.example.com/owner"], *owner);
}

#[test]
fn static_pods_have_what_the_kubelet_knows() -> Result<()> {
    let kubelet = Kubelet::start()?;
    let nothing = tempfile::tempdir()?;
    let agent = listening(&kubelet, &kubelet.containerd()?.socket(), &nothing)?;
    kubelet.run(POD)?;
    let (pod, id) = told(&kubelet, "app")?;
    assert_eq!(pod["metadata"]["uid"].as_str().map(str::len), Some(32));
    let stats = agent.wait_for_within("statistics with everything", PATIENCE, |line| {
        line.kind() == "container_stats"
            && line.value["container.id"] == *id
            && !line.value["k8s.node.name"].is_null()
            && !line.value["container.name"].is_null()
    })?;
    check_pod(&stats, &pod);
    assert_eq!(stats.value["k8s.container.name"], "app");
    assert_eq!(stats.value["container.resolver"], "cri");
    // The second life of the other one has everything from its first moment: the pod is known.
    let kill = agent.wait_for_within("a second kill", PATIENCE, |line| {
        line.kind() == "oom_kill"
            && line.value["k8s.container.name"] == "hog"
            && !line.value["k8s.node.name"].is_null()
    })?;
    check_pod(&kill, &pod);
    let exit = agent.wait_for_within("its end", PATIENCE, |line| {
        line.kind() == "container_exit" && line.value["container.id"] == kill.value["container.id"]
    })?;
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    check_pod(&exit, &pod);
    agent.stop()?;
    Ok(())
}

#[test]
fn a_late_name_completes_what_went_out_before() -> Result<()> {
    let kubelet = Kubelet::start()?;
    let nothing = tempfile::tempdir()?;
    let agent = listening(&kubelet, Path::new(NOWHERE), &nothing)?;
    kubelet.run(POD)?;
    // The kubelet tells a container's id a moment after its cgroup is made.
    let named = agent.wait_for_within("a name that comes late", PATIENCE, |line| {
        line.kind() == "container_named" && line.value["container.name"] == "app"
    })?;
    let (pod, id) = told(&kubelet, "app")?;
    check_pod(&named, &pod);
    assert_eq!(named.text("container.id")?, id);
    assert_eq!(named.text("container.resolver")?, "kubelet");
    let finished = agent.stop()?;
    let of = finished.events.with("container.id", &id);
    let start = of.kind("container_start");
    let start = start.only()?;
    assert!(start.value["container.name"].is_null(), "{}", start.value);
    assert_eq!(start.value["k8s.pod.uid"], pod["metadata"]["uid"]);
    let unresolved = start.text("container.unresolved")?;
    assert!(unresolved.contains("kubelet"), "{unresolved}");
    let nameless = of.choose(|line| line.value["container.name"].is_null());
    let seqs: Vec<Value> = nameless
        .0
        .iter()
        .map(|line| line.value["seq"].clone())
        .collect();
    assert_eq!(named.value["named.seqs"], Value::Array(seqs));
    assert_eq!(named.number("named.lines")?, nameless.0.len() as u64);
    // It waited for a name, and no longer than it may.
    let waited = start.arrived_ns - start.number("monotonic_ns")?;
    println!("the start was told after {waited} ns");
    let last = finished.events.kind("agent").0.pop().context("agent")?;
    assert!(last.number("agent.names.completed")? >= nameless.0.len() as u64);
    Ok(())
}

#[test]
fn a_limit_of_the_pod_is_told_as_the_pods() -> Result<()> {
    let kubelet = Kubelet::start()?;
    let nothing = tempfile::tempdir()?;
    let agent = listening(&kubelet, &kubelet.containerd()?.socket(), &nothing)?;
    kubelet.run(SHARING)?;
    let (pod, id) = told(&kubelet, "app")?;
    let kill = agent.wait_for_within("a kill in the pod", PATIENCE, |line| {
        line.kind() == "oom_kill" && line.value["k8s.container.name"] == "app"
    })?;
    let value = &kill.value;
    assert_eq!(kill.text("container.id")?, id);
    assert_eq!(value["k8s.pod.uid"], pod["metadata"]["uid"]);
    assert_eq!(kill.text("oom.limit.level")?, "pod");
    let uid = pod["metadata"]["uid"].as_str().context("uid")?;
    let limit = kill.text("oom.limit.cgroup")?;
    assert!(limit.ends_with(&format!("/pod{uid}")), "{value}");
    assert_eq!(kill.number("oom.limit.bytes")?, 64 << 20);
    let shares = value["oom.limit.containers"].as_array().context("shares")?;
    let names: Vec<_> = shares
        .iter()
        .map(|share| share["container.name"].as_str())
        .collect();
    // The pod's own container is there too, and the first is gone.
    assert_eq!(names, [Some("app"), Some("POD")], "{value}");
    let left = kill.number("oom.limit.rest_bytes")?;
    assert!((40 << 20..44 << 20).contains(&left), "{left} left behind");
    let advice = kill.text("oom.recommendation")?;
    assert!(advice.contains("emptyDir"), "{advice}");
    let exit = agent.wait_for_within("its end", PATIENCE, |line| {
        line.kind() == "container_exit" && line.value["container.id"] == *id
    })?;
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    agent.stop()?;
    Ok(())
}
