//! Kernel memory of the maps, as bounded by `limitscope check` and as the kernel accounts it.

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    wait::PATIENCE,
};
use serde_json::{Value, json};

use crate::{
    Settings, bpf,
    figures::{Section, Table, mib},
};

/// `--max-cgroups`
const SIZES: [&str; 3] = ["256", "2048", "10000"];

/// Measures.
pub fn measure(_settings: &Settings) -> Result<Section> {
    let mut table = Table::new([
        "--max-cgroups",
        "CPUs",
        "bound, MiB",
        "accounted, MiB",
        "bound by cgroup, KiB",
    ]);
    let mut all = Vec::new();
    for size in SIZES {
        let check = agent::output(["check", "--json", "--max-cgroups", size], PATIENCE)?;
        let check: Value = serde_json::from_slice(&check.stdout)
            .with_context(|| format!("check said {}", String::from_utf8_lossy(&check.stderr)))?;
        let memory = &check["memory"];
        let bound = memory["total_bytes"]
            .as_u64()
            .context("check --json has no memory.total_bytes")?;
        let cpus = memory["possible_cpus"]
            .as_u64()
            .context("check --json has no memory.possible_cpus")?;
        let agent = Agent::start(&["--max-cgroups", size])?;
        let maps = bpf::maps_of(agent.pid())?;
        ensure!(!maps.is_empty(), "the agent holds no maps");
        let accounted: u64 = maps.iter().map(|map| map.memory).sum();
        agent.stop()?;
        table.row([
            size.to_owned(),
            cpus.to_string(),
            format!("{:.1}", mib(bound as f64)),
            format!("{:.1}", mib(accounted as f64)),
            format!("{:.1}", bound as f64 / 1024.0 / size.parse::<f64>()?),
        ]);
        all.push(json!({
            "max_cgroups": size.parse::<u64>()?,
            "possible_cpus": cpus,
            "bound_bytes": bound,
            "accounted_bytes": accounted,
        }));
    }
    Ok(Section {
        key: "kernel_memory",
        title: "Kernel memory",
        notes: vec![
            "Bound: what `limitscope check --max-cgroups N` says that the maps take at most. \
             Accounted: the sum of `memlock` of the running agent's maps (/proc/PID/fdinfo), \
             which the kernel computes from their sizes. The default is 2,048 cgroups."
                .to_owned(),
        ],
        tables: vec![table],
        json: Value::Array(all),
    })
}
