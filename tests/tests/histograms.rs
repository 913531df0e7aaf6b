//! Histograms: their counts against the kernel's, their percentiles against the raw values.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use limitscope_tests::{
    agent::Agent,
    cgroup::Cgroup,
    histogram::merged,
    referee::schedstat::{Counters, Snapshot},
    workload::Workload,
};

/// Whether `ours` is `exact` within the stated precision of the in-kernel buckets.
fn close(ours: u64, exact: u64) -> bool {
    ours.abs_diff(exact) <= (exact / 32).max(32) + 1
}

#[test]
fn a_log_holds_every_wait_and_slice() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("run.hlog");
    let agent = Agent::start(&[
        "--interval",
        "500ms",
        "--hlog",
        log.to_str().context("a path in UTF-8")?,
    ])?;
    let cgroup = Cgroup::new("hlog")?;
    let args = [
        "duty",
        "--threads",
        "3",
        "--ms",
        "1500",
        "--busy-us",
        "300",
        "--idle-us",
        "300",
    ];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let before = Snapshot::at_rest(&cgroup)?;
    workload.run()?;
    let kernel: Counters = Snapshot::at_rest(&cgroup)?.since(&before);
    let stats = agent
        .stop()?
        .events
        .kind("container_stats")
        .cgroup(&cgroup.path());
    let name = cgroup.path().trim_start_matches('/').to_owned();

    let waits = merged(&log, &name, "run_queue_wait")?;
    assert_eq!(waits.len(), stats.sum("sched.run_queue.count")?);
    assert!(waits.len() <= kernel.timeslices);
    assert!(
        waits.len() as f64 >= kernel.timeslices as f64 * 0.999 - 2.0,
        "{kernel:?}"
    );
    assert!(
        close(waits.max(), stats.max("sched.run_queue.max_ns")?),
        "{waits:?}"
    );

    let slices = merged(&log, &name, "on_cpu_slice")?;
    assert_eq!(
        slices.len(),
        kernel.voluntary + kernel.involuntary,
        "{kernel:?}"
    );
    let sum: f64 = slices
        .iter_recorded()
        .map(|v| v.value_iterated_to() as f64 * v.count_since_last_iteration() as f64)
        .sum();
    let off = (sum - kernel.run_ns as f64).abs() / kernel.run_ns as f64;
    assert!(off <= 1.0 / 32.0, "slices add up to {sum} ns, {kernel:?}");
    Ok(())
}

#[test]
fn throttled_intervals_are_in_the_log() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("run.hlog");
    let path = log.to_str().context("a path in UTF-8")?;
    let agent = Agent::start(&[
        "--interval",
        "500ms",
        "--throttle-min",
        "0ns",
        "--hlog",
        path,
    ])?;
    let cgroup = Cgroup::new("hlog")?;
    cgroup.set_cpu_quota(Some(10_000), 50_000)?;
    let mut workload = Workload::start_in(&cgroup, &["spin", "--threads", "2", "--ms", "1000"])?;
    workload.run()?;
    let events = agent.stop()?.events.cgroup(&cgroup.path());
    let name = cgroup.path().trim_start_matches('/').to_owned();
    let intervals = merged(&log, &name, "throttled_interval")?;
    let told = events.kind("cpu_throttle");
    assert!(told.0.len() >= 15, "{}", told.0.len());
    assert_eq!(intervals.len(), told.0.len() as u64);
    assert!(
        close(intervals.max(), told.max("throttle.duration_ns")?),
        "{intervals:?}"
    );
    assert!(!merged(&log, &name, "frozen_time")?.is_empty());
    Ok(())
}

#[test]
fn percentiles_are_those_of_the_raw_values() -> Result<()> {
    // One interval, ended by the stop.
    let agent = Agent::start(&["--interval", "60s"])?;
    let (cgroup, noise) = (Cgroup::new("record")?, Cgroup::new("noise")?);
    let mut noisy = Workload::start_in(&noise, &["spin", "--threads", "3", "--ms", "4000"])?;
    let mut recorder =
        Workload::start_in(&cgroup, &["record", "--ms", "3500", "--idle-us", "300"])?;
    noisy.go()?;
    let result = recorder.run()?;
    noisy.result()?;
    let stats = agent
        .stop()?
        .events
        .kind("container_stats")
        .cgroup(&cgroup.path());
    let line = stats.only()?;

    let waits = result["threads"][0]["own"]["waits_ns"]
        .as_array()
        .context("waits")?;
    let mut waits: Vec<u64> = waits.iter().filter_map(serde_json::Value::as_u64).collect();
    waits.sort_unstable();
    let count = line.number("sched.run_queue.count")?;
    // Waits whose value the recorder could not tell: they may be anywhere.
    let unknown = count
        .checked_sub(waits.len() as u64)
        .context("fewer than were recorded")?;
    println!("{} waits known, {unknown} not", waits.len());
    assert!(
        unknown * 20 <= count,
        "{unknown} of {count} waits are not known"
    );

    let mut raw = Histogram::<u64>::new(3)?;
    for &wait in &waits {
        raw.record(wait.max(1))?;
    }
    for (key, quantile) in [("p50_ns", 0.5), ("p90_ns", 0.9), ("p99_ns", 0.99)] {
        let ours = line.number(&format!("sched.run_queue.{key}"))?;
        let rank = (quantile * count as f64).ceil() as u64;
        let value_at = |rank: u64| {
            let share = rank as f64 / waits.len() as f64;
            if rank == 0 {
                0
            } else {
                raw.value_at_quantile(share.min(1.0))
            }
        };
        let lowest = value_at(rank.saturating_sub(unknown));
        let highest = value_at(rank);
        println!("{key}: ours {ours} ns, raw values {lowest} to {highest} ns");
        let above = ours >= lowest || close(ours, lowest);
        let below = ours <= highest || close(ours, highest) || rank > waits.len() as u64;
        assert!(
            above && below,
            "{key} {ours} ns, raw values {lowest} to {highest} ns"
        );
    }
    let largest = waits.last().copied().context("no wait")?;
    let ours = line.number("sched.run_queue.max_ns")?;
    assert!(
        ours >= largest || close(ours, largest),
        "max {ours} ns, recorded {largest} ns"
    );
    Ok(())
}
