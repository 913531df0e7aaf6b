//! The program is stopped for a while, as by a debugger or a frozen cgroup, and goes on.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    referee::cpu_stat::{self, CpuStat},
    wait::{self, PATIENCE},
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

/// Cgroups that are made and removed while it stands still, each with a record of its birth, its
/// removal and its release.
const FLOOD: u64 = 4_000;
/// More records than the ring of 512 KiB holds, at 100 bytes and more each.
const ROOM: u64 = (512 << 10) / 100;

fn flood(below: &Cgroup) -> Result<()> {
    let (_, parent) = below.controller_dir("cpu")?;
    for number in 0..FLOOD {
        let dir = parent.join(format!("flood-{number}"));
        fs::create_dir(&dir)?;
        fs::remove_dir(&dir)?;
    }
    Ok(())
}

#[test]
fn what_the_ring_cannot_hold_is_counted_and_the_sums_stay_right() -> Result<()> {
    let period = Duration::from_millis(50);
    let agent = Agent::start(&["--max-cgroups", "8192", "--interval", "1s"])?;
    let quota = Cgroup::new("flood")?;
    quota.set_cpu_quota(Some(1_000), 50_000)?;
    let mut spin = Workload::start_in(&quota, &["spin", "--threads", "1", "--ms", "4000"])?;
    let before = CpuStat::at_rest(&quota, period)?;
    spin.go()?;
    agent.wait_for("a throttled interval", |line| {
        line.value["throttle.cgroup"] == quota.path().as_str()
    })?;
    agent.signal(Signal::STOP)?;
    flood(&quota)?;
    // Its birth finds no room.
    let late = Cgroup::new("late")?;
    agent.signal(Signal::CONT)?;
    spin.result_within(Duration::from_mins(1))?;
    spin.wait_asleep()?;
    Workload::start_in(&late, &["duty", "--ms", "200"])?.run()?;
    let kernel = since(before, &quota, period)?;

    let finished = agent.stop_with(Signal::TERM)?;
    ensure!(finished.status.success(), "{}", finished.stderr);
    let events = finished.events;
    let last = events.kind("agent").0.pop().context("no agent event")?;
    let lost = last.number("agent.lost.ring")?;
    println!("{lost} records lost");
    assert!(lost >= 2 * FLOOD - ROOM, "{lost} are too few");
    assert!(lost <= 4 * FLOOD, "{lost} are more than there were");
    let stats = events.kind("container_stats");
    let summed = stats.cgroup(&quota.path()).sum("throttle.summed_ns")? as f64;
    let theirs = kernel.throttled_ns as f64;
    assert_within("summed time over a flood", summed, theirs, PERCENT);
    let named = stats.cgroup(&late.path()).sum("sched.cpu_time_ns")?;
    assert!(named > 0, "a cgroup whose birth was lost has no line");
    Ok(())
}

#[test]
fn counters_of_cgroups_that_came_and_went_unseen_are_given_anew() -> Result<()> {
    let parent = Cgroup::new("flood")?;
    // They are all taken by what nobody saw.
    let agent = Agent::start(&["--max-cgroups", "1000", "--interval", "500ms"])?;
    agent.signal(Signal::STOP)?;
    flood(&parent)?;
    agent.signal(Signal::CONT)?;
    wait::until("a line of a new cgroup", PATIENCE, || {
        let cgroup = Cgroup::new("after")?;
        Workload::start_in(&cgroup, &["duty", "--ms", "100"])?.run()?;
        let told = agent.wait_for_within("its line", Duration::from_millis(1_200), |line| {
            line.kind() == "container_stats" && line.cgroup() == cgroup.path()
        });
        Ok(told.ok())
    })?;
    let finished = agent.stop_with(Signal::TERM)?;
    ensure!(finished.status.success(), "{}", finished.stderr);
    let last = finished.events.0.last().context("the last line")?;
    assert!(last.number("agent.lost.ring")? > 0);
    assert!(
        last.number("agent.lost.slots")? > 0,
        "there was room for all"
    );
    Ok(())
}
