//! Containers that live for moments, ten at a time: every line about them has the right name, and the
//! agent does not grow with them.
//!
//! `LIMITSCOPE_CHURN` is how many; the usual number is small enough for every run.

use std::{
    collections::{HashMap, VecDeque},
    env, fs,
    ops::Range,
    path::Path,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use limitscope_tests::{
    agent::Agent,
    containerd::{Containerd, NAMESPACE, Pod},
    cri::{ContainerStatus, Resources},
    events::{Events, Line},
    sockets::NOWHERE,
};

const USUAL: usize = 60;
const AT_ONCE: usize = 10;
/// Containers of a pod that have ended and are still there: a kubelet keeps some, too.
const KEPT: usize = 5;
const MIB: u64 = 1 << 20;
/// What the agent may grow by after the first fifth, whatever their number: the index keeps who is
/// gone for minutes, some hundred bytes for each.
const MOST_GROWTH: u64 = 6 * MIB;
/// The last container's end is told by then.
const PATIENCE: Duration = Duration::from_mins(1);

/// What forces an event out of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Force {
    Oom,
    Throttling,
}

/// What containerd said of a container at its end.
struct Record {
    name: String,
    pod: usize,
    force: Force,
    status: ContainerStatus,
}

#[test]
fn containers_that_live_for_moments_have_their_names() -> Result<()> {
    let count = match env::var("LIMITSCOPE_CHURN") {
        Ok(count) => count.parse().context("LIMITSCOPE_CHURN is no number")?,
        Err(_) => USUAL,
    };
    let mut containerd = Containerd::start()?;
    let mut pods = Vec::new();
    for number in 0..AT_ONCE {
        pods.push(containerd.pod(&format!("lst-churn-{number}"), 100 + number as u32)?);
    }
    let agent = agent(&containerd.socket())?;
    let first = count / 5;
    let mut records = run(&containerd, &pods, 0..first)?;
    let before = resident(&agent)?;
    records.extend(run(&containerd, &pods, first..count)?);
    for id in records.keys() {
        let ended = |line: &Line| line.kind() == "container_exit" && is_of(line, id);
        agent.wait_for_within(&format!("the end of {id}"), PATIENCE, ended)?;
    }
    let after = resident(&agent)?;
    let events = agent.stop()?.events;
    println!(
        "{count} containers: {} to {} MiB resident",
        before / MIB,
        after / MIB
    );
    let all = check(&events, &records, &pods)?;
    let last = events.kind("agent").0.pop().context("no agent event")?;
    let lines = last.number("agent.names.lines")?;
    let unnamed = last.number("agent.names.unnamed")?;
    println!(
        "{all} lines of them, {lines} of containers; {unnamed} without a name ({:.2} %), {} completed",
        unnamed as f64 / lines as f64 * 100.0,
        last.number("agent.names.completed")?,
    );
    ensure!(
        after <= before + MOST_GROWTH,
        "the agent grew from {before} to {after} bytes"
    );
    Ok(())
}

fn agent(socket: &Path) -> Result<Agent> {
    let socket = socket.to_str().context("a path in UTF-8")?;
    Agent::start(&[
        "--interval",
        "500ms",
        "--throttle-min",
        "0ns",
        "--docker-socket",
        NOWHERE,
        "--podman-socket",
        NOWHERE,
        "--cri-socket",
        socket,
    ])
}

fn is_of(line: &Line, id: &str) -> bool {
    line.value["container.id"] == id
}

/// Runs containers of these numbers, one in each pod at a time.
fn run(
    containerd: &Containerd,
    pods: &[Pod],
    numbers: Range<usize>,
) -> Result<HashMap<String, Record>> {
    thread::scope(|scope| {
        let worker = |pod: usize| {
            let mut numbers = numbers
                .clone()
                .filter(move |number| number % AT_ONCE == pod);
            scope.spawn(move || {
                let (mut records, mut ended) = (Vec::new(), VecDeque::new());
                for number in numbers.by_ref() {
                    let (id, record) = one(containerd, &pods[pod], pod, number)?;
                    ended.push_back(id.clone());
                    if ended.len() > KEPT
                        && let Some(oldest) = ended.pop_front()
                    {
                        containerd.remove(&oldest)?;
                    }
                    records.push((id, record));
                }
                anyhow::Ok(records)
            })
        };
        let workers: Vec<_> = (0..AT_ONCE).map(worker).collect();
        let mut records = HashMap::new();
        for worker in workers {
            let ran = worker.join().map_err(|_| anyhow!("a worker panicked"))?;
            records.extend(ran?);
        }
        Ok(records)
    })
}

fn one(
    containerd: &Containerd,
    pod: &Pod,
    pod_number: usize,
    number: usize,
) -> Result<(String, Record)> {
    let name = format!("lst-{number}");
    // Whatever a pod's number is, both come in it.
    let force = match (number / AT_ONCE + number) % 2 {
        0 => Force::Oom,
        _ => Force::Throttling,
    };
    let id = match force {
        Force::Oom => {
            let limit = Resources {
                memory_limit: 32 << 20,
                ..Resources::default()
            };
            containerd.container(pod, &name, 0, &limit, &["tail", "-c", "90m", "/dev/zero"])
        }
        // Works until the kernel's own account says that it was held up, on a busy machine too. (Periods
        // can end throttled with nobody held up.)
        Force::Throttling => {
            let quota = Resources {
                cpu_period: 20_000,
                cpu_quota: 1_000,
                ..Resources::default()
            };
            let busy = "cd /sys/fs/cgroup; \
                        until grep -Eqs 'throttled_(time|usec) [1-9]' cpu/cpu.stat cpu.stat; do :; done; exit 3";
            containerd.container(pod, &name, 0, &quota, &["sh", "-c", busy])
        }
    }?;
    let status = containerd.wait(&id)?;
    let record = Record {
        name,
        pod: pod_number,
        force,
        status,
    };
    Ok((id, record))
}

/// Resident memory of the agent in bytes.
fn resident(agent: &Agent) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    let kib: u64 = kib.context("no VmRSS")?.trim().parse()?;
    Ok(kib * 1024)
}

/// Compares every line with containerd's record; returns how many there are.
fn check(events: &Events, records: &HashMap<String, Record>, pods: &[Pod]) -> Result<usize> {
    let mut completed: HashMap<&str, Vec<u64>> = HashMap::new();
    let names = events.kind("container_named");
    for line in &names.0 {
        let seqs = line.value["named.seqs"].as_array().context("named.seqs")?;
        let seqs = seqs.iter().filter_map(serde_json::Value::as_u64);
        completed
            .entry(line.text("container.id")?)
            .or_default()
            .extend(seqs);
    }
    let mut all = 0;
    for (id, record) in records {
        let lines = events.choose(|line| is_of(line, id));
        for line in &lines.0 {
            all += 1;
            if line.value["container.name"].is_null() {
                let seqs = completed.get(id.as_str());
                let seq = line.number("seq")?;
                ensure!(
                    seqs.is_some_and(|seqs| seqs.contains(&seq)),
                    "nothing completes {}",
                    line.value
                );
                continue;
            }
            let pod = &pods[record.pod];
            for (key, expected) in [
                ("container.name", &*record.name),
                ("k8s.container.name", &*record.name),
                ("k8s.pod.name", &*pod.name),
                ("k8s.pod.uid", &*pod.uid),
                ("k8s.namespace.name", NAMESPACE),
            ] {
                ensure!(line.text(key)? == expected, "{key} of {}", line.value);
            }
        }
        lines.kind("container_start").only()?;
        let exit = lines.kind("container_exit");
        let exit = exit.only()?;
        // It waits a second for containerd's word and no longer.
        let code = &exit.value["container.exit.code"];
        ensure!(
            code.is_null() || *code == record.status.exit_code,
            "containerd: {:?}, told: {}",
            record.status,
            exit.value
        );
        let kind = match record.force {
            Force::Oom => "oom_kill",
            Force::Throttling => "cpu_throttle",
        };
        ensure!(
            !lines.kind(kind).0.is_empty(),
            "no {kind} of {}: {:#?}",
            record.name,
            lines.0
        );
    }
    Ok(all)
}
