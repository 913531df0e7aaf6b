//! What it takes to know ten thousand containers: memory of the index, and the time of a look-up.

use std::{fs, hint::black_box, time::Instant};

use anyhow::{Context, Result, ensure};
use limitscope::{
    identity::{
        index::{CgroupIndex, IndexConfig},
        names::Names,
    },
    model::identity::{Attribute, CgroupKey},
};
use serde_json::json;

use crate::{
    Settings,
    figures::{Rounds, SPREAD, Section, Table, mib},
};

const CONTAINERS: u64 = 10_000;
/// Containers of a pod.
const IN_POD: u64 = 2;
const LOOK_UPS: u64 = 1_000_000;
/// Where the hierarchy of the slots is one of several, as on cgroup v1, each container is in all.
const HIERARCHIES: [&[u32]; 2] = [&[1], &[1, 2, 3]];

/// Measures.
pub fn measure(settings: &Settings) -> Result<Section> {
    let mut table = Table::new([
        "containers".to_owned(),
        "hierarchies".to_owned(),
        "resident, MiB".to_owned(),
        "KiB by container".to_owned(),
        format!("look-up, ns ({SPREAD})"),
    ]);
    let mut all = Vec::new();
    for hierarchies in HIERARCHIES {
        let before = resident()?;
        let index = filled(hierarchies)?;
        let bytes = resident()?.saturating_sub(before);
        let mut rounds = Rounds::default();
        for _ in 0..settings.rounds {
            rounds.add(look_up(&index, hierarchies)?);
        }
        table.row([
            CONTAINERS.to_string(),
            hierarchies.len().to_string(),
            format!("{:.1}", mib(bytes as f64)),
            format!("{:.2}", bytes as f64 / 1024.0 / CONTAINERS as f64),
            rounds.shown(0),
        ]);
        all.push(json!({
            "containers": CONTAINERS,
            "hierarchies": hierarchies.len(),
            "resident_bytes": bytes,
            "look_up_ns": rounds.json(),
        }));
    }
    Ok(Section {
        key: "known_cgroups",
        title: "Known containers",
        notes: vec![format!(
            "The index of cgroups with {CONTAINERS} containers of Kubernetes, {IN_POD} in a pod, each \
             with names, owner, node and two labels, by a program that has nothing else in it: `VmRSS` \
             before and after. A look-up finds from a cgroup's key who it is: {LOOK_UPS} of them, in \
             an order without order. What a resolver remembers for itself is not in it."
        )],
        tables: vec![table],
        json: json!(all),
    })
}

/// Resident memory of this program in bytes, without what it has freed.
fn resident() -> Result<u64> {
    // SAFETY: glibc's own call, which takes no pointer.
    unsafe { libc::malloc_trim(0) };
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no VmRSS")?.trim().parse()?;
    Ok(kib * 1024)
}

fn pod_uid(container: u64) -> String {
    format!("6f1c0a2e-0000-4000-8000-{:012x}", container / IN_POD)
}

fn id(container: u64) -> String {
    format!("{:064x}", container + 1)
}

fn cgroup(container: u64) -> u64 {
    1_000_000 + container
}

fn filled(hierarchies: &[u32]) -> Result<CgroupIndex> {
    let mut index = CgroupIndex::new(IndexConfig::new(1));
    for container in 0..CONTAINERS {
        let pod = format!("/kubepods/burstable/pod{}", pod_uid(container));
        let path = format!("{pod}/{}", id(container));
        for &hierarchy in hierarchies {
            let pod_key = CgroupKey::new(hierarchy, 100_000 + container / IN_POD);
            index.insert(pod_key, 1, pod.as_bytes(), Some(1));
            let key = CgroupKey::new(hierarchy, cgroup(container));
            index.insert(key, pod_key.id, path.as_bytes(), Some(1));
        }
        index.apply_names(&id(container), names(container));
    }
    ensure!(index.refused() == 0, "the index refused cgroups");
    Ok(index)
}

fn names(container: u64) -> Names {
    let pod = container / IN_POD;
    let fact = |key: &str, value: String| Attribute {
        key: key.into(),
        value,
        resolver: "cri",
    };
    Names {
        container_name: Some(format!("app-{}", container % IN_POD)),
        k8s_container_name: Some(format!("app-{}", container % IN_POD)),
        image_name: Some("registry.example.com/shop/web:1.27.3".to_owned()),
        runtime_name: Some("containerd"),
        k8s_namespace: Some("shop".to_owned()),
        k8s_pod_name: Some(format!("web-5d9f7c6b8-{pod:05}")),
        k8s_pod_uid: Some(pod_uid(container)),
        restart_count: Some(0),
        resolver: Some("cri"),
        attributes: vec![
            fact("k8s.node.name", "node-17.example.com".to_owned()),
            fact("k8s.deployment.name", "web".to_owned()),
            fact("k8s.pod.label.app", "web".to_owned()),
            fact("k8s.pod.label.team", "shop".to_owned()),
        ],
        ..Names::default()
    }
}

/// Nanoseconds for a look-up.
fn look_up(index: &CgroupIndex, hierarchies: &[u32]) -> Result<f64> {
    // Knuth's generator for MMIX: no two keys that follow each other are near.
    let mut state: u64 = 42;
    let mut named = 0;
    let begin = Instant::now();
    for _ in 0..LOOK_UPS {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let container = (state >> 33) % CONTAINERS;
        let hierarchy = hierarchies[(state >> 20) as usize % hierarchies.len()];
        let key = CgroupKey::new(hierarchy, cgroup(container));
        let found = index.identity(black_box(index.owner(key)));
        named += u64::from(found.is_some_and(|who| who.container_name.is_some()));
    }
    let took = begin.elapsed();
    ensure!(
        named == LOOK_UPS,
        "{named} of {LOOK_UPS} look-ups found a name"
    );
    Ok(took.as_nanos() as f64 / LOOK_UPS as f64)
}
