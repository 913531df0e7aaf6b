//! Findings about CPU time on real cgroups with real programs, each with the truth known.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    events::Events,
    findings::{begun, compute, evidence, kinds, show, watch},
    go::{self, Program},
    referee::cpu_stat,
    skip,
    workload::Workload,
};

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
/// The most that a cgroup can weigh, so that what else the machine does takes little of it.
const MOST_SHARES: u32 = 102_400;

/// Sixteen at one CPU: too many, with the value to set; and with that value it is gone.
#[test]
fn an_oversubscribed_program_is_told_the_right_value() -> Result<()> {
    let cgroup = Cgroup::new("oversubscribed")?;
    cgroup.set_cpu_quota(Some(100_000), 100_000)?;
    let (events, said) = compute(FOLDER, &cgroup, &[("GOMAXPROCS", "16")], "compute 16 30000")?;
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
    let (events, said) = compute(
        FOLDER,
        &cgroup,
        &[("GOMAXPROCS", &fitting)],
        "compute 16 30000",
    )?;
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
    let (events, _) = compute(FOLDER, &cgroup, &[("GOMAXPROCS", "1")], "compute 4 30000")?;
    assert_eq!(kinds(&events, &cgroup), ["cpu_limit_too_low"]);
    let found = begun(&events, &cgroup);
    let found = found.only()?;
    // One thread could use one CPU.
    let wanted = evidence(found, "recommended_cpus")?;
    ensure!((0.8..=1.0).contains(&wanted), "{}", found.value);
    Ok(())
}

/// One CPU, and a limit above that: nothing is throttled, and the threads wait for each other. The
/// other CPUs are left to the program that watches.
#[test]
fn threads_contend_without_throttling() -> Result<()> {
    let cgroup = Cgroup::new("contends")?;
    cgroup.set_cpu_quota(Some(130_000), 100_000)?;
    let built = go::build(FOLDER, "static", &[])?;
    let work = "compute 16 30000";
    let program = Program::start::<&str>(&built, &[], &[("GOMAXPROCS", "16")])?;
    program.pin()?;
    let (events, _) = watch(program, &cgroup, work)?;
    assert_eq!(kinds(&events, &cgroup), ["cpu_oversubscription"]);
    let found = begun(&events, &cgroup);
    let found = found.only()?;
    assert_eq!(evidence(found, "throttled_periods")? as u64, 0);
    // Two would fit the limit, and one is all that it may run on.
    let fitting = evidence(found, "recommended_threads")? as u64;
    assert_eq!(fitting, 1, "{}", found.value);
    let stats = events.kind("container_stats").cgroup(&cgroup.path());
    assert_eq!(stats.sum("throttle.summed_ns")?, 0);

    let variables = [("GOMAXPROCS", &*fitting.to_string())];
    let program = Program::start::<&str>(&built, &[], &variables)?;
    program.pin()?;
    let (events, _) = watch(program, &cgroup, work)?;
    assert_eq!(
        kinds(&events, &cgroup),
        [""; 0],
        "what was recommended is enough"
    );
    Ok(())
}

/// Bursts of one and a half times what a whole period allows, and less than a third of the limit on
/// average; with a burst allowance, as is recommended, it is gone.
#[test]
fn bursts_do_not_fit_their_periods() -> Result<()> {
    let cgroup = Cgroup::new("bursts")?;
    cgroup.set_cpu_quota(Some(50_000), 100_000)?;
    cgroup.prefer()?;
    let seen = || -> Result<Events> {
        let agent = Agent::start(&["--interval", "1s"])?;
        let bursts = [
            "duty",
            "--ms",
            "8000",
            "--busy-us",
            "95000",
            "--idle-us",
            "700000",
        ];
        Workload::start_in(&cgroup, &bursts)?.run()?;
        let events = agent.stop()?.events;
        show(&events, &cgroup);
        Ok(events)
    };
    let events = seen()?;
    assert_eq!(kinds(&events, &cgroup), ["cpu_limit_quota_period_mismatch"]);
    let found = begun(&events, &cgroup);
    let found = found.only()?;
    assert_eq!(evidence(found, "quota_us")? as u64, 50_000);
    ensure!(evidence(found, "cpus_used")? < 0.3, "{}", found.value);
    let text = found.text("finding.recommendation")?;
    ensure!(
        text.starts_with("allow bursts: cpu.max.burst 50000 "),
        "{text}"
    );
    if !cgroup.set_cpu_burst(50_000)? {
        skip(
            "bursts_do_not_fit_their_periods",
            "no burst allowance before Linux 5.14",
        );
        return Ok(());
    }
    assert_eq!(
        kinds(&seen()?, &cgroup),
        [""; 0],
        "what was recommended is enough"
    );
    Ok(())
}

/// What is used beyond the quota, against the kernel's account.
#[test]
fn bursts_are_told_as_the_kernel_counts_them() -> Result<()> {
    let agent = Agent::start(&["--interval", "500ms"])?;
    let cgroup = Cgroup::new("saved")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    if !cgroup.set_cpu_burst(20_000)? {
        skip(
            "bursts_are_told_as_the_kernel_counts_them",
            "no burst allowance before Linux 5.14",
        );
        return Ok(());
    }
    let bursts = [
        "duty",
        "--ms",
        "4000",
        "--busy-us",
        "30000",
        "--idle-us",
        "470000",
    ];
    let mut workload = Workload::start_in(&cgroup, &bursts)?;
    workload.run()?;
    cpu_stat::CpuStat::at_rest(&cgroup, Duration::from_millis(100))?;
    let (version, dir) = cgroup.controller_dir("cpu")?;
    let text = std::fs::read_to_string(dir.join("cpu.stat"))?;
    let kernel = match version {
        1 => cpu_stat::field(&text, "burst_time")?,
        _ => cpu_stat::field(&text, "burst_usec")? * 1000,
    };
    let periods = cpu_stat::field(&text, "nr_bursts")?;
    let events = agent.stop()?.events;
    let lines = events.kind("container_stats").cgroup(&cgroup.path());
    let told = lines.choose(|line| line.value["throttle.burst_ns"].is_u64());
    println!("{kernel} ns in {periods} periods");
    ensure!(periods >= 4, "{text}");
    assert_eq!(told.sum("throttle.burst_ns")?, kernel);
    assert_eq!(told.sum("throttle.burst_periods")?, periods);
    Ok(())
}

/// A Go program with many Ps that sleeps, beside one thread that uses the limit up: the limit is too low,
/// and nothing is too wide.
#[test]
fn an_idle_pool_is_not_what_burns() -> Result<()> {
    let cgroup = Cgroup::new("beside")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let mut spinner = Workload::start_in(&cgroup, &["spin", "--threads", "1", "--ms", "60000"])?;
    spinner.go()?;
    let wide = [("GOMAXPROCS", "16")];
    let (events, said) = compute(FOLDER, &cgroup, &wide, "block 1 30000")?;
    assert_eq!(said["gomaxprocs"], 16);
    assert_eq!(kinds(&events, &cgroup), ["cpu_limit_too_low"]);
    Ok(())
}

/// Many threads that wait are no trouble, and neither is a program that does nothing.
#[test]
fn threads_that_wait_are_no_finding() -> Result<()> {
    let cgroup = Cgroup::new("waiting")?;
    cgroup.set_cpu_quota(Some(100_000), 100_000)?;
    let (events, said) = compute(FOLDER, &cgroup, &[("GOMAXPROCS", "16")], "block 60 30000")?;
    assert_eq!(said["gomaxprocs"], 16);
    // Each thread is woken two hundred times a second: on a machine that is busy with other things it
    // waits for them, and that is told, by nobody's fault here.
    for found in begun(&events, &cgroup).0 {
        assert_eq!(found.text("finding.kind")?, "noisy_neighbour");
        ensure!(
            evidence(&found, "wait_others_ratio")? >= 0.25,
            "{}",
            found.value
        );
    }
    let stats = events.kind("container_stats").cgroup(&cgroup.path());
    ensure!(stats.max("sched.threads")? > 50, "{stats:?}");
    Ok(())
}

/// Has two cgroups compute for eight seconds with so many threads on one CPU, before everybody else,
/// the second with a part of the first one's weight.
fn side_by_side(
    first: (&Cgroup, &str),
    second: (&Cgroup, &str),
    second_weight: u32,
) -> Result<Events> {
    let args = |threads| {
        [
            "spin",
            "--threads",
            threads,
            "--ms",
            "8000",
            "--pin",
            "together",
        ]
    };
    first.0.weigh(MOST_SHARES)?;
    second.0.weigh(second_weight)?;
    let agent = Agent::start(&["--interval", "1s"])?;
    let mut one = Workload::start_in(first.0, &args(first.1))?;
    let mut two = Workload::start_in(second.0, &args(second.1))?;
    one.go()?;
    two.go()?;
    one.result_within(Duration::from_mins(1))?;
    two.result_within(Duration::from_mins(1))?;
    let events = agent.stop()?.events;
    show(&events, first.0);
    Ok(events)
}

/// Half of the CPU goes to somebody else: told with a name, without any limit; and with ten times the
/// neighbour's weight, as is recommended, it is gone.
#[test]
fn a_neighbour_that_hogs_is_named() -> Result<()> {
    let (victim, hog) = (Cgroup::new("victim")?, Cgroup::new("hog")?);
    let before = cpu_stat::usage_ns(&hog)?;
    let events = side_by_side((&victim, "1"), (&hog, "1"), MOST_SHARES)?;
    let ran = cpu_stat::usage_ns(&hog)? - before;
    assert_eq!(kinds(&events, &victim), ["noisy_neighbour"]);
    let found = begun(&events, &victim);
    let found = found.only()?;
    assert_eq!(found.text("finding.confidence")?, "high");
    assert_eq!(
        found.value["finding.evidence"]["neighbour_cgroup"],
        hog.path()
    );
    assert_within(
        "share of the wait",
        evidence(found, "wait_others_ratio")?,
        0.5,
        20.0,
    );
    ensure!(
        evidence(found, "neighbour_wait_ratio")? > 0.9,
        "{}",
        found.value
    );
    // The neighbour's CPU time as every line has it, against the kernel's.
    let mut told = 0;
    for line in events.kind("container_stats").cgroup(&victim.path()).0 {
        let neighbours = line.value["sched.run_queue.neighbours"].as_array().cloned();
        for neighbour in neighbours.into_iter().flatten() {
            if neighbour["process.linux.cgroup"] == hog.path() {
                told += neighbour["cpu_time_ns"]
                    .as_u64()
                    .context("its cpu_time_ns")?;
            }
        }
    }
    assert_within("CPU time of the neighbour", told as f64, ran as f64, 10.0);
    let text = found.text("finding.recommendation")?;
    ensure!(text.contains("cpu.shares=10240"), "{text}");

    let events = side_by_side((&victim, "1"), (&hog, "1"), MOST_SHARES / 10)?;
    assert_eq!(
        kinds(&events, &victim),
        [""; 0],
        "what was recommended is enough"
    );
    Ok(())
}

/// Threads that wait for each other have no neighbour, and neither has one that has the CPU by its
/// weight.
#[test]
fn own_threads_are_no_neighbours() -> Result<()> {
    let (many, small) = (Cgroup::new("own")?, Cgroup::new("small")?);
    let events = side_by_side((&many, "4"), (&small, "1"), MOST_SHARES / 20)?;
    assert_eq!(kinds(&events, &many), [""; 0]);
    let stats = events.kind("container_stats").cgroup(&many.path());
    ensure!(
        stats.max("sched.run_queue.wait_own_ns")? > 2_000_000_000,
        "{stats:?}"
    );
    Ok(())
}
