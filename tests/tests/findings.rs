//! Findings about memory on real cgroups with real programs, each with the truth known, and what an
//! OOM kill says of the minutes before.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    events::Line,
    findings::{begun, consume, evidence, kinds, show},
    go::{self, Program},
    workload::Workload,
};

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
const MIB: u64 = 1 << 20;

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
    let told = kinds(&events, &cgroup);
    ensure!(!told.contains(&"memory_spike".to_owned()), "{told:?}");
    // It ended with its container or the run, not before.
    let ends = events
        .kind("finding")
        .cgroup(&cgroup.path())
        .with("finding.phase", "end");
    let ends = ends.with("finding.kind", "memory_leak_suspected");
    ensure!(ends.only()?.number("monotonic_ns")? >= kill.number("monotonic_ns")?);
    Ok(())
}

/// 1 MiB a second under 256 MiB, with the thresholds that there are: called within a minute, with the
/// time that is left by the kernel's own account of what is in use.
#[test]
fn a_slow_leak_is_called_within_a_minute() -> Result<()> {
    let cgroup = Cgroup::new("slow-leak")?;
    cgroup.set_memory_limit(256 * MIB)?;
    let agent = Agent::start(&["--interval", "1s"])?;
    let mut workload = Workload::start_in(&cgroup, &["anon", "--mib", "120", "--rate", "1"])?;
    let begin = Instant::now();
    workload.go()?;
    let minute = Duration::from_mins(1);
    let path = cgroup.path();
    let leak = agent.wait_for_within("the leak", minute, |line| {
        line.cgroup() == path && line.value["finding.kind"] == "memory_leak_suspected"
    })?;
    let left = (256 * MIB).saturating_sub(cgroup.memory_in_use()?);
    println!("called after {:.1} s", begin.elapsed().as_secs_f64());
    let expected = left as f64 / MIB as f64;
    let projected = evidence(&leak, "seconds_to_limit")?;
    assert_within("time to the limit", projected, expected, 20.0);
    let events = agent.stop()?.events;
    assert_eq!(kinds(&events, &cgroup), ["memory_leak_suspected"]);
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

/// What holds ends with its cgroup, once, and what the cgroup did last begins nothing.
#[test]
fn what_holds_ends_with_its_cgroup() -> Result<()> {
    let agent = Agent::start(&["--interval", "1s"])?;
    let cgroup = Cgroup::new("gone")?;
    cgroup.set_memory_limit(64 * MIB)?;
    let mut workload = Workload::start_in(&cgroup, &["anon", "--mib", "56"])?;
    workload.run()?;
    let path = cgroup.path();
    let is = |line: &Line, phase: &str| {
        line.cgroup() == path
            && line.value["finding.kind"] == "memory_near_limit"
            && line.value["finding.phase"] == phase
    };
    agent.wait_for("the finding", |line| is(line, "start"))?;
    assert!(workload.exit()?.success());
    cgroup.remove()?;
    let end = agent.wait_for("its end", |line| is(line, "end"))?;
    // What it did last is told with the interval.
    let second = Duration::from_secs(2).as_nanos() as u64;
    agent.wait_for("two intervals later", |line| {
        line.value["agent.phase"] == "interval" && line.arrived_ns > end.arrived_ns + second
    })?;
    let events = agent.stop()?.events.kind("finding").cgroup(&path);
    for phase in ["start", "end"] {
        let told = events.choose(|line| is(line, phase));
        assert_eq!(told.0.len(), 1, "{phase}: {events:?}");
    }
    assert_eq!(events.0.last().map(|line| is(line, "end")), Some(true));
    Ok(())
}

/// Most of the limit is held, and does not move; with the limit that is recommended it is over.
#[test]
fn memory_near_the_limit_is_told_and_ends() -> Result<()> {
    let cgroup = Cgroup::new("near")?;
    cgroup.set_memory_limit(64 * MIB)?;
    let mut workload = Workload::start_in(&cgroup, &["anon", "--mib", "56"])?;
    workload.run()?;
    let agent = Agent::start(&["--interval", "1s"])?;
    let is = |line: &Line, phase: &str| {
        line.cgroup() == cgroup.path()
            && line.value["finding.kind"] == "memory_near_limit"
            && line.value["finding.phase"] == phase
    };
    let found = agent.wait_for("the finding", |line| is(line, "start"))?;
    let anon = 56.0 * MIB as f64;
    assert_within(
        "memory that is held",
        evidence(&found, "memory_held_bytes")?,
        anon,
        5.0,
    );
    assert_eq!(
        evidence(&found, "memory_limit_bytes")? as u64,
        cgroup.memory_limit()?
    );
    assert_eq!(found.value["finding.evidence"]["largest_part"], "anon");
    let text = found.text("finding.recommendation")?;
    let mib = text.strip_prefix("raise the memory limit to ");
    let mib = mib.and_then(|rest| rest.split(' ').next());
    let mib: u64 = mib.with_context(|| text.to_owned())?.parse()?;
    cgroup.set_memory_limit(mib * MIB)?;
    agent.wait_for("its end", |line| is(line, "end"))?;
    let events = agent.stop()?.events;
    show(&events, &cgroup);
    assert_eq!(kinds(&events, &cgroup), ["memory_near_limit"]);
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

/// A small Go program that comes and goes beside what fills the container has nothing to do with it.
#[test]
fn a_helper_that_has_gone_is_told_nothing_of() -> Result<()> {
    let built = go::build(FOLDER, "static", &[])?;
    let cgroup = Cgroup::new("helper")?;
    cgroup.set_memory_limit(64 * MIB)?;
    let mut holder = Workload::start_in(&cgroup, &["anon", "--mib", "40"])?;
    holder.run()?;
    let helper = Program::start::<&str>(&built, &[], &[])?;
    cgroup.add(helper.pid())?;
    let agent = Agent::start(&["--interval", "500ms"])?;
    thread::sleep(Duration::from_secs(2));
    drop(helper);
    thread::sleep(Duration::from_secs(3));
    let events = agent.stop()?.events;
    assert_eq!(kinds(&events, &cgroup), [""; 0]);
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
