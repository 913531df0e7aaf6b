//! A program on a disk that does not answer: nothing but the look into it waits.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    cgroup::Cgroup,
    events::Line,
    findings::{kinds, show},
    wait::PATIENCE,
    workload::{self, Workload},
};
use rustix::process::{Pid, Signal, kill_process};

/// Stops and continues a process that serves a disk.
fn signal(disk: &Workload, signal: Signal) -> Result<()> {
    let pid = i32::try_from(disk.pid()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("a process id")?, signal).context("signalling the disk")
}

#[test]
fn a_disk_that_does_not_answer_holds_up_nothing_else() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = folder.path().display().to_string();
    let program = workload::binary()?.display().to_string();
    let mut disk = Workload::start(&["disk", "--at", &at, "--program", &program])?;
    disk.run()?;

    let (stuck, other) = (Cgroup::new("stuck")?, Cgroup::new("stuck")?);
    for cgroup in [&stuck, &other] {
        cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    }
    let on_disk = format!("/proc/{}/root{at}/program", disk.pid());
    let args = ["spin", "--threads", "1", "--ms", "60000"];
    let mut workload = Workload::start_as(on_disk.as_ref(), &args)?;
    stuck.add(workload.pid())?;
    workload.go()?;
    let mut beside = Workload::start_in(&other, &args)?;
    beside.go()?;
    // By now everything is in memory that it needs to go on.
    thread::sleep(Duration::from_secs(1));
    signal(&disk, Signal::STOP)?;

    let agent = Agent::start(&["--interval", "1s"])?;
    let awaited = |line: &Line| line.value["agent.findings.looks_awaited"].as_u64();
    agent.wait_for("a look that hangs", |line| awaited(line) >= Some(1))?;
    // Nobody else is looked into meanwhile; everything that needs no look goes on.
    let from = agent.heard();
    agent.wait_from(from, "throttling meanwhile", PATIENCE, |line| {
        line.kind() == "cpu_throttle" && line.cgroup() == other.path()
    })?;
    for interval in 0..3 {
        let from = agent.heard();
        let what = format!("interval {interval} of a hanging look");
        let line = agent.wait_from(from, &what, PATIENCE, |line| {
            line.value["agent.phase"] == "interval"
        })?;
        ensure!(awaited(&line) >= Some(1), "{}", line.value);
    }
    // After a while it is given up, and others are looked into.
    let patience = 2 * PATIENCE;
    agent.wait_for_within("the finding of another", patience, |line| {
        line.cgroup() == other.path() && line.value["finding.kind"] == "cpu_limit_too_low"
    })?;
    let known = kinds(&agent.events(), &stuck);
    ensure!(
        !known.iter().any(|kind| kind.starts_with("cpu_")),
        "{known:?}: nobody knows its threads"
    );

    // It answers again, and what it had to do with is found.
    signal(&disk, Signal::CONT)?;
    agent.wait_for("the finding", |line| {
        line.cgroup() == stuck.path() && line.value["finding.kind"] == "cpu_limit_too_low"
    })?;
    // With a look at hand that will not end it ends all the same.
    signal(&disk, Signal::STOP)?;
    let from = agent.heard();
    agent.wait_from(from, "another look that hangs", PATIENCE, |line| {
        line.value["agent.phase"] == "interval" && awaited(line) >= Some(1)
    })?;
    let events = agent.stop()?.events;
    show(&events, &stuck);
    signal(&disk, Signal::CONT)?;
    Ok(())
}
