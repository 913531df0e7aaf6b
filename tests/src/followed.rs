//! What runs into its quota and then into its limit, followed by the lines about it.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    assert_within,
    events::{Events, Line},
    listener::Listener,
    referee::cpu_stat::CpuStat,
    wait,
};

const CGROUPS: &str = "/sys/fs/cgroup";

/// All CPUs of the guest are emulated by one of the machine's, which may have other things to do.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// Uses up its quota until it is told by SIGTERM to use up its memory, which it does in one call.
pub const WORKER: [&str; 3] = [
    "sh",
    "-c",
    "trap 'exec busybox dd if=/dev/zero of=/dev/null bs=90M' TERM; while :; do :; done",
];
/// Limit of its memory in bytes.
pub const MEMORY: i64 = 32 << 20;
/// Its quota: a fifth of a CPU.
pub const QUOTA_US: i64 = 20_000;
/// The period of that quota.
pub const PERIOD_US: i64 = 100_000;
/// Throttled time after which our figure is compared with the kernel's.
const ENOUGH_NS: u64 = 2_000_000_000;

/// What an engine says of a container, as events have it.
#[derive(Debug)]
pub struct Record {
    /// Its id.
    pub id: String,
    /// The cgroup that has the limits.
    pub cgroup: String,
    /// Every key with its value that tells whose a line is, but for the cgroup.
    pub keys: Vec<(&'static str, Value)>,
    /// By whose word it has its name.
    pub resolver: &'static str,
    /// Its first process.
    pub pid: i32,
}

impl Record {
    /// The cgroup around that of the container.
    fn pod(&self) -> Option<&str> {
        self.cgroup.rsplit_once('/').map(|(pod, _)| pod)
    }

    /// Compares a line's identity with it. What an engine leaves in the file system may be read before
    /// the engine itself has told it.
    ///
    /// # Panics
    /// When they differ.
    pub fn check(&self, line: &Line) {
        let value = &line.value;
        for (key, expected) in &self.keys {
            assert_eq!(value[key], *expected, "{key} in {value}");
        }
        let resolver = &value["container.resolver"];
        assert!(*resolver == self.resolver || resolver == "files", "{value}");
        assert!(value["container.unresolved"].is_null(), "{value}");
        assert!(self.has(line.cgroup()), "{} in {value}", self.cgroup);
    }

    /// Whether a cgroup is the container's: that with the limits, or one below it.
    fn has(&self, cgroup: &str) -> bool {
        let rest = cgroup.strip_prefix(&self.cgroup);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// Whether a line has its id.
    pub fn is_of(&self, line: &Line) -> bool {
        line.value["container.id"] == *self.id
    }

    fn name(&self) -> &Value {
        let name = self.keys.iter().find(|(key, _)| *key == "container.name");
        name.map_or(&Value::Null, |(_, name)| name)
    }

    /// Checks that no line about its cgroups has another name, and that those without are completed.
    fn check_names(&self, events: &Events) -> Result<()> {
        let mut nameless = Vec::new();
        let mut named = 0;
        for line in &events.0 {
            ensure!(
                self.is_of(line) == self.has(line.cgroup()),
                "one of id and cgroup is another container's: {}",
                line.value
            );
            if !self.is_of(line) {
                continue;
            }
            if line.value["container.name"].is_null() {
                nameless.push(line.value["seq"].clone());
            } else {
                assert_eq!(line.value["container.name"], *self.name());
                named += 1;
            }
        }
        let completed: Vec<Value> = (events.kind("container_named").0.iter())
            .filter(|line| self.is_of(line))
            .filter_map(|line| line.value["named.seqs"].as_array().cloned())
            .flatten()
            .collect();
        println!(
            "{}: {named} lines have its name, {} were completed later",
            self.name(),
            nameless.len()
        );
        assert_eq!(nameless, completed);
        Ok(())
    }
}

/// The cgroup of a process, of which this kernel has one alone.
pub fn cgroup_of(pid: i32) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let path = text.trim_end().strip_prefix("0::");
    path.map(str::to_owned)
        .with_context(|| format!("cgroup v1 is here: {text}"))
}

/// The first process of a cgroup, which is the container's.
pub fn first_process(cgroup: &str) -> Result<i32> {
    let file = format!("{CGROUPS}{cgroup}/cgroup.procs");
    let text = fs::read_to_string(&file).with_context(|| file.clone())?;
    let first = text.lines().next().with_context(|| file.clone())?;
    Ok(first.parse()?)
}

/// Waits for a line, saying so.
pub fn line(listener: &Listener, what: &str, is: impl Fn(&Line) -> bool) -> Result<Line> {
    println!("waiting for {what}");
    listener.wait_for_within(what, PATIENCE, is)
}

/// Has what runs in a cgroup use up its quota, compares the throttled time, and has it use up its
/// memory then.
pub fn throttle_and_kill(listener: &Listener, cgroup: &str, pid: i32) -> Result<()> {
    let dir = Path::new(CGROUPS).join(cgroup.trim_start_matches('/'));
    let read = || CpuStat::in_dir(2, &dir);
    wait::until("throttled time", PATIENCE, || {
        Ok((read()?.throttled_ns > ENOUGH_NS).then_some(()))
    })?;
    let pid = Pid::from_raw(pid).context("a pid")?;
    // Stopped, so that no interval is open when the kernel's figure is read.
    kill_process(pid, Signal::STOP)?;
    let rest = Duration::from_millis(400);
    let kernel = wait::until_at_rest("cpu.stat", rest, PATIENCE, read)?;
    let mut after = wait::monotonic_ns();
    for _ in 0..2 {
        let end = line(listener, "the end of an interval", |line| {
            line.value["agent.phase"] == "interval"
                && line.number("monotonic_ns").is_ok_and(|at| at > after)
        })?;
        after = end.number("monotonic_ns")?;
    }
    let events = listener.events().with("throttle.cgroup", cgroup);
    let ours = events.kind("cpu_throttle").sum("throttle.duration_ns")?;
    assert_within(
        "sum of throttled intervals",
        ours as f64,
        kernel.throttled_ns as f64,
        1.0,
    );
    kill_process(pid, Signal::CONT)?;
    kill_process(pid, Signal::TERM)?;
    Ok(())
}

/// A container from its start to its end, by the lines about it.
///
/// # Panics
/// When a line tells something else.
pub fn follow(
    listener: Listener,
    record: &Record,
    ended: impl FnOnce() -> Result<i64>,
) -> Result<()> {
    let mine = |kind: &'static str| move |line: &Line| line.kind() == kind && record.is_of(line);
    record.check(&line(&listener, "its start", mine("container_start"))?);
    throttle_and_kill(&listener, &record.cgroup, record.pid)?;
    let kill = line(&listener, "its kill", mine("oom_kill"))?;
    let exit = line(&listener, "its end", mine("container_exit"))?;
    record.check(&kill);
    assert_eq!(kill.number("oom.limit.bytes")?, MEMORY as u64);
    // A kubelet gives a pod the memory of its containers together, where the pod's own container has a bit
    // of it: the pod's limit is reached first then.
    let limited = kill.text("oom.limit.cgroup")?;
    match kill.text("oom.limit.level")? {
        "container" => assert_eq!(limited, record.cgroup),
        "pod" => assert_eq!(Some(limited), record.pod()),
        other => bail!("{other} in {}", kill.value),
    }
    assert_eq!(kill.text("oom.victim.process.command")?, "busybox");
    assert_eq!(kill.number("oom.victim.process.pid")?, record.pid as u64);
    record.check(&exit);
    assert_eq!(exit.text("container.resolver")?, record.resolver);
    let code = ended()?;
    assert_eq!(exit.value["container.exit.code"], code, "{}", exit.value);
    assert_eq!(exit.text("container.exit.cause")?, "oom_killed");
    assert_eq!(exit.value["container.exit.oom_kill_seq"], kill.value["seq"]);
    let events = listener.finish()?;
    let throttles = events.choose(mine("cpu_throttle"));
    for event in &throttles.0 {
        record.check(event);
        // A kubelet gives a pod the quota of its containers together, and crun gives what it makes below
        // a container's cgroup the same quota once more: both are used up as well then.
        let limited = event.text("throttle.cgroup")?;
        match event.text("throttle.level")? {
            "container" => assert!(record.has(limited), "{}", event.value),
            "pod" => assert_eq!(Some(limited), record.pod()),
            other => bail!("{other} in {}", event.value),
        }
    }
    // Each moment counts once, whatever is nested.
    let throttles = throttles.with("throttle.cgroup", &record.cgroup);
    assert!(!throttles.0.is_empty());
    let stats = events.choose(mine("container_stats"));
    let summed = stats.sum("throttle.summed_ns")?;
    let intervals = throttles.sum("throttle.duration_ns")?;
    assert_within(
        "throttle.summed_ns and intervals",
        summed as f64,
        intervals as f64,
        1.0,
    );
    for kind in ["container_start", "container_exit", "oom_kill"] {
        assert_eq!(events.choose(mine(kind)).0.len(), 1, "{kind}");
    }
    record.check_names(&events)
}
