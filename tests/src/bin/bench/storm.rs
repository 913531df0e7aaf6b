//! As many throttled intervals as the kernel makes here, and what becomes of them.

use std::{thread, time::Duration};

use anyhow::Result;
use limitscope_tests::{cgroup::Cgroup, referee::cpu_stat::CpuStat, workload::Workload};
use serde_json::json;

use crate::{
    Settings,
    counted::Counted,
    figures::{Rounds, SPREAD, Section, Table},
    machine,
};

/// Cgroups with a quota.
const CGROUPS: usize = 16;
/// Their quota, the smallest that the kernel takes (`min_cfs_quota_period`,
/// `kernel/sched/core.c`), and a period in which all of them can use it up.
const QUOTA_US: u64 = 1000;
const PERIOD_US: u64 = 10_000;

/// Measures.
pub fn measure(settings: &Settings) -> Result<Section> {
    let seconds = if settings.quick { 2.0 } else { 5.0 };
    let mut lines = Rounds::default();
    let mut kernel = Rounds::default();
    let mut cpu = Rounds::default();
    let (mut ring, mut other) = (0, 0);
    let threads = (2 * machine::cpus()).to_string();
    for _ in 0..settings.long_rounds() {
        let cgroups: Vec<Cgroup> = (0..CGROUPS)
            .map(|_| Cgroup::new("bench-storm"))
            .collect::<Result<_>>()?;
        let mut busy = Vec::new();
        for cgroup in &cgroups {
            cgroup.set_cpu_quota(Some(QUOTA_US), PERIOD_US)?;
            let args = [
                "duty",
                "--busy-us",
                "50",
                "--idle-us",
                "10",
                "--ms",
                "3600000",
                "--threads",
                &threads,
            ];
            busy.push(Workload::start_in(cgroup, &args)?);
        }
        let throttled = || -> Result<u64> {
            cgroups
                .iter()
                .map(|cgroup| Ok(CpuStat::of(cgroup)?.throttled_periods))
                .sum()
        };
        let agent = Counted::start(None, None)?;
        for workload in &mut busy {
            workload.go()?;
        }
        let (before, own) = (throttled()?, machine::cpu_seconds(agent.pid())?);
        let clock = std::time::Instant::now();
        thread::sleep(Duration::from_secs_f64(seconds));
        let elapsed = clock.elapsed().as_secs_f64();
        kernel.add((throttled()? - before) as f64 / elapsed);
        cpu.add((machine::cpu_seconds(agent.pid())? - own) / elapsed * 100.0);
        drop(busy);
        let heard = agent.stop()?;
        lines.add(heard.throttles as f64 / elapsed);
        ring += heard.lost("ring")?;
        other += heard.lost("undecodable")? + heard.lost("sink")?;
    }
    let mut table = Table::new([
        format!("lines a second: {SPREAD}"),
        "throttled periods a second, by the kernel".to_owned(),
        "agent's CPU, % of one core".to_owned(),
        "lost in the ring".to_owned(),
        "lost later".to_owned(),
    ]);
    table.row([
        lines.shown(0),
        kernel.shown(0),
        cpu.shown(1),
        ring.to_string(),
        other.to_string(),
    ]);
    Ok(Section {
        key: "throttle_storm",
        title: "A storm of throttling",
        notes: vec![format!(
            "Real events of the kernel: {CGROUPS} cgroups with a quota of {QUOTA_US} µs for each \
             {PERIOD_US} µs, in each {threads} threads that work and sleep in turn, \
             `--throttle-min 0ns`. A line is one throttled interval of one CPU; a period of the \
             kernel's count can have one on each CPU. More cannot be had here: every interval takes \
             a quota that is used up. The agent shares the CPUs with these threads, and nothing \
             gives it precedence."
        )],
        tables: vec![table],
        json: json!({
            "cgroups": CGROUPS,
            "lines_per_second": lines.json(),
            "throttled_periods_per_second": kernel.json(),
            "agent_cpu_percent": cpu.json(),
            "lost_ring": ring,
            "lost_later": other,
        }),
    })
}
