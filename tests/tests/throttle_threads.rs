//! How many threads a throttled interval held up.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{agent::Agent, cgroup::Cgroup, wait, workload::Workload};
use rustix::{
    process::Pid,
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

/// Lets a CPU set be the only one of each of the threads.
fn pin(threads: &[Pid], cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    for thread in threads {
        sched_setaffinity(Some(*thread), &set)?;
    }
    Ok(())
}

/// The threads that the first one has made, once it has nothing more to do than to wait for them.
fn made_by(workload: &Workload, count: usize) -> Result<Vec<Pid>> {
    let first = workload.pid();
    wait::until("the workload's threads", wait::PATIENCE, || {
        let mut made = Vec::new();
        for task in fs::read_dir(format!("/proc/{first}/task"))? {
            let name = task?.file_name();
            let id: u32 = name.to_str().context("an id")?.parse()?;
            if id != first {
                made.push(Pid::from_raw(id.try_into()?).context("an id")?);
            }
        }
        let stat = fs::read_to_string(format!("/proc/{first}/stat"))?;
        let waits = stat
            .rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('S'));
        Ok((made.len() == count && waits).then_some(made))
    })
}

/// A thread that is taken from a CPU where it stands still to one where there is quota left, and back, is
/// parked twice while the first one's interval lasts.
#[test]
fn each_thread_that_is_held_up_counts_once() -> Result<()> {
    const THREADS: usize = 2;
    let allowed = sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..CpuSet::MAX_CPU)
        .filter(|cpu| allowed.is_set(*cpu))
        .take(2)
        .collect();
    let cgroup = Cgroup::new("throttle")?;
    let agent = Agent::start(&["--interval", "1s"])?;
    let count = THREADS.to_string();
    let args = ["spin", "--threads", &count, "--ms", "60000"];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    workload.go()?;
    let threads = made_by(&workload, THREADS)?;
    // Only now, so that the first thread is none of those that are held up.
    cgroup.set_cpu_quota(Some(1_000), 100_000)?;
    let start = Instant::now();
    let mut moves = 0;
    while start.elapsed() < Duration::from_secs(10) {
        pin(&threads, cpus[moves % cpus.len()])?;
        moves += 1;
        // So short that they are often moved while they run.
        thread::sleep(Duration::from_millis(3));
    }
    // Both stay on one CPU, and intervals become many and short.
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    thread::sleep(Duration::from_millis(500));
    let at_rest = wait::monotonic_ns();
    thread::sleep(Duration::from_secs(3));
    let events = agent.stop()?.events.kind("cpu_throttle");
    let events = events.with("throttle.cgroup", &cgroup.path());
    drop(workload);
    let (mut moved, mut resting) = ([0_u64; THREADS + 1], [0_u64; THREADS + 1]);
    for event in &events.0 {
        let held = event.number("throttle.threads")? as usize;
        ensure!(held <= THREADS, "more than there are: {}", event.value);
        let ended = event.number("monotonic_ns")?;
        let began = ended.saturating_sub(event.number("throttle.duration_ns")?);
        if began > at_rest {
            resting[held] += 1;
        } else {
            moved[held] += 1;
        }
    }
    println!("intervals of no thread, one, two: {moved:?}, then {resting:?}");
    ensure!(moved[1] + moved[2] > 0, "nobody was held up while moved");
    // One of them may just not have come to where it is held up, in the kernel or waiting for the CPU.
    ensure!(resting[2] > 0, "both are held up on one CPU");
    ensure!(resting[2] >= resting[0] + resting[1], "they are together");
    Ok(())
}
