//! Throttled time and periods against cpu.stat, quotas against what was set.

use std::{thread, time::Duration};

use anyhow::Result;
use limitscope_tests::{
    agent::Agent, assert_within, cgroup::Cgroup, emulated, listener::Listener,
    referee::cpu_stat::CpuStat, throttled::Run, workload::Workload,
};

/// Frozen time begins when the program at the switch has found that nothing runs any more, the
/// kernel's clock of the interval a little before the switch. An emulated CPU takes 1 to 4 ms for it,
/// of intervals of 75 ms: 1.7 to 5.1 % were seen.
const EMULATED_FROZEN: f64 = 10.0;
const MS_100: Duration = Duration::from_millis(100);

#[test]
fn one_thread() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let run = Run::of(&[&cgroup], MS_100, 1, 6_800, || Ok(()))?;
    run.check_level(&cgroup, &run.kernel[0])?;
    run.check_quota(&cgroup, 20_000, 100_000)?;
    let stats = run.check_stats(&[&cgroup])?;
    let events = run.events.kind("cpu_throttle").cgroup(&cgroup.path());
    assert_eq!(stats.sum("throttle.intervals")?, events.0.len() as u64);
    // With a single runnable thread the container stands still exactly while it is throttled.
    let (frozen, summed) = (
        stats.sum("throttle.frozen_ns")?,
        stats.sum("throttle.summed_ns")?,
    );
    assert_within(
        "frozen time of one thread",
        frozen as f64,
        summed as f64,
        if emulated() { EMULATED_FROZEN } else { 2.0 },
    );
    Ok(())
}

#[test]
fn many_threads() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let run = Run::of(&[&cgroup], MS_100, 4, 3_600, || Ok(()))?;
    run.check_level(&cgroup, &run.kernel[0])?;
    run.check_quota(&cgroup, 20_000, 100_000)?;
    let stats = run.check_stats(&[&cgroup])?;
    let events = run.events.kind("cpu_throttle").cgroup(&cgroup.path());
    assert_eq!(stats.sum("throttle.intervals")?, events.0.len() as u64);
    assert!(
        events.max("throttle.threads")? >= 2,
        "two threads on a CPU are held up together"
    );
    let (frozen, summed) = (
        stats.sum("throttle.frozen_ns")?,
        stats.sum("throttle.summed_ns")?,
    );
    assert!(
        frozen < summed,
        "frozen {frozen} ns, summed over CPUs {summed} ns"
    );
    Ok(())
}

#[test]
fn a_short_period() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    cgroup.set_cpu_quota(Some(2_000), 10_000)?;
    let run = Run::of(&[&cgroup], Duration::from_millis(10), 4, 3_600, || Ok(()))?;
    run.check_level(&cgroup, &run.kernel[0])?;
    run.check_quota(&cgroup, 2_000, 10_000)?;
    run.check_stats(&[&cgroup])?;
    Ok(())
}

#[test]
fn under_a_throttled_parent() -> Result<()> {
    let parent = Cgroup::new("throttle")?;
    let child = parent.child("inner")?;
    parent.set_cpu_quota(Some(20_000), 100_000)?;
    let run = Run::of(&[&parent, &child], MS_100, 4, 3_600, || Ok(()))?;
    assert_eq!(run.kernel[1].throttled_ns, 0, "the child has no quota");
    run.check_level(&parent, &run.kernel[0])?;
    run.check_quota(&parent, 20_000, 100_000)?;
    run.check_stats(&[&parent, &child])?;
    let events = run.events.kind("cpu_throttle");
    // Up to 6.11 a run queue in which nobody waits is accounted too.
    let of_parent = events.with("throttle.cgroup", &parent.path());
    let of_parent = of_parent.choose(|line| line.value["throttle.threads"] != 0);
    // Up to 6.17 a whole group is taken off its CPU, also where none of its threads was running; then
    // nobody was seen leaving, and the quota's own cgroup is named.
    let mut seen = 0;
    for event in &of_parent.0 {
        let held = event.text("throttle.held.cgroup")?;
        assert_eq!(event.cgroup(), held);
        if held == child.path() {
            seen += 1;
        } else {
            assert_eq!(held, parent.path(), "{}", event.value);
        }
    }
    println!("{seen} of {} name who was held", of_parent.0.len());
    assert!(seen * 10 >= of_parent.0.len() * 9, "who was held up?");
    assert!(seen > 0, "nobody was held up");
    assert!(events.with("throttle.cgroup", &child.path()).0.is_empty());
    Ok(())
}

#[test]
fn under_its_own_and_its_parents_quota() -> Result<()> {
    let parent = Cgroup::new("throttle")?;
    let child = parent.child("inner")?;
    let other = parent.child("other")?;
    // On cgroup v1 a child's share may not be larger than its parent's. So that both run out, a
    // sibling without quota takes its part of the parent's.
    parent.set_cpu_quota(Some(80_000), 100_000)?;
    child.set_cpu_quota(Some(4_000), 10_000)?;
    let run = Run::beside(
        Some(&other),
        &[&parent, &child],
        MS_100,
        4,
        7_000,
        || Ok(()),
    )?;
    for (cgroup, kernel) in [&parent, &child].into_iter().zip(&run.kernel) {
        run.check_level(cgroup, kernel)?;
    }
    run.check_quota(&parent, 80_000, 100_000)?;
    run.check_quota(&child, 4_000, 10_000)
}

#[test]
fn a_quota_that_changes_while_it_holds() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    let quotas = [10_000, 15_000];
    cgroup.set_cpu_quota(Some(quotas[0]), 100_000)?;
    let run = Run::of(&[&cgroup], MS_100, 4, 5_000, || {
        let changes = if emulated() { 30 } else { 60 };
        for change in 1..=changes {
            // Not a divisor of the period: most changes hit a throttled group, at all moments of it.
            thread::sleep(Duration::from_millis(73));
            cgroup.set_cpu_quota(Some(quotas[change % 2]), 100_000)?;
        }
        Ok(())
    })?;
    run.check_level_with_late_ends(&cgroup, &run.kernel[0])?;
    let events = run
        .events
        .kind("cpu_throttle")
        .with("throttle.cgroup", &cgroup.path());
    for quota in quotas {
        let named = events.choose(|line| line.value["throttle.quota.quota_us"] == quota);
        assert!(
            !named.0.is_empty(),
            "no event names the quota of {quota} µs"
        );
    }
    Ok(())
}

#[test]
fn the_last_resort_has_the_sums_of_the_file() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let agent = Agent::start(&["--interval", "1s", "--force-source", "throttle=cpu_stat"])?;
    let mut workload = Workload::start_in(&cgroup, &["spin", "--threads", "2", "--ms", "2500"])?;
    let before = CpuStat::at_rest(&cgroup, MS_100)?;
    workload.run()?;
    let after = CpuStat::at_rest(&cgroup, MS_100)?;
    let events = agent.stop()?.events.cgroup(&cgroup.path());
    assert!(events.kind("cpu_throttle").0.is_empty(), "there are none");
    let stats = events.kind("container_stats");
    assert_eq!(
        stats.sum("throttle.summed_ns")?,
        after.throttled_ns - before.throttled_ns
    );
    assert_eq!(
        stats.sum("throttle.throttled_periods")?,
        after.throttled_periods - before.throttled_periods
    );
    assert!(after.throttled_periods - before.throttled_periods >= 10);
    for line in &stats.0 {
        assert!(line.value["throttle.frozen_ns"].is_null(), "not known");
    }
    Ok(())
}

#[test]
fn a_threshold_hides_short_intervals_but_not_their_sum() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    cgroup.set_cpu_quota(Some(5_000), 10_000)?;
    let agent = Agent::start(&["--throttle-min", "1s", "--interval", "1s"])?;
    let mut workload = Workload::start_in(&cgroup, &["spin", "--ms", "1000"])?;
    let before = CpuStat::at_rest(&cgroup, Duration::from_millis(10))?;
    workload.run()?;
    let after = CpuStat::at_rest(&cgroup, Duration::from_millis(10))?;
    let events = agent.stop()?.events.cgroup(&cgroup.path());
    assert!(events.kind("cpu_throttle").0.is_empty());
    let periods = events
        .kind("container_stats")
        .sum("throttle.throttled_periods")?;
    assert!(periods.abs_diff(after.throttled_periods - before.throttled_periods) <= 1);
    assert!(events.kind("container_stats").sum("throttle.summed_ns")? > 0);
    Ok(())
}

#[test]
fn a_quota_that_is_never_reached_is_never_told() -> Result<()> {
    let cgroup = Cgroup::new("throttle")?;
    // To the guest's kernel an emulated CPU that waits for a real one is busy: one may use up more
    // than a millisecond of ten, and two periods of 100 ms were seen in which it used up 90.
    let quota_us = if emulated() { 190_000 } else { 90_000 };
    cgroup.set_cpu_quota(Some(quota_us), 100_000)?;
    let listener = Listener::start()?;
    let args = "duty --ms 1000 --busy-us 1000 --idle-us 9000";
    let args: Vec<&str> = args.split(' ').collect();
    Workload::start_in(&cgroup, &args)?.run()?;
    assert_eq!(CpuStat::of(&cgroup)?.throttled_periods, 0);
    let events = listener.finish()?;
    assert!(
        events
            .kind("cpu_throttle")
            .cgroup(&cgroup.path())
            .0
            .is_empty()
    );
    let stats = events.kind("container_stats").cgroup(&cgroup.path());
    assert!(
        stats.sum("sched.context_switches.voluntary")? > 50,
        "it was seen"
    );
    for key in ["summed_ns", "frozen_ns", "throttled_periods"] {
        assert_eq!(stats.sum(&format!("throttle.{key}"))?, 0, "{key}");
    }
    Ok(())
}
