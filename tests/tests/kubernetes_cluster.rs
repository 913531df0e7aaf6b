//! The agent in a real cluster, by the DaemonSet that is given to users: what its pod tells of other
//! pods, beside what the API says of them.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use limitscope_tests::{
    agent::{self, Agent},
    cluster::{Cluster, condition, status},
    events::Line,
    kubelet::NODE,
    wait,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A cluster takes its time, more so on a machine that is busy.
const PATIENCE: Duration = Duration::from_mins(3);
const OURS: &str = "app.kubernetes.io/name=limitscope";
const IMAGE: &str = "localhost/limitscope:0.1.0";

/// One container that runs into its quota, and one that is killed again and again.
const VICTIMS: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: lst-shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: lst-web, namespace: lst-shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, team: cart}}
    spec:
      automountServiceAccountToken: false
      terminationGracePeriodSeconds: 1
      containers:
        - name: app
          image: localhost/limitscope-test:1
          imagePullPolicy: Never
          command: [sh, -c, "while :; do :; done"]
          resources: {limits: {cpu: 200m, memory: 32Mi}, requests: {cpu: 50m, memory: 16Mi}}
        - name: hog
          image: localhost/limitscope-test:1
          imagePullPolicy: Never
          command: [sh, -c, "sleep 3; tail -c 90m /dev/zero"]
          resources: {limits: {memory: 32Mi}}
"#;

/// What a test cannot wait for is made shorter, and a label is asked for; nothing else is changed.
const SHORTER: &str = r#"[
  {"op": "add", "path": "/spec/template/spec/containers/0/args/-", "value": "--label=app"},
  {"op": "replace", "path": "/spec/template/spec/containers/0/args/1", "value": "--interval=1s"},
  {"op": "replace", "path": "/spec/template/spec/containers/0/livenessProbe/initialDelaySeconds", "value": 5},
  {"op": "replace", "path": "/spec/template/spec/containers/0/livenessProbe/periodSeconds", "value": 5},
  {"op": "replace", "path": "/spec/template/spec/containers/0/readinessProbe/periodSeconds", "value": 5},
  {"op": "replace", "path": "/spec/template/spec/containers/0/livenessProbe/exec/command/3",
   "value": "--max-age=10s"}
]"#;

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy")
}

/// The agent's pod, by its probe.
fn ready(cluster: &Cluster, not: Option<&Value>) -> Result<Value> {
    wait::until("the agent's readiness", PATIENCE, || {
        let pod = cluster.pod("limitscope", OURS)?;
        Ok(pod.filter(|pod| {
            let is_new = not.is_none_or(|old| old["metadata"]["uid"] != pod["metadata"]["uid"]);
            is_new && condition(pod, "Ready")
        }))
    })
}

/// What the agent's pod writes, from its first line on.
fn stream(cluster: &Cluster, pod: &Value) -> Result<Agent> {
    let name = pod["metadata"]["name"].as_str().context("a name")?;
    Agent::start_command(cluster.command(&["logs", "-f", "-n", "limitscope", name]))
}

/// That a line has what the API says of a pod, and of a container of it.
fn check_names(line: &Line, pod: &Value, container: &str) {
    let value = &line.value;
    let meta = &pod["metadata"];
    let set = &meta["ownerReferences"][0]["name"];
    assert_eq!(value["k8s.namespace.name"], meta["namespace"], "{value}");
    assert_eq!(value["k8s.pod.name"], meta["name"], "{value}");
    assert_eq!(value["k8s.pod.uid"], meta["uid"], "{value}");
    assert_eq!(value["k8s.container.name"], container, "{value}");
    assert_eq!(value["k8s.node.name"], pod["spec"]["nodeName"], "{value}");
    assert_eq!(value["k8s.replicaset.name"], *set, "{value}");
    assert_eq!(value["k8s.deployment.name"], "lst-web", "{value}");
    assert_eq!(value["k8s.pod.label.app"], meta["labels"]["app"], "{value}");
    assert!(value["k8s.pod.label.team"].is_null(), "{value}");
}

/// A container's id without its runtime.
fn id(status: &Value) -> Option<&str> {
    status.as_str()?.strip_prefix("containerd://")
}

fn check_rights(cluster: &Cluster) -> Result<()> {
    let may = |verb: &str, what: &str| {
        let account = "--as=system:serviceaccount:limitscope:limitscope";
        // It ends with 1 where the answer is no.
        let answer = cluster.command(&["auth", "can-i", verb, what, "-A", account]);
        let output = { answer }.output()?;
        anyhow::Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    for (verb, what, answer) in [
        ("list", "pods", "yes"),
        ("watch", "pods", "yes"),
        ("get", "replicasets.apps", "yes"),
        ("get", "jobs.batch", "yes"),
        ("get", "pods", "no"),
        ("delete", "pods", "no"),
        ("list", "replicasets.apps", "no"),
        ("get", "secrets", "no"),
        ("list", "nodes", "no"),
        ("create", "pods/exec", "no"),
    ] {
        assert_eq!(may(verb, what)?, answer, "{verb} {what}");
    }
    Ok(())
}

/// The API's word on the last end of the container `hog`: the pod, and the end.
fn last_end(cluster: &Cluster) -> Result<(Value, Value)> {
    wait::until("the API's word on an end", PATIENCE, || {
        let Some(pod) = cluster.pod("lst-shop", "app=web")? else {
            return Ok(None);
        };
        let end = status(&pod, "hog").and_then(|status| {
            let mut states = [&status["state"], &status["lastState"]].into_iter();
            states.find_map(|state| state["terminated"].as_object())
        });
        let end = end.cloned().map(Value::Object);
        Ok(end.map(|end| (pod, end)))
    })
}

/// An OOM kill and a container's end by it, throttling, and births: each as the API has it.
fn check_victims(cluster: &Cluster, agent: &Agent) -> Result<()> {
    let (pod, end) = last_end(cluster)?;
    let dead = id(&end["containerID"]).context("an id")?;
    let of_dead = |kind: &'static str| {
        agent.wait_for_within(kind, PATIENCE, |line| {
            line.kind() == kind && line.value["container.id"] == dead
        })
    };
    let kill = of_dead("oom_kill")?;
    check_names(&kill, &pod, "hog");
    assert_eq!(kill.text("oom.limit.level")?, "container");
    let exit = of_dead("container_exit")?;
    check_names(&exit, &pod, "hog");
    assert_eq!(end["reason"], "OOMKilled");
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    assert_eq!(exit.value["container.exit.code"], end["exitCode"]);
    assert_eq!(exit.value["container.exit.oom_kill_seq"], kill.value["seq"]);
    let hog = status(&pod, "hog").context("a status")?;
    // The API counts a restart when it has begun.
    let begun = u64::from(hog["containerID"] != end["containerID"]);
    let restarts = hog["restartCount"].as_u64().context("a count")? - begun;
    assert_eq!(exit.number("k8s.container.restart_count")?, restarts);

    let app = status(&pod, "app").and_then(|status| id(&status["containerID"]));
    let app = app.context("the other one's id")?;
    let throttled = agent.wait_for_within("throttling", PATIENCE, |line| {
        line.kind() == "cpu_throttle" && line.value["container.id"] == app
    })?;
    let is_whole = !throttled.value["k8s.deployment.name"].is_null();
    let throttled = if is_whole {
        throttled
    } else {
        // The API server tells of a pod a moment after it has begun.
        agent.wait_for_within("throttling with its owner", PATIENCE, |line| {
            line.kind() == "cpu_throttle"
                && line.value["container.id"] == app
                && !line.value["k8s.deployment.name"].is_null()
        })?
    };
    check_names(&throttled, &pod, "app");
    let told = agent.events().choose(|line| {
        line.value["k8s.namespace.name"] == "lst-shop"
            && !line.value["k8s.container.name"].is_null()
    });
    // Nobody has another one's name.
    for line in &told.0 {
        let meta = &pod["metadata"];
        assert_eq!(line.value["k8s.pod.uid"], meta["uid"], "{}", line.value);
        if line.value["container.id"] == app {
            assert_eq!(line.value["k8s.container.name"], "app", "{}", line.value);
        }
    }
    println!("{} lines had the pod's names", told.0.len());
    Ok(())
}

/// A process that has stopped is restarted by its probe.
fn stop_and_await_restart(cluster: &Cluster, pod: &Value) -> Result<()> {
    let ours = status(pod, "limitscope").context("a status")?;
    let container = id(&ours["containerID"]).context("an id")?;
    let tasks = cluster.containerd()?.ctr(&["tasks", "list"])?;
    let mut words = tasks
        .lines()
        .map(str::split_whitespace)
        .find_map(|mut words| (words.next() == Some(container)).then_some(words))
        .with_context(|| format!("no task {container}: {tasks}"))?;
    let pid: i32 = words.next().context("a pid")?.parse()?;
    kill_process(Pid::from_raw(pid).context("a pid")?, Signal::STOP)?;
    wait::until("the restart by the liveness probe", PATIENCE, || {
        let pod = cluster.pod("limitscope", OURS)?;
        Ok(pod.filter(|pod| {
            let restarts = status(pod, "limitscope").map(|status| &status["restartCount"]);
            restarts.is_some_and(|count| *count == 1) && condition(pod, "Ready")
        }))
    })
    .map(drop)
}

/// Without the role names come from the runtime, and the log says why there are no more; with it,
/// all is there by itself.
fn check_role(cluster: &Cluster, pod: &Value) -> Result<()> {
    let binding = ["clusterrolebinding", "limitscope"];
    let saved = cluster.save(&binding)?;
    cluster.kubectl(&[&["delete"], &binding[..]].concat())?;
    stop_and_await_restart(cluster, pod)?;
    let agent = stream(cluster, pod)?;
    let is_kill =
        |line: &Line| line.kind() == "oom_kill" && line.value["k8s.namespace.name"] == "lst-shop";
    let kill = agent.wait_for_within("a kill without the role", 2 * PATIENCE, is_kill)?;
    assert_eq!(kill.value["k8s.container.name"], "hog");
    assert_eq!(kill.value["container.resolver"], "cri");
    assert!(
        kill.value["k8s.deployment.name"].is_null(),
        "{}",
        kill.value
    );
    let name = pod["metadata"]["name"].as_str().context("a name")?;
    let log = cluster.kubectl(&["logs", "-n", "limitscope", name])?;
    let told = log.lines().find(|line| line.contains("status 403"));
    println!("{}", told.context("the reason is not in the log")?);
    cluster.kubectl(&["create", "-f", &saved.display().to_string()])?;
    let (victim, _) = last_end(cluster)?;
    let back = agent.wait_for_within("owners again", PATIENCE, |line| {
        line.kind() == "cpu_throttle" && !line.value["k8s.deployment.name"].is_null()
    })?;
    check_names(&back, &victim, "app");
    Ok(())
}

#[test]
fn the_daemonset_tells_what_the_api_tells() -> Result<()> {
    let cluster = Cluster::start()?;
    let binary = agent::binary()?;
    let binaries = binary.parent().context("a folder")?;
    cluster.import_image(&deploy(), binaries, IMAGE)?;
    // As it is given to users it becomes ready, and may do what it is to do and no more.
    cluster.apply(&deploy().join("kubernetes/daemonset.yaml"))?;
    let as_it_is = ready(&cluster, None)?;
    assert_eq!(as_it_is["spec"]["nodeName"], NODE);
    drop(stream(&cluster, &as_it_is)?);
    check_rights(&cluster)?;

    let patch = ["patch", "daemonset", "limitscope", "-n", "limitscope"];
    cluster.kubectl(&[&patch, &["--type=json", "-p", SHORTER][..]].concat())?;
    let pod = ready(&cluster, Some(&as_it_is))?;
    let agent = stream(&cluster, &pod)?;
    let victims = tempfile::NamedTempFile::new()?;
    fs::write(victims.path(), VICTIMS)?;
    cluster.apply(victims.path())?;
    check_victims(&cluster, &agent)?;
    let events = agent.events();
    events.check_stream()?;
    events.check_nothing_lost()?;
    drop(agent);
    check_role(&cluster, &pod)
}
