//! From an OOM kill to its JSON line.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};
use limitscope_tests::{agent::Agent, cgroup::Cgroup, workload::Workload};
use serde_json::{Value, json};

use crate::{
    Settings,
    figures::{Rounds, Section, Table},
    load::{Load, Means},
};

const LIMIT: u64 = 16 << 20;

/// Measures.
pub fn measure(settings: &Settings) -> Result<Section> {
    let kills = if settings.quick { 30 } else { 200 };
    let mut table = Table::new(["while", "kills", "p50, ms", "p99, ms", "max, ms"]);
    let mut object = serde_json::Map::new();
    for busy in [false, true] {
        let cgroup = Cgroup::new("bench-load")?;
        let load = if busy {
            let mut load = Load::start(Means::find(), &cgroup, u64::from(u32::MAX / 2))?;
            load.go()?;
            Some(load)
        } else {
            None
        };
        let millis = latencies(kills)?;
        drop(load);
        let name = if busy {
            "the load runs"
        } else {
            "nothing else runs"
        };
        let shown = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.3}"));
        table.row([
            name.to_owned(),
            kills.to_string(),
            shown(millis.median()),
            shown(millis.quantile(0.99)),
            shown(millis.max()),
        ]);
        object.insert(
            if busy { "loaded" } else { "idle" }.to_owned(),
            json!({
                "kills": kills,
                "p50_ms": millis.median(),
                "p99_ms": millis.quantile(0.99),
                "max_ms": millis.max(),
            }),
        );
    }
    Ok(Section {
        key: "oom_latency",
        title: "From an OOM kill to its JSON line",
        notes: vec![
            "From `monotonic_ns` of the event, which the program in the kernel took at the kill, \
             to the moment at which another process had read the line from the pipe. One victim \
             after the other, in a cgroup of its own with a limit of 16 MiB."
                .to_owned(),
        ],
        tables: vec![table],
        json: Value::Object(object),
    })
}

fn latencies(kills: usize) -> Result<Rounds> {
    let agent = Agent::start(&["--interval", "10s"])?;
    let cgroup = Cgroup::new("bench-oom")?;
    cgroup.set_memory_limit(LIMIT)?;
    let mut millis = Rounds::default();
    for _ in 0..kills {
        let mut victim = Workload::start_in(&cgroup, &["anon", "--mib", "64"])?;
        let pid = u64::from(victim.pid());
        let status = victim.run_to_death()?;
        ensure!(status.signal() == Some(9), "the victim ended with {status}");
        let line = agent
            .wait_for("the event of the kill", |line| {
                line.kind() == "oom_kill" && line.value["oom.victim.process.pid"] == pid
            })
            .context("an OOM kill")?;
        let latency = line.arrived_ns.saturating_sub(line.number("monotonic_ns")?);
        millis.add(latency as f64 / 1e6);
    }
    agent.stop()?;
    Ok(millis)
}
