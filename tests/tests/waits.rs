//! For whom threads wait: the kernel's CPU time of those who ran meanwhile is the referee.

use std::time::Duration;

use anyhow::{Context, Result};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    events::Events,
    referee::{cpu_stat, pressure},
    skip,
    workload::Workload,
};

/// What is missing to the whole wait may be this much of it.
const SUM_PERCENT: f64 = 1.0;
/// Whoever else runs on the machine takes a part that the referee does not know.
const NOISE_PERCENT: f64 = 10.0;

fn stats(events: &Events, cgroup: &Cgroup) -> Events {
    events.kind("container_stats").cgroup(&cgroup.path())
}

/// The parts of the wait are the whole, and none is counted twice.
fn check_sum(stats: &Events) -> Result<(u64, u64)> {
    let wait = stats.sum("sched.run_queue.wait_ns")?;
    let own = stats.sum("sched.run_queue.wait_own_ns")?;
    let others = stats.sum("sched.run_queue.wait_others_ns")?;
    assert!(own + others <= wait, "{own} and {others} of {wait}");
    assert_within(
        "parts of the wait",
        (own + others) as f64,
        wait as f64,
        SUM_PERCENT,
    );
    Ok((own, others))
}

#[test]
fn own_threads_are_waited_for() -> Result<()> {
    let cgroup = Cgroup::new("waits")?;
    let agent = Agent::start(&["--interval", "1s"])?;
    let args = [
        "spin",
        "--threads",
        "3",
        "--ms",
        "2000",
        "--pin",
        "together",
    ];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let before = cpu_stat::usage_ns(&cgroup)?;
    workload.run()?;
    let ran = cpu_stat::usage_ns(&cgroup)? - before;
    let events = agent.stop()?.events;
    let (own, others) = check_sum(&stats(&events, &cgroup))?;
    // While one of three runs, two wait for it.
    // All the while three want to run.
    let runnable: f64 = stats(&events, &cgroup)
        .0
        .iter()
        .map(|line| {
            let seconds = line.value["interval_ns"].as_f64().unwrap_or_default() / 1e9;
            line.value["sched.threads_runnable"]
                .as_f64()
                .unwrap_or_default()
                * seconds
        })
        .sum();
    assert_within(
        "runnable threads by time",
        runnable,
        3.0 * 2.0,
        NOISE_PERCENT,
    );
    assert_within(
        "wait for own threads",
        own as f64,
        2.0 * ran as f64,
        NOISE_PERCENT,
    );
    println!("own {own} ns, others {others} ns");
    Ok(())
}

#[test]
fn a_neighbour_is_waited_for_and_named() -> Result<()> {
    let (victim, noisy) = (Cgroup::new("waits")?, Cgroup::new("noisy")?);
    let agent = Agent::start(&["--interval", "1s"])?;
    let args = [
        "spin",
        "--threads",
        "1",
        "--ms",
        "3000",
        "--pin",
        "together",
    ];
    let mut one = Workload::start_in(&victim, &args)?;
    let mut two = Workload::start_in(&noisy, &args)?;
    let before = cpu_stat::usage_ns(&noisy)?;
    one.go()?;
    two.go()?;
    one.result_within(Duration::from_mins(1))?;
    two.result_within(Duration::from_mins(1))?;
    let ran = cpu_stat::usage_ns(&noisy)? - before;
    let events = agent.stop()?.events;
    let stats = stats(&events, &victim);
    let (own, others) = check_sum(&stats)?;
    println!("own {own} ns, others {others} ns, the neighbour ran {ran} ns");
    assert!(own < others / 10, "it has no second thread that runs");
    let mut told = 0;
    for line in &stats.0 {
        let neighbours = line.value["sched.run_queue.neighbours"].as_array();
        for neighbour in neighbours.into_iter().flatten() {
            if neighbour["process.linux.cgroup"] == noisy.path() {
                told += neighbour["wait_ns"].as_u64().context("its wait_ns")?;
            }
        }
    }
    assert_within(
        "wait for the neighbour",
        told as f64,
        ran as f64,
        NOISE_PERCENT,
    );
    assert!(told <= others);
    Ok(())
}

/// A single thread that waits is a cgroup under pressure, which the kernel counts by another way.
#[test]
fn the_wait_of_one_thread_is_its_cgroups_pressure() -> Result<()> {
    let (victim, noisy) = (Cgroup::new("waits")?, Cgroup::new("noisy")?);
    let Some(before) = pressure::cpu_some_ns(&victim)? else {
        let reason = "this kernel has no cpu.pressure of a cgroup";
        skip("the_wait_of_one_thread_is_its_cgroups_pressure", reason);
        return Ok(());
    };
    let agent = Agent::start(&["--interval", "1s"])?;
    let args = ["spin", "--threads", "1", "--pin", "together", "--ms"];
    let mut one = Workload::start_in(&victim, &[&args[..], &["3000"]].concat())?;
    let mut two = Workload::start_in(&noisy, &[&args[..], &["3000"]].concat())?;
    two.go()?;
    one.go()?;
    one.result_within(Duration::from_mins(1))?;
    let pressed = pressure::cpu_some_ns(&victim)?.context("it was there")? - before;
    let events = agent.stop()?.events;
    let waited = stats(&events, &victim).sum("sched.run_queue.wait_ns")?;
    println!("waited {waited} ns, under pressure {pressed} ns");
    assert_within("wait", waited as f64, pressed as f64, SUM_PERCENT);
    Ok(())
}

#[test]
fn its_own_limit_is_no_ancestors() -> Result<()> {
    let cgroup = Cgroup::new("waits")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let agent = Agent::start(&["--interval", "1s"])?;
    Workload::start_in(&cgroup, &["spin", "--threads", "2", "--ms", "2000"])?.run()?;
    let events = agent.stop()?.events;
    let stats = stats(&events, &cgroup);
    assert!(stats.sum("sched.run_queue.throttled_wait_ns")? > 0);
    assert_eq!(stats.sum("sched.run_queue.throttled_wait_ancestor_ns")?, 0);
    Ok(())
}

#[test]
fn an_ancestors_limit_is_told_as_such() -> Result<()> {
    let parent = Cgroup::new("waits")?;
    let child = parent.child("inner")?;
    parent.set_cpu_quota(Some(20_000), 100_000)?;
    let agent = Agent::start(&["--interval", "1s"])?;
    Workload::start_in(&child, &["spin", "--threads", "1", "--ms", "2000"])?.run()?;
    let events = agent.stop()?.events;
    let stats = stats(&events, &child);
    let all = stats.sum("sched.run_queue.throttled_wait_ns")?;
    let ancestor = stats.sum("sched.run_queue.throttled_wait_ancestor_ns")?;
    assert!(all > 0, "never throttled");
    assert_within(
        "wait by the ancestor's limit",
        ancestor as f64,
        all as f64,
        1.0,
    );
    Ok(())
}
