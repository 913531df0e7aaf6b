//! Findings on real cgroups with real programs, each with the truth known, and what an OOM kill says
//! of the minutes before.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    events::{Events, Line},
    go::{self, Program},
    workload::Workload,
};

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
const MIB: u64 = 1 << 20;
/// Long enough for several intervals of the program under test.
const WATCHED: Duration = Duration::from_secs(8);

/// The findings that began in a cgroup.
fn begun(events: &Events, cgroup: &Cgroup) -> Events {
    let findings = events.kind("finding").cgroup(&cgroup.path());
    findings.with("finding.phase", "start")
}

/// Their kinds, each once.
fn kinds(events: &Events, cgroup: &Cgroup) -> Vec<String> {
    let lines = begun(events, cgroup).0;
    let mut kinds: Vec<String> = lines
        .iter()
        .map(|line| {
            line.value["finding.kind"]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    kinds.sort();
    kinds.dedup();
    kinds
}

/// A number of a finding's evidence.
fn evidence(line: &Line, name: &str) -> Result<f64> {
    line.value["finding.evidence"][name]
        .as_f64()
        .with_context(|| format!("no {name} in {}", line.value))
}

/// Has a Go program compute in `cgroup`, and tells what was found.
fn compute(
    cgroup: &Cgroup,
    variables: &[(&str, &str)],
    work: &str,
) -> Result<(Events, serde_json::Value)> {
    let built = go::build(FOLDER, "static", &[])?;
    let mut program = Program::start::<&str>(&built, &[], variables)?;
    let said = program.said.clone();
    cgroup.add(program.pid())?;
    let agent = Agent::start(&["--interval", "1s"])?;
    cgroup.prefer()?;
    program.tell(work)?;
    thread::sleep(WATCHED);
    let events = agent.stop()?.events;
    for line in events.kind("container_stats").cgroup(&cgroup.path()).0 {
        let of = |key: &str| line.value[key].as_u64().unwrap_or_default();
        println!(
            "used {} ms of {} ms, {} of {} periods throttled, frozen {} ms, waited {} ms",
            of("sched.cpu_time_ns") / 1_000_000,
            of("interval_ns") / 1_000_000,
            of("throttle.throttled_periods"),
            of("throttle.periods"),
            of("throttle.frozen_ns") / 1_000_000,
            of("sched.run_queue.wait_ns") / 1_000_000,
        );
    }
    println!(
        "{:?}: {:?}",
        said,
        begun(&events, cgroup)
            .0
            .iter()
            .map(|line| line.value["finding.summary"].to_string())
            .collect::<Vec<_>>()
    );
    Ok((events, said))
}

/// Sixteen at one CPU: too many, with the value to set; and with that value it is gone.
#[test]
fn an_oversubscribed_program_is_told_the_right_value() -> Result<()> {
    let cgroup = Cgroup::new("oversubscribed")?;
    cgroup.set_cpu_quota(Some(100_000), 100_000)?;
    let (events, said) = compute(&cgroup, &[("GOMAXPROCS", "16")], "compute 16 30000")?;
    assert_eq!(said["gomaxprocs"], 16);
    assert_eq!(kinds(&events, &cgroup), ["cpu_oversubscription"]);
    let found = begun(&events, &cgroup);
    let found = found.only()?;
    assert_eq!(found.text("finding.confidence")?, "high");
    assert_eq!(evidence(found, "threads_at_once")? as u64, 16);
    assert_eq!(found.value["finding.evidence"]["basis"], "runtime_variable");
    let recommended = evidence(found, "recommended_threads")? as u64;
    assert_eq!(recommended, 1, "{}", found.value);
    let text = found.text("finding.recommendation")?;
    ensure!(text.starts_with("set GOMAXPROCS=1 in"), "{text}");

    let before = events.kind("container_stats").cgroup(&cgroup.path());
    let fitting = recommended.to_string();
    let (events, said) = compute(&cgroup, &[("GOMAXPROCS", &fitting)], "compute 16 30000")?;
    assert_eq!(said["gomaxprocs"], recommended);
    assert_eq!(
        kinds(&events, &cgroup),
        [""; 0],
        "what was recommended is enough"
    );
    let after = events.kind("container_stats").cgroup(&cgroup.path());
    let (before, after) = (
        before.sum("throttle.summed_ns")?,
        after.sum("throttle.summed_ns")?,
    );
    println!("throttled before {before} ns, after {after} ns");
    ensure!(
        after * 10 < before,
        "throttled: {before} ns before, {after} ns after"
    );
    Ok(())
}

/// As many as the limit has room for, and more work than that: the limit is too low.
#[test]
fn a_fitting_program_needs_a_higher_limit() -> Result<()> {
    let cgroup = Cgroup::new("fitting")?;
    cgroup.set_cpu_quota(Some(50_000), 100_000)?;
    let (events, _) = compute(&cgroup, &[("GOMAXPROCS", "1")], "compute 4 30000")?;
    assert_eq!(kinds(&events, &cgroup), ["cpu_limit_too_low"]);
    let found = begun(&events, &cgroup);
    let found = found.only()?;
    // One thread could use one CPU.
    let wanted = evidence(found, "recommended_cpus")?;
    ensure!((0.8..=1.0).contains(&wanted), "{}", found.value);
    Ok(())
}

/// The quota of the pod counts, also where the container has none.
#[test]
fn a_limit_above_counts() -> Result<()> {
    let pod = Cgroup::new("above")?;
    pod.set_cpu_quota(Some(100_000), 100_000)?;
    pod.prefer()?;
    let container = pod.child("inner")?;
    let (events, _) = compute(&container, &[("GOMAXPROCS", "16")], "compute 16 30000")?;
    assert_eq!(kinds(&events, &container), ["cpu_oversubscription"]);
    Ok(())
}

/// Many threads that wait are no trouble, and neither is a program that does nothing.
#[test]
fn threads_that_wait_are_no_finding() -> Result<()> {
    let cgroup = Cgroup::new("waiting")?;
    cgroup.set_cpu_quota(Some(100_000), 100_000)?;
    let (events, said) = compute(&cgroup, &[("GOMAXPROCS", "16")], "block 60 30000")?;
    assert_eq!(said["gomaxprocs"], 16);
    assert_eq!(kinds(&events, &cgroup), [""; 0]);
    let stats = events.kind("container_stats").cgroup(&cgroup.path());
    ensure!(stats.max("sched.threads")? > 50, "{stats:?}");
    Ok(())
}

/// Watches a workload that uses memory under a limit until it is killed, or has done its work.
fn consume(cgroup: &Cgroup, workload: &[&str], more: &[&str]) -> Result<Events> {
    let mut workload = Workload::start_in(cgroup, workload)?;
    let agent = Agent::start(&[&["--interval", "1s"], more].concat())?;
    // A time before, so that there is something to compare with.
    thread::sleep(Duration::from_secs(3));
    workload.go()?;
    workload.result_within(Duration::from_secs(90)).ok();
    // The kill, or the last interval, is told by then.
    thread::sleep(Duration::from_secs(2));
    Ok(agent.stop()?.events)
}

/// A leak is called before the kill, with the time that is left, and at the kill.
#[test]
fn a_leak_is_called_with_a_time_and_at_the_kill() -> Result<()> {
    let cgroup = Cgroup::new("leak")?;
    cgroup.set_memory_limit(96 * MIB)?;
    // The kernel brings memory.stat up to date every two seconds (FLUSH_TIME, mm/memcontrol.c), so a
    // short window says little.
    let events = consume(
        &cgroup,
        &["anon", "--mib", "160", "--rate", "2"],
        &["--threshold", "leak-window-seconds=20"],
    )?;
    let kill = events.kind("oom_kill").cgroup(&cgroup.path());
    let kill = kill.only()?;
    let leak = begun(&events, &cgroup).with("finding.kind", "memory_leak_suspected");
    let leak = leak.only()?;
    assert_eq!(leak.value["finding.evidence"]["growing_part"], "anon");
    let rate = evidence(leak, "growth_bytes_per_second")?;
    // The window can begin before the leak does.
    assert_within("growth of a leak", rate, 2.0 * MIB as f64, 20.0);
    // What was projected when it was called against when it came.
    let told = leak.number("monotonic_ns")?;
    let came = (kill.number("monotonic_ns")? - told) as f64 / 1e9;
    let projected = evidence(leak, "seconds_to_limit")?;
    println!("projected {projected} s, came after {came} s");
    assert_within("time to the limit", projected, came, 20.0);

    assert_eq!(kill.text("oom.verdict")?, "leak", "{}", kill.value);
    assert_eq!(kill.text("oom.growth.part")?, "anon");
    let rate = kill.value["oom.growth.bytes_per_second"]
        .as_f64()
        .context("a rate")?;
    assert_within("growth at the kill", rate, 2.0 * MIB as f64, 10.0);
    let largest = kill.value["oom.largest_processes"]
        .as_array()
        .context("the largest")?;
    assert_eq!(largest[0]["pid"], kill.value["oom.victim.process.pid"]);
    ensure!(largest.len() <= 5);
    // It ended with its container or the run, not before.
    let ends = events
        .kind("finding")
        .cgroup(&cgroup.path())
        .with("finding.phase", "end");
    let ends = ends.with("finding.kind", "memory_leak_suspected");
    ensure!(ends.only()?.number("monotonic_ns")? >= told);
    Ok(())
}

#[test]
fn a_spike_is_one_at_the_kill() -> Result<()> {
    let cgroup = Cgroup::new("spike")?;
    cgroup.set_memory_limit(64 * MIB)?;
    let events = consume(&cgroup, &["anon", "--mib", "128"], &[])?;
    let kill = events.kind("oom_kill").cgroup(&cgroup.path());
    let kill = kill.only()?;
    assert_eq!(kill.text("oom.verdict")?, "spike", "{}", kill.value);
    ensure!(
        kill.number("oom.growth.bytes")? > 48 * MIB,
        "{}",
        kill.value
    );
    assert!(!kinds(&events, &cgroup).contains(&"memory_leak_suspected".to_owned()));
    Ok(())
}

/// A rise that stays below the limit is a spike and no leak.
#[test]
fn a_spike_without_a_kill_is_found() -> Result<()> {
    let cgroup = Cgroup::new("rise")?;
    cgroup.set_memory_limit(128 * MIB)?;
    let events = consume(&cgroup, &["anon", "--mib", "64"], &[])?;
    assert_eq!(kinds(&events, &cgroup), ["memory_spike"]);
    Ok(())
}

#[test]
fn shared_memory_that_grows_is_named() -> Result<()> {
    let cgroup = Cgroup::new("shmem")?;
    cgroup.set_memory_limit(64 * MIB)?;
    let events = consume(
        &cgroup,
        &["shmem", "--kind", "memfd", "--mib", "40", "--rate", "2"],
        &["--threshold", "leak-window-seconds=10"],
    )?;
    let leak = begun(&events, &cgroup).with("finding.kind", "memory_leak_suspected");
    assert_eq!(
        leak.only()?.value["finding.evidence"]["growing_part"],
        "shmem"
    );
    Ok(())
}

/// A heap that is collected again and again, and a file that fills the page cache.
#[test]
fn what_is_given_back_is_no_leak() -> Result<()> {
    let saw_tooth = Cgroup::new("saw-tooth")?;
    saw_tooth.set_memory_limit(256 * MIB)?;
    let events = consume(
        &saw_tooth,
        &[
            "saw-tooth",
            "--low",
            "24",
            "--high",
            "40",
            "--rate",
            "4",
            "--times",
            "6",
        ],
        &["--threshold", "leak-window-seconds=10"],
    )?;
    assert_eq!(kinds(&events, &saw_tooth), [""; 0]);

    let cache = Cgroup::new("cache")?;
    cache.set_memory_limit(64 * MIB)?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("file").display().to_string();
    let events = consume(&cache, &["cache", "--file", &file, "--mib", "128"], &[])?;
    assert_eq!(kinds(&events, &cache), ["page_cache_not_a_leak"]);
    Ok(())
}

/// A Go program that holds half of the limit and does not know it.
#[test]
fn a_missing_gomemlimit_is_told() -> Result<()> {
    let built = go::build(FOLDER, "static", &[])?;
    for (variables, expected) in [
        (&[][..], &["gomemlimit_missing_or_above_limit"][..]),
        (&[("GOMEMLIMIT", "57MiB")][..], &[][..]),
        (
            &[("GOMEMLIMIT", "1GiB")][..],
            &["gomemlimit_missing_or_above_limit"][..],
        ),
    ] {
        let cgroup = Cgroup::new("gomemlimit")?;
        cgroup.set_memory_limit(64 * MIB)?;
        let mut program = Program::start::<&str>(&built, &[], variables)?;
        cgroup.add(program.pid())?;
        program.ask("hold 40")?;
        let agent = Agent::start(&["--interval", "1s"])?;
        program.tell("block 2 30000")?;
        thread::sleep(Duration::from_secs(5));
        let events = agent.stop()?.events;
        assert_eq!(kinds(&events, &cgroup), expected, "{variables:?}");
        for found in begun(&events, &cgroup).0 {
            let text = found.text("finding.recommendation")?;
            ensure!(text.starts_with("set GOMEMLIMIT=57MiB"), "{text}");
        }
    }
    Ok(())
}
