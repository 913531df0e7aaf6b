//! What was found in a cgroup, and the programs that give reason to it.

use std::{path::Path, thread, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    agent::Agent,
    cgroup::Cgroup,
    events::{Events, Line},
    go::{self, Program},
    workload::Workload,
};

/// Long enough for several intervals of the program under test.
pub const WATCHED: Duration = Duration::from_secs(6);

/// The findings that began in a cgroup.
pub fn begun(events: &Events, cgroup: &Cgroup) -> Events {
    let findings = events.kind("finding").cgroup(&cgroup.path());
    findings.with("finding.phase", "start")
}

/// Their kinds, each once.
pub fn kinds(events: &Events, cgroup: &Cgroup) -> Vec<String> {
    let lines = begun(events, cgroup).0;
    let kind = |line: &Line| line.value["finding.kind"].as_str().map(str::to_owned);
    let mut kinds: Vec<String> = lines.iter().filter_map(kind).collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// A number of a finding's evidence.
pub fn evidence(line: &Line, name: &str) -> Result<f64> {
    line.value["finding.evidence"][name]
        .as_f64()
        .with_context(|| format!("no {name} in {}", line.value))
}

/// Shows what happened in a cgroup, for those who look at a test that failed.
pub fn show(events: &Events, cgroup: &Cgroup) {
    for line in events.kind("container_stats").cgroup(&cgroup.path()).0 {
        let of = |key: &str| line.value[key].as_u64().unwrap_or_default();
        println!(
            "used {} ms of {} ms, {} of {} periods throttled, frozen {} ms, waited {} ms, {} ms of \
             it for others",
            of("sched.cpu_time_ns") / 1_000_000,
            of("interval_ns") / 1_000_000,
            of("throttle.throttled_periods"),
            of("throttle.periods"),
            of("throttle.frozen_ns") / 1_000_000,
            of("sched.run_queue.wait_ns") / 1_000_000,
            of("sched.run_queue.wait_others_ns") / 1_000_000,
        );
    }
    for line in begun(events, cgroup).0 {
        let of = |key: &str| line.value[key].as_str().unwrap_or_default().to_owned();
        let (kind, summary) = (of("finding.kind"), of("finding.summary"));
        println!("{kind}: {summary}\n  {}", of("finding.recommendation"));
    }
}

/// Has a Go program, built by [`go::build`], do its work in `cgroup` before everybody else, and tells
/// what was found and what the program said of itself.
pub fn compute(
    folder: &str,
    cgroup: &Cgroup,
    variables: &[(&str, &str)],
    work: &str,
) -> Result<(Events, Value)> {
    compute_with(
        &go::build(folder, "static", &[])?,
        cgroup,
        variables,
        &[work],
    )
}

/// The same of a program that is built already and gets several orders, the last of which is its work.
pub fn compute_with(
    built: &Path,
    cgroup: &Cgroup,
    variables: &[(&str, &str)],
    orders: &[&str],
) -> Result<(Events, Value)> {
    let (work, before) = orders.split_last().context("no work")?;
    let mut program = Program::start::<&str>(built, &[], variables)?;
    for order in before {
        program.ask(order)?;
    }
    watch(program, cgroup, work)
}

/// The same of a program that runs.
pub fn watch(mut program: Program, cgroup: &Cgroup, work: &str) -> Result<(Events, Value)> {
    let said = program.said.clone();
    cgroup.add(program.pid())?;
    let agent = Agent::start(&["--interval", "1s"])?;
    cgroup.prefer()?;
    program.tell(work)?;
    thread::sleep(WATCHED);
    let events = agent.stop()?.events;
    println!("{said}");
    show(&events, cgroup);
    Ok((events, said))
}

/// Watches a workload that uses memory under a limit until it is killed, or has done its work.
pub fn consume(cgroup: &Cgroup, workload: &[&str], more: &[&str]) -> Result<Events> {
    let mut workload = Workload::start_in(cgroup, workload)?;
    let agent = Agent::start(&[&["--interval", "1s"], more].concat())?;
    // A time before, so that there is something to compare with.
    thread::sleep(Duration::from_secs(3));
    workload.go()?;
    workload.result_within(Duration::from_secs(90)).ok();
    // The kill, or the last interval, is told by then.
    thread::sleep(Duration::from_secs(2));
    let events = agent.stop()?.events;
    show(&events, cgroup);
    Ok(events)
}
