//! Engines under systemd on cgroup v2 alone, as most machines have them: names, kills and throttling of
//! their containers, against what the engines and the kernel say.
//!
//! The program under test finds every engine by itself here. Each container runs into its quota, and
//! then into its limit.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    containerd,
    cri::{ContainerStatus, Cri, EXITED, Resources},
    engine_api::EngineApi,
    events::Line,
    followed::{
        MEMORY, PATIENCE, PERIOD_US, QUOTA_US, Record, WORKER, cgroup_of, first_process, follow,
        line, throttle_and_kill,
    },
    image,
    kubelet::{Kubelet, NODE},
    listener::Listener,
    pods::{self, NAMESPACE, Pod},
    systemd::{Unit, is_guest},
    wait,
};
use serde_json::{Value, json};

const DOCKER: &str = "/run/docker.sock";
const PODMAN: &str = "/run/podman/podman.sock";
const CONTAINERD: &str = "/run/containerd/containerd.sock";

/// Limits of a container as Docker and Podman take them.
fn limits() -> Value {
    json!({ "Memory": MEMORY, "CpuQuota": QUOTA_US, "CpuPeriod": PERIOD_US })
}

/// What an engine says of a container that runs.
fn told(inspect: &Value, runtime: &'static str, cgroup: String) -> Result<Record> {
    let name = inspect["Name"].as_str().context("Name")?;
    let pid = inspect["State"]["Pid"].as_i64().context("Pid")?;
    Ok(Record {
        id: inspect["Id"].as_str().context("Id")?.to_owned(),
        cgroup,
        keys: vec![
            ("container.id", inspect["Id"].clone()),
            ("container.name", name.trim_start_matches('/').into()),
            ("container.image.name", inspect["Config"]["Image"].clone()),
            ("container.runtime.name", runtime.into()),
        ],
        resolver: runtime,
        pid: i32::try_from(pid)?,
    })
}

#[test]
fn docker_with_the_systemd_driver() -> Result<()> {
    if !is_guest("docker_with_the_systemd_driver") {
        return Ok(());
    }
    let docker = EngineApi::with_image(Path::new(DOCKER))?;
    let info = docker.info()?;
    assert_eq!(info["CgroupDriver"], "systemd", "{info}");
    assert_eq!(info["CgroupVersion"], "2", "{info}");
    let listener = Listener::start()?;
    let id = docker.run("lst-docker", &limits(), &WORKER)?;
    let scope = format!("/system.slice/docker-{id}.scope");
    let record = told(&docker.inspect(&id)?, "docker", scope)?;
    assert_eq!(record.cgroup, cgroup_of(record.pid)?);
    follow(listener, &record, || {
        let inspect = docker.wait(&id)?;
        assert_eq!(inspect["State"]["OOMKilled"], true);
        inspect["State"]["ExitCode"].as_i64().context("its code")
    })?;
    docker.remove(&id)
}

#[test]
fn podman_with_crun() -> Result<()> {
    if !is_guest("podman_with_crun") {
        return Ok(());
    }
    let podman = EngineApi::with_image(Path::new(PODMAN))?;
    let listener = Listener::start()?;
    let id = podman.run("lst-podman", &limits(), &WORKER)?;
    let scope = format!("/machine.slice/libpod-{id}.scope");
    let inspect = podman.inspect(&id)?;
    let record = told(&inspect, "podman", scope)?;
    // The process is one level below what has the limits, as crun has it.
    assert_eq!(
        format!("{}/container", record.cgroup),
        cgroup_of(record.pid)?
    );
    follow(listener, &record, || {
        let inspect = podman.wait(&id)?;
        inspect["State"]["ExitCode"].as_i64().context("its code")
    })?;
    podman.remove(&id)
}

/// Where systemd has a pod with this uid.
fn pod_slice(uid: &str) -> String {
    let uid = uid.replace('-', "_");
    format!("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice")
}

/// Gives containerd the images of the tests.
fn images_for_containerd() -> Result<Cri> {
    let dir = tempfile::tempdir()?;
    for (reference, command) in [
        (containerd::IMAGE, &["sh"][..]),
        (containerd::PAUSE, &["sleep", "1000000"]),
    ] {
        let archive = image::archive(dir.path(), reference, command)?;
        let imported = Command::new("ctr")
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(archive)
            .output()?;
        ensure!(imported.status.success(), "{imported:?}");
    }
    Cri::connect(Path::new(CONTAINERD))
}

fn wait_exited(cri: &Cri, id: &str) -> Result<ContainerStatus> {
    wait::until("the container's end", PATIENCE, || {
        Ok(Some(cri.status(id)?).filter(|status| status.state == EXITED))
    })
}

#[test]
fn containerd_with_the_systemd_driver() -> Result<()> {
    if !is_guest("containerd_with_the_systemd_driver") {
        return Ok(());
    }
    let cri = images_for_containerd()?;
    let listener = Listener::start()?;
    let slice = pod_slice(&pods::uid(1));
    let pod = Pod::run(&cri, "lst-web-0", 1, slice, Path::new("/var/log/pods"))?;
    let resources = Resources {
        cpu_period: PERIOD_US,
        cpu_quota: QUOTA_US,
        memory_limit: MEMORY,
        ..Resources::default()
    };
    let id = pod.container(&cri, "app", 3, &resources, &WORKER)?;
    let cgroup = format!("{}/cri-containerd-{id}.scope", pod.cgroup);
    let status = cri.status(&id)?;
    let name: Value = (status.metadata.context("metadata")?.name).into();
    let record = Record {
        pid: first_process(&cgroup)?,
        resolver: "cri",
        cgroup,
        keys: vec![
            ("container.id", status.id.into()),
            ("container.name", name.clone()),
            ("container.image.name", containerd::IMAGE.into()),
            ("container.runtime.name", "containerd".into()),
            ("k8s.container.name", name),
            ("k8s.namespace.name", NAMESPACE.into()),
            ("k8s.pod.name", pod.name.clone().into()),
            ("k8s.pod.uid", pod.uid.clone().into()),
        ],
        id: id.clone(),
    };
    // The pod's own container has a name of its own.
    let own = line(&listener, "the pod's own start", |line| {
        line.kind() == "container_start" && line.value["container.id"] == *pod.id
    })?;
    assert_eq!(own.value["container.name"], "POD", "{}", own.value);
    assert_eq!(own.value["k8s.pod.uid"], *pod.uid);
    assert_eq!(
        own.cgroup(),
        format!("{}/cri-containerd-{}.scope", pod.cgroup, pod.id)
    );
    follow(listener, &record, || {
        Ok(i64::from(wait_exited(&cri, &id)?.exit_code))
    })?;
    pods::remove_all(&cri)
}

#[test]
fn a_service_of_systemd() -> Result<()> {
    if !is_guest("a_service_of_systemd") {
        return Ok(());
    }
    let listener = Listener::start()?;
    let name = "lst-worker.service";
    let memory = format!("MemoryMax={MEMORY}");
    let properties = ["CPUQuota=20%", memory.as_str()];
    let command = [&["/usr/bin/busybox"], &WORKER[..]].concat();
    let unit = Unit::service(name, &properties, &command)?;
    let cgroup = unit.property("ControlGroup")?;
    assert_eq!(cgroup, format!("/system.slice/{name}"));
    let pid: i32 = unit.property("MainPID")?.parse()?;
    throttle_and_kill(&listener, &cgroup, pid)?;
    let mine = |kind: &'static str| {
        let cgroup = cgroup.clone();
        move |line: &Line| line.kind() == kind && line.cgroup() == cgroup
    };
    let kill = line(&listener, "its kill", mine("oom_kill"))?;
    assert_eq!(kill.text("oom.limit.level")?, "service");
    assert_eq!(kill.number("oom.victim.process.pid")?, pid as u64);
    let result = || Ok(Some(unit.property("Result")?).filter(|result| result == "oom-kill"));
    wait::until("systemd's word of it", PATIENCE, result)?;
    let events = listener.finish()?.cgroup(&cgroup);
    for kind in ["oom_kill", "cpu_throttle", "container_stats"] {
        assert!(!events.kind(kind).0.is_empty(), "{kind}");
    }
    for event in &events.0 {
        assert_eq!(event.value["container.name"], name, "{}", event.value);
        assert_eq!(event.text("container.runtime.name")?, "systemd");
        assert_eq!(event.text("container.resolver")?, "path");
        assert!(event.value["container.id"].is_null(), "{}", event.value);
    }
    for event in &events.kind("cpu_throttle").0 {
        assert_eq!(event.text("throttle.level")?, "service");
    }
    Ok(())
}

/// Reads more again and again than there is room for.
const THRASHING: [&str; 3] = [
    "sh",
    "-c",
    "busybox dd if=/dev/zero of=/big bs=1M count=96 && while :; do cat /big >/dev/null; done",
];

/// Containers that are started until systemd-oomd is faster than the kernel.
const TRIES: u32 = 5;

#[test]
fn oomd_of_systemd_is_named_as_the_killer() -> Result<()> {
    if !is_guest("oomd_of_systemd_is_named_as_the_killer") {
        return Ok(());
    }
    let docker = EngineApi::with_image(Path::new(DOCKER))?;
    let settings = [
        "ManagedOOMMemoryPressure=kill",
        "ManagedOOMMemoryPressureLimit=1%",
    ];
    let _slice = Unit::slice("lst.slice", &settings)?;
    let listener = Listener::start()?;
    let mut config = limits();
    config["CgroupParent"] = "lst.slice".into();
    config["CpuQuota"] = 0.into();
    let mut killed = None;
    // The kernel may be first.
    for number in 0..TRIES {
        let id = docker.run(&format!("lst-thrashing-{number}"), &config, &THRASHING)?;
        let scope = format!("/lst.slice/docker-{id}.scope");
        let record = told(&docker.inspect(&id)?, "docker", scope)?;
        let exit = line(&listener, "its end", |line| {
            line.kind() == "container_exit" && record.is_of(line)
        })?;
        record.check(&exit);
        docker.remove(&id)?;
        if exit.text("container.exit.cause")? == "killed" {
            killed = Some(exit);
            break;
        }
    }
    let exit = killed.context("systemd-oomd was never first")?;
    assert_eq!(
        exit.text("container.exit.killer.process.command")?,
        "systemd-oomd"
    );
    let oomd = fs::read_to_string(format!(
        "/proc/{}/comm",
        exit.number("container.exit.killer.process.pid")?
    ))?;
    assert_eq!(oomd.trim_end(), "systemd-oomd");
    Ok(())
}

/// A pod whose container is not started again.
fn manifest() -> String {
    let command = WORKER[2].replace('\'', "''");
    format!(
        "apiVersion: v1\n\
         kind: Pod\n\
         metadata: {{name: lst-static, namespace: {NAMESPACE}}}\n\
         spec:\n\
         \x20 hostNetwork: true\n\
         \x20 restartPolicy: Never\n\
         \x20 terminationGracePeriodSeconds: 1\n\
         \x20 containers:\n\
         \x20   - name: app\n\
         \x20     image: {}\n\
         \x20     imagePullPolicy: Never\n\
         \x20     command: [sh, -c, '{command}']\n\
         \x20     resources: {{limits: {{cpu: 200m, memory: 32Mi}}, requests: {{cpu: 100m, memory: 16Mi}}}}\n",
        containerd::IMAGE
    )
}

#[test]
fn kubelet_with_the_systemd_driver() -> Result<()> {
    if !is_guest("kubelet_with_the_systemd_driver") {
        return Ok(());
    }
    // It has no other network.
    let address = "192.0.2.1";
    let added = Command::new("busybox")
        .args([
            "ip",
            "address",
            "add",
            &format!("{address}/32"),
            "dev",
            "lo",
        ])
        .status()?;
    ensure!(added.success(), "{added}");
    drop(images_for_containerd()?);
    let kubelet = Kubelet::of_machine(Path::new(CONTAINERD), address)?;
    let listener = Listener::start()?;
    kubelet.run(&manifest())?;
    let (pod, id) = wait::until("the pod's container", PATIENCE, || {
        let pod = kubelet.pods()?.pop();
        let Some(pod) = pod else { return Ok(None) };
        let status = &pod["status"]["containerStatuses"][0];
        let id = status["containerID"].as_str();
        let id = id.and_then(|id| id.strip_prefix("containerd://"));
        let id = id.map(str::to_owned);
        Ok(id.map(|id| (pod, id)))
    })?;
    let meta = &pod["metadata"];
    let uid = meta["uid"].as_str().context("its uid")?;
    let cgroup = format!("{}/cri-containerd-{id}.scope", pod_slice(uid));
    let record = Record {
        pid: first_process(&cgroup)?,
        resolver: "cri",
        cgroup,
        keys: vec![
            ("container.id", id.clone().into()),
            ("container.name", "app".into()),
            ("container.image.name", containerd::IMAGE.into()),
            ("container.runtime.name", "containerd".into()),
            ("k8s.container.name", "app".into()),
            ("k8s.namespace.name", meta["namespace"].clone()),
            ("k8s.pod.name", meta["name"].clone()),
            ("k8s.pod.uid", meta["uid"].clone()),
        ],
        id: id.clone(),
    };
    assert_eq!(meta["name"], format!("lst-static-{NODE}"));
    let cri = Cri::connect(Path::new(CONTAINERD))?;
    follow(listener, &record, || {
        Ok(i64::from(wait_exited(&cri, &id)?.exit_code))
    })
}
