//! Kernel memory of the maps, as bounded by `limitscope check` and as the kernel accounts it.

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    referee::fdinfo,
    wait::PATIENCE,
};
use serde_json::{Value, json};

use crate::{
    Settings,
    figures::{Section, Table, mib},
};

/// `--max-cgroups`; none is the default.
const SIZES: [Option<&str>; 4] = [Some("256"), Some("2048"), None, Some("10000")];

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
        let limit: Vec<&str> = size.map_or(Vec::new(), |size| vec!["--max-cgroups", size]);
        let check = agent::output([&["check", "--json"], &limit[..]].concat(), PATIENCE)?;
        let check: Value = serde_json::from_slice(&check.stdout)
            .with_context(|| format!("check said {}", String::from_utf8_lossy(&check.stderr)))?;
        let memory = &check["memory"];
        let number = |key: &str| {
            memory[key]
                .as_u64()
                .with_context(|| format!("check --json has no memory.{key}"))
        };
        let bound = number("total_bytes")?;
        let cpus = number("possible_cpus")?;
        let cgroups = number("max_cgroups")?;
        let agent = Agent::start(&limit)?;
        let maps = fdinfo::maps(agent.pid())?;
        ensure!(!maps.is_empty(), "the agent holds no maps");
        let accounted: u64 = maps.iter().map(|map| map.memory).sum();
        agent.stop()?;
        table.row([
            format!(
                "{cgroups}{}",
                if size.is_none() { " (default)" } else { "" }
            ),
            cpus.to_string(),
            format!("{:.1}", mib(bound as f64)),
            format!("{:.1}", mib(accounted as f64)),
            format!("{:.1}", bound as f64 / 1024.0 / cgroups as f64),
        ]);
        all.push(json!({
            "max_cgroups": cgroups,
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
             which the kernel computes from their sizes."
                .to_owned(),
        ],
        tables: vec![table],
        json: Value::Array(all),
    })
}
