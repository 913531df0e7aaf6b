//! The program is stopped for a while, as by a debugger or a frozen cgroup, and goes on.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    referee::cpu_stat::{self, CpuStat},
    workload::Workload,
};
use rustix::process::Signal;

/// How long it stands still.
const STOPPED: Duration = Duration::from_secs(10);
/// What is asked of sums, in percent.
const PERCENT: f64 = 1.0;

fn since(before: CpuStat, cgroup: &Cgroup, period: Duration) -> Result<CpuStat> {
    let after = CpuStat::at_rest(cgroup, period)?;
    Ok(CpuStat {
        periods: after.periods - before.periods,
        throttled_periods: after.throttled_periods - before.throttled_periods,
        throttled_ns: after.throttled_ns - before.throttled_ns,
    })
}

#[test]
fn what_happens_meanwhile_is_told_once() -> Result<()> {
    let period = Duration::from_millis(50);
    let agent = Agent::start(&["--throttle-min", "0ns", "--interval", "1s"])?;
    let quota = Cgroup::new("stopped")?;
    quota.set_cpu_quota(Some(10_000), 50_000)?;
    let memory = Cgroup::new("stopped")?;
    memory.set_memory_limit(16 << 20)?;
    let mut spin = Workload::start_in(&quota, &["spin", "--threads", "2", "--ms", "13000"])?;
    let before = CpuStat::at_rest(&quota, period)?;
    let used_before = cpu_stat::usage_ns(&quota)?;
    spin.go()?;
    agent.wait_for("a throttled interval", |line| {
        line.value["throttle.cgroup"] == quota.path().as_str()
    })?;

    agent.signal(Signal::STOP)?;
    let stopped = Instant::now();
    let lines = agent.events().0.len();
    let mut victim = Workload::start_in(&memory, &["anon", "--mib", "32"])?;
    let pid = u64::from(victim.pid());
    victim.run_to_death()?;
    thread::sleep(STOPPED.saturating_sub(stopped.elapsed()));
    // The pipe may still have held a few when it was stopped.
    ensure!(agent.events().0.len() <= lines + 50, "it was not stopped");
    let stopped = stopped.elapsed();
    agent.signal(Signal::CONT)?;

    spin.result_within(Duration::from_mins(1))?;
    spin.wait_asleep()?;
    let kernel = since(before, &quota, period)?;
    let used = cpu_stat::usage_ns(&quota)? - used_before;
    // Nothing was lost, the sequence has no gap, and every line keeps the contract.
    let events = agent.stop()?.events;

    let kills = events.choose(|line| line.value["oom.victim.process.pid"].as_u64() == Some(pid));
    assert_eq!(kills.only()?.text("oom.limit.cgroup")?, memory.path());
    let intervals = events
        .kind("cpu_throttle")
        .with("throttle.cgroup", &quota.path());
    let ours = intervals.sum("throttle.duration_ns")? as f64;
    let theirs = kernel.throttled_ns as f64;
    assert_within("throttled time over a stop", ours, theirs, PERCENT);
    let stats = events.kind("container_stats").cgroup(&quota.path());
    let summed = stats.sum("throttle.summed_ns")? as f64;
    assert_within("summed time over a stop", summed, theirs, PERCENT);
    let periods = stats.sum("throttle.throttled_periods")?;
    assert!(
        periods.abs_diff(kernel.throttled_periods) <= 1,
        "{periods} throttled periods, the kernel has {}",
        kernel.throttled_periods
    );
    let time = stats.sum("sched.cpu_time_ns")? as f64;
    assert_within("CPU time over a stop", time, used as f64, PERCENT);
    assert_eq!(
        stats.sum("throttle.intervals")?,
        intervals.0.len() as u64,
        "intervals counted and told"
    );
    // The stop is in one interval, which is as long as it was.
    let longest = stats.max("interval_ns")?;
    assert!(
        u128::from(longest) >= stopped.as_nanos() * 9 / 10,
        "{longest} ns"
    );
    Ok(())
}
