//! How wide a container is: threads that ran, threads at a time, and who preempts whom. The truth is what
//! the workload does; the kernel's counts of its threads are the referee of switches.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    events::{Events, Line},
    referee::cpu_stat::{self, CpuStat},
    workload::Workload,
};
use serde_json::Value;

/// Runs threads that compute, and returns the lines of their cgroup, with what they say of themselves.
fn spin(threads: usize, pin: &str) -> Result<(Vec<Line>, Value)> {
    let cgroup = Cgroup::new("parallel")?;
    let agent = Agent::start(&["--interval", "500ms"])?;
    let count = threads.to_string();
    let args = ["spin", "--threads", &count, "--ms", "3000", "--pin", pin];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let said = workload.run()?;
    let events: Events = agent.stop()?.events;
    let of_it = events.kind("container_stats").cgroup(&cgroup.path());
    Ok((of_it.0, said))
}

/// The lines of intervals in which nothing began or ended.
fn whole(lines: &[Line]) -> Result<&[Line]> {
    ensure!(lines.len() >= 5, "{} intervals", lines.len());
    Ok(&lines[1..lines.len() - 1])
}

fn sum(lines: &[Line], key: &str) -> Result<u64> {
    lines.iter().map(|line| line.number(key)).sum()
}

/// Who preempted it is known of every switch that it did not want, as many as the kernel counts.
fn check_preemptions(lines: &[Line], said: &Value) -> Result<(u64, u64)> {
    let own = sum(lines, "sched.context_switches.preempted_by_own")?;
    let others = sum(lines, "sched.context_switches.preempted_by_others")?;
    let all = sum(lines, "sched.context_switches.involuntary")?;
    println!("{own} by own threads, {others} by others, {all} in all");
    assert_eq!(own + others, all);
    let threads = said["threads"].as_array().context("threads")?;
    let kernel = |thread: &Value| thread["counters"]["involuntary"].as_u64();
    let counted: u64 = threads.iter().filter_map(kernel).sum();
    ensure!(counted > 0, "nothing was counted: {said}");
    // The first thread, which made the others, is in the cgroup too.
    assert!(all >= counted, "{all} of the kernel's {counted}");
    Ok((own, others))
}

#[test]
fn threads_that_share_a_cpu_are_many_and_run_one_at_a_time() -> Result<()> {
    let (lines, said) = spin(8, "together")?;
    for line in whole(&lines)? {
        assert_eq!(line.number("sched.threads_ran")?, 8, "{}", line.value);
        assert_eq!(line.number("sched.threads_running_peak")?, 1);
        assert_eq!(line.number("sched.threads_runnable_peak")?, 8);
    }
    let (own, others) = check_preemptions(&lines, &said)?;
    // How much else runs on the machine is not known.
    assert!(own > 0, "{others} by others");
    Ok(())
}

#[test]
fn threads_that_never_leave_their_cpus_have_run() -> Result<()> {
    let cpus = std::thread::available_parallelism()?.get().min(2);
    let (lines, said) = spin(cpus, "apart")?;
    for line in whole(&lines)? {
        let threads = cpus as u64;
        assert_eq!(line.number("sched.threads_ran")?, threads, "{}", line.value);
        assert_eq!(line.number("sched.threads_running_peak")?, threads);
        assert_eq!(line.number("sched.threads_runnable_peak")?, threads);
    }
    let (own, _) = check_preemptions(&lines, &said)?;
    // The one that made them may share a CPU with one of them for a moment.
    assert!(own <= 2, "{own} by own threads");
    Ok(())
}

/// Threads on CPUs of their own burn the quota as many times as fast as there are of them.
#[test]
fn a_quota_lasts_as_long_as_its_cpus_take() -> Result<()> {
    let most = std::thread::available_parallelism()?.get().min(2);
    for threads in 1..=most {
        let cgroup = Cgroup::new("burn")?;
        cgroup.set_cpu_quota(Some(40_000), 100_000)?;
        let agent = Agent::start(&["--interval", "500ms"])?;
        let count = threads.to_string();
        let args = [
            "spin",
            "--threads",
            &count,
            "--ms",
            "3000",
            "--pin",
            "apart",
        ];
        let mut workload = Workload::start_in(&cgroup, &args)?;
        cgroup.prefer()?;
        let before = (cpu_stat::usage_ns(&cgroup)?, CpuStat::of(&cgroup)?);
        workload.run()?;
        let after = CpuStat::at_rest(&cgroup, Duration::from_millis(100))?;
        let used = cpu_stat::usage_ns(&cgroup)? - before.0;
        let periods = after.throttled_periods - before.1.throttled_periods;
        let events = agent.stop()?.events;
        let lines = events.kind("container_stats").cgroup(&cgroup.path()).0;
        // Averages, each over the periods of its own line.
        let seen = sum(&burnt(&lines), "throttle.burn_periods")? as f64;
        let mean = |key: &str| -> Result<f64> {
            let of = |line: &Line| {
                let value = line.value[key].as_f64().context(key.to_owned())?;
                Ok(value * line.number("throttle.burn_periods")? as f64)
            };
            let sum: Result<f64> = burnt(&lines).iter().map(of).sum();
            Ok(sum? / seen)
        };
        // The first and the last one may not be whole.
        ensure!(seen + 2.0 >= periods as f64, "{seen} of {periods} periods");
        ensure!(seen <= periods as f64, "{seen} of {periods} periods");
        let kernel = used as f64 / periods as f64 / threads as f64;
        let lasted = mean("throttle.burn_mean_ns")?;
        // It lasts longer by the time that others take on one CPU or another, and by a slice of it
        // (`sysctl_sched_cfs_bandwidth_slice`, kernel/sched/fair.c), where one CPU has got more than
        // another and runs on alone.
        let slice = if threads > 1 { 5e6 } else { 0.0 };
        let waited = sum(&lines, "sched.run_queue.wait_ns")? as f64 / periods as f64;
        println!("{lasted} ns, {kernel} ns by the kernel, waited {waited} ns");
        ensure!(lasted >= kernel * 0.95, "shorter than it can be");
        let most = (kernel + waited) * 1.1 + slice;
        ensure!(lasted <= most, "longer than it can be");
        assert_within("CPUs", mean("throttle.burn_cpus")?, threads as f64, 5.0);
        assert_within(
            "threads",
            mean("throttle.burn_threads")?,
            threads as f64,
            5.0,
        );
        for line in burnt(&lines) {
            let least = line.number("throttle.burn_min_ns")?;
            ensure!(
                least <= line.number("throttle.burn_mean_ns")?,
                "{}",
                line.value
            );
        }
    }
    Ok(())
}

/// The lines that say how long a quota lasted.
fn burnt(lines: &[Line]) -> Vec<Line> {
    let has = |line: &&Line| !line.value["throttle.burn_periods"].is_null();
    lines.iter().filter(has).cloned().collect()
}

#[test]
fn threads_that_come_and_go_are_counted_once_each() -> Result<()> {
    let cgroup = Cgroup::new("parallel")?;
    let agent = Agent::start(&["--interval", "10s"])?;
    let args = ["spin", "--threads", "50", "--ms", "2"];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    workload.run()?;
    let events = agent.stop()?.events;
    let lines = events.kind("container_stats").cgroup(&cgroup.path());
    // The one that made them had run before it was moved here, and counts there.
    let stats = lines.only()?;
    assert_eq!(stats.number("sched.threads_ran")?, 50, "{}", stats.value);
    Ok(())
}
