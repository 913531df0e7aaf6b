//! Context switches, CPU time and run-queue waits against /proc, cpuacct and runqlat.

use std::time::Duration;

use anyhow::{Context, Result};
use limitscope_tests::{
    agent::Agent,
    agreement, assert_within,
    cgroup::Cgroup,
    emulated,
    events::Events,
    listener::Listener,
    referee::{
        cpu_stat,
        cpu_stat::CpuStat,
        runqlat::{self, Runqlat},
        schedstat::{Counters, Snapshot},
    },
    workload::Workload,
};

/// Our sums for a cgroup beside the kernel's over its threads, which all stay alive.
struct Run {
    stats: Events,
    kernel: Counters,
    usage_ns: u64,
    throttled_ns: u64,
    threads: usize,
    /// What the first thread waited, which sleeps until the others are done.
    first_wait_ns: u64,
}

impl Run {
    /// Lets a workload run in `cgroup` while the program listens.
    fn of(listener: Listener, cgroup: &Cgroup, args: &[&str]) -> Result<Self> {
        let mut workload = Workload::start_in(cgroup, args)?;
        let before = (Snapshot::at_rest(cgroup)?, cpu_stat::usage_ns(cgroup)?);
        workload.run()?;
        let after = (Snapshot::at_rest(cgroup)?, cpu_stat::usage_ns(cgroup)?);
        // Before the workload's end, which may use up a quota too.
        let throttled_ns = CpuStat::at_rest(cgroup, Duration::from_millis(100))?.throttled_ns;
        let events = listener.finish()?;
        let kernel = after.0.since(&before.0);
        println!("{args:?}: {kernel:?}");
        let wait_of = |all: &Snapshot| all.threads.get(&workload.pid()).map_or(0, |t| t.wait_ns);
        Ok(Self {
            stats: events.kind("container_stats").cgroup(&cgroup.path()),
            kernel,
            usage_ns: after.1 - before.1,
            throttled_ns,
            threads: after.0.threads.len(),
            first_wait_ns: wait_of(&after.0) - wait_of(&before.0),
        })
    }

    fn check(&self) -> Result<()> {
        let sum = |key: &str| self.stats.sum(key);
        let (kernel, stats) = (self.kernel, &self.stats.0);
        assert!(!stats.is_empty(), "no container_stats of this cgroup");
        for (kind, kernel) in [
            ("voluntary", kernel.voluntary),
            ("involuntary", kernel.involuntary),
        ] {
            let ours = sum(&format!("sched.context_switches.{kind}"))?;
            agreement(&format!("{kind} switches"), ours as f64, kernel as f64);
        }
        assert_eq!(
            sum("sched.context_switches.voluntary")?,
            kernel.voluntary,
            "voluntary"
        );
        assert_eq!(
            sum("sched.context_switches.involuntary")?,
            kernel.involuntary,
            "involuntary"
        );
        let cpu_ns = sum("sched.cpu_time_ns")? as f64;
        assert_within("CPU time and schedstat", cpu_ns, kernel.run_ns as f64, 1.0);
        assert_within(
            "CPU time and the controller",
            cpu_ns,
            self.usage_ns as f64,
            1.0,
        );
        let wait = sum("sched.run_queue.wait_ns")? + sum("sched.run_queue.throttled_wait_ns")?;
        assert_within("run-queue wait", wait as f64, kernel.wait_ns as f64, 1.0);
        // A wait is noted at each switch-in, but for a few in which the kernel has no start time.
        let waits = sum("sched.run_queue.count")?;
        assert!(
            waits <= kernel.timeslices,
            "{waits} waits in {} slices",
            kernel.timeslices
        );
        assert!(
            waits as f64 >= kernel.timeslices as f64 * 0.999 - 2.0,
            "{waits}: {kernel:?}"
        );
        for line in stats {
            let seconds = line.number("interval_ns")? as f64 / 1e9;
            for kind in ["voluntary", "involuntary"] {
                let key = format!("sched.context_switches.{kind}");
                let rate = line.value[format!("{key}_per_second")]
                    .as_f64()
                    .unwrap_or(-1.0);
                let expected = line.number(&key)? as f64 / seconds;
                assert!(
                    (rate - expected).abs() <= expected * 0.01 + 0.01,
                    "{rate} {expected}"
                );
            }
            if line.number("sched.run_queue.count")? == 0 {
                continue;
            }
            let percentiles: Result<Vec<u64>> = ["p50_ns", "p90_ns", "p99_ns", "max_ns"]
                .iter()
                .map(|p| line.number(&format!("sched.run_queue.{p}")))
                .collect();
            assert!(percentiles?.is_sorted(), "{}", line.value);
        }
        Ok(())
    }
}

/// For how long threads spin: what costs an emulated CPU most is cut to half.
fn spin_ms() -> &'static str {
    if emulated() { "1500" } else { "3000" }
}

fn listening() -> Result<Listener> {
    Listener::start()
}

#[test]
fn threads_that_spin_and_contend() -> Result<()> {
    let cgroup = Cgroup::new("switch")?;
    let run = Run::of(
        listening()?,
        &cgroup,
        &["spin", "--threads", "4", "--ms", spin_ms()],
    )?;
    run.check()?;
    assert_eq!(run.stats.sum("sched.run_queue.throttled_wait_ns")?, 0);
    // Four threads on two CPUs: each waits half of the time, or longer.
    let spun_ns = spin_ms().parse::<u64>()? * 1_000_000;
    assert!(run.kernel.wait_ns > spun_ns * 2 / 3, "they did contend");
    let sum = |key: &str| run.stats.sum(&format!("sched.context_switches.{key}"));
    let preempted = sum("preempted_by_own")? + sum("preempted_by_others")?;
    assert_eq!(preempted, sum("involuntary")?);
    // Of the intervals at least one has nothing else than the four.
    let most = |key: &str| -> Result<Vec<u64>> {
        let mut all: Vec<u64> = (run.stats.0.iter())
            .filter(|line| !line.value[key].is_null())
            .map(|line| line.number(key))
            .collect::<Result<_>>()?;
        all.sort_unstable();
        Ok(all)
    };
    let ran = most("sched.threads_ran")?;
    assert!(ran.contains(&4) && ran.last() <= Some(&5), "{ran:?}");
    let runnable = most("sched.threads_runnable_peak")?;
    let most_runnable = runnable.last().context("never looked")?;
    assert!((4..=5).contains(most_runnable), "{runnable:?}");
    let running = most("sched.threads_running_peak")?;
    let cpus = std::thread::available_parallelism()?.get().min(4);
    assert_eq!(running.last(), Some(&(cpus as u64)), "{running:?}");
    Ok(())
}

#[test]
fn threads_that_work_and_sleep() -> Result<()> {
    // Made when the program listens already.
    let listener = listening()?;
    let cgroup = Cgroup::new("switch")?;
    let args = [
        "duty",
        "--threads",
        "3",
        "--ms",
        "1500",
        "--busy-us",
        "300",
        "--idle-us",
        "500",
    ];
    let run = Run::of(listener, &cgroup, &args)?;
    run.check()?;
    assert_eq!(run.threads, 4);
    let told = run
        .stats
        .0
        .last()
        .map(|line| line.number("sched.threads"))
        .transpose()?;
    assert_eq!(told, Some(4));
    Ok(())
}

#[test]
fn threads_and_processes_that_wake_each_other() -> Result<()> {
    for kind in ["pipe", "futex", "processes"] {
        let listener = listening()?;
        let cgroup = Cgroup::new("switch")?;
        let run = Run::of(
            listener,
            &cgroup,
            &["pingpong", "--kind", kind, "--ms", "1200"],
        )?;
        run.check()?;
        let many = if emulated() { 300 } else { 10_000 };
        assert!(run.kernel.voluntary > many, "{kind}: {:?}", run.kernel);
    }
    Ok(())
}

#[test]
fn throttled_wait_is_kept_apart() -> Result<()> {
    let cgroup = Cgroup::new("switch")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let run = Run::of(
        listening()?,
        &cgroup,
        &["spin", "--threads", "4", "--ms", spin_ms()],
    )?;
    run.check()?;
    let throttled = run.stats.sum("sched.run_queue.throttled_wait_ns")?;
    let plain = run.stats.sum("sched.run_queue.wait_ns")?;
    println!("throttled wait {throttled} ns, other wait {plain} ns");
    // Of each period of 100 ms, the four threads have 20 ms of CPU time between them.
    assert!(
        throttled > plain,
        "throttled wait {throttled} ns, other {plain} ns"
    );
    Ok(())
}

#[test]
fn one_throttled_thread_waits_for_nothing_but_its_quota() -> Result<()> {
    let cgroup = Cgroup::new("switch")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let run = Run::of(
        listening()?,
        &cgroup,
        &["spin", "--threads", "1", "--ms", "2000"],
    )?;
    run.check()?;
    // Whatever else the machine does: what the quota held back is what the kernel accounts. Up to
    // 6.11 it accounts run queues too that are throttled with nobody in them (`throttle_cfs_rq`,
    // kernel/sched/fair.c); that the thread's sleeping sibling has one takes an emulated CPU, where
    // it was up to 8.4 %. When that one wakes at the end, the same interval can hold up both.
    let throttled = run.stats.sum("sched.run_queue.throttled_wait_ns")? as f64;
    let kernel = run.throttled_ns as f64;
    agreement("throttled wait and cpu.stat", throttled, kernel);
    let twice = run.first_wait_ns as f64;
    let missing = if emulated() { 0.12 } else { 0.01 };
    let bounds = kernel * (1.0 - missing)..=kernel * 1.01 + twice;
    let summed = run.stats.sum("throttle.summed_ns")?;
    assert!(
        bounds.contains(&throttled),
        "{throttled} not in {bounds:?}; intervals {summed} ns, the first thread waited {twice} ns"
    );
    assert!(
        throttled <= run.kernel.wait_ns as f64,
        "more than all waits"
    );
    Ok(())
}

#[test]
fn two_cgroups_are_not_mixed_up() -> Result<()> {
    let listener = listening()?;
    let (busy, calm) = (Cgroup::new("switch")?, Cgroup::new("switch")?);
    let mut first = Workload::start_in(&busy, &["spin", "--threads", "2", "--ms", "1000"])?;
    let args = [
        "duty",
        "--threads",
        "2",
        "--ms",
        "1000",
        "--busy-us",
        "100",
        "--idle-us",
        "900",
    ];
    let mut second = Workload::start_in(&calm, &args)?;
    let before = [Snapshot::at_rest(&busy)?, Snapshot::at_rest(&calm)?];
    first.go()?;
    second.go()?;
    for workload in [&mut first, &mut second] {
        workload.result()?;
        workload.wait_asleep()?;
    }
    let after = [Snapshot::at_rest(&busy)?, Snapshot::at_rest(&calm)?];
    let stats = listener.finish()?.kind("container_stats");
    for (number, cgroup) in [&busy, &calm].into_iter().enumerate() {
        let (stats, kernel) = (
            stats.cgroup(&cgroup.path()),
            after[number].since(&before[number]),
        );
        assert_eq!(
            stats.sum("sched.context_switches.voluntary")?,
            kernel.voluntary
        );
        assert_eq!(
            stats.sum("sched.context_switches.involuntary")?,
            kernel.involuntary
        );
        let ours = stats.sum("sched.cpu_time_ns")?;
        assert_within("CPU time", ours as f64, kernel.run_ns as f64, 1.0);
        let ours = stats.sum("sched.run_queue.wait_ns")?;
        assert_within("run-queue wait", ours as f64, kernel.wait_ns as f64, 1.0);
    }
    Ok(())
}

#[test]
fn the_distribution_has_the_shape_that_runqlat_sees() -> Result<()> {
    // One interval, ended by the stop, so that its percentiles are those of the whole run.
    let agent = Agent::start(&["--interval", "60s"])?;
    let cgroup = Cgroup::new("switch")?;
    let args = ["spin", "--threads", "4", "--ms", spin_ms()];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let runqlat = Runqlat::start(workload.pid())?;
    workload.go()?;
    workload.result_within(Duration::from_secs(30))?;
    let histogram = runqlat.stop()?;
    let stats = agent
        .stop()?
        .events
        .kind("container_stats")
        .cgroup(&cgroup.path());
    let line = stats.only()?;
    for (key, quantile) in [("p50_ns", 0.5), ("p99_ns", 0.99)] {
        let ours = line.number(&format!("sched.run_queue.{key}"))?;
        let theirs = runqlat::bucket_at(&histogram, quantile);
        println!(
            "{key}: ours {ours} ns, bucket {}, runqlat {theirs:?}",
            runqlat::bucket_of(ours)
        );
        let off = theirs.map(|bucket| bucket.abs_diff(runqlat::bucket_of(ours)));
        assert!(off <= Some(1), "{key} {ours} ns, runqlat: {histogram:?}");
    }
    Ok(())
}
