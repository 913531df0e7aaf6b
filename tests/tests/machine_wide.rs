//! What two CPUs are too few for: Go's default in each of its versions under a CPU limit, and programs
//! that burn their quota on more CPUs than it has room for. The kernel matrix runs this suite in guests
//! with four and with eight CPUs; elsewhere it does nothing but say so.

use std::{
    collections::BTreeSet,
    env,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    emulated,
    events::Events,
    findings::{begun, evidence, kinds, show},
    go::{self, Program},
    inspect::check_go,
    referee::cpu_stat::CpuStat,
    skip,
    throttled::{PERCENT, Run},
    wait::PATIENCE,
};
use rustix::process::Signal;

const PERIOD: Duration = Duration::from_millis(100);
/// The limit that most of these are about: more than Go's least, so that both can be told apart only
/// where it changes, and less than the CPUs.
const LIMIT_CPUS: u64 = 2;

/// The CPUs of this guest, which has to have as many as it was made with; none outside of guests.
fn guest(test: &str) -> Result<Option<u64>> {
    if !emulated() {
        skip(
            test,
            "takes four CPUs and more; run `cargo xtask test --vm`, which has guests for it",
        );
        return Ok(None);
    }
    let wanted = env::var("LIMITSCOPE_GUEST_CPUS").context("LIMITSCOPE_GUEST_CPUS is not set")?;
    let wanted: u64 = wanted.parse()?;
    let cpus = thread::available_parallelism()?.get() as u64;
    ensure!(cpus == wanted && cpus >= 4, "{cpus} CPUs of {wanted}");
    Ok(Some(cpus))
}

/// A cgroup with a CPU limit.
fn limited(label: &str, cpus: f64) -> Result<Cgroup> {
    let cgroup = Cgroup::new(label)?;
    limit(&cgroup, cpus)?;
    Ok(cgroup)
}

fn limit(cgroup: &Cgroup, cpus: f64) -> Result<()> {
    let period_us = PERIOD.as_micros() as u64;
    cgroup.set_cpu_quota(Some((cpus * period_us as f64) as u64), period_us)
}

/// The same program with and without symbols, by each compiler.
fn forms(form: &str, stripped: &str) -> Result<Vec<(String, PathBuf)>> {
    Ok([go::prebuilt(form)?, go::prebuilt(stripped)?].concat())
}

fn older() -> Result<Vec<(String, PathBuf)>> {
    forms("static", "stripped")
}

fn newer() -> Result<Vec<(String, PathBuf)>> {
    forms("limits", "limits-stripped")
}

/// What the program prints has to be this, and what is told of it has to be the same.
fn check(name: &str, program: &Program, procs: u64) -> Result<()> {
    println!("{name}: {}", program.said);
    assert_eq!(program.said["gomaxprocs"], procs, "{name}");
    check_go(program, true).with_context(|| name.to_owned())
}

#[test]
fn an_older_default_is_every_cpu() -> Result<()> {
    let Some(cpus) = guest("an_older_default_is_every_cpu")? else {
        return Ok(());
    };
    let cgroup = limited("older", LIMIT_CPUS as f64)?;
    for (name, built) in older()? {
        check(&name, &Program::start_in(&cgroup, &built, &[])?, cpus)?;
        // Three of them, as `taskset` chooses.
        let arguments = ["7".as_ref(), built.as_os_str()];
        let program = Program::start("/bin/taskset".as_ref(), &arguments, &[])?;
        check(&format!("{name}, on three CPUs"), &program, 3)?;
    }
    Ok(())
}

/// Has the program do a little until it prints this: Go looks at its limit about once a second while it
/// does something.
fn follows(program: &mut Program, procs: u64) -> Result<Duration> {
    let begin = Instant::now();
    while program.said["gomaxprocs"] != procs {
        let passed = begin.elapsed();
        ensure!(
            passed < PATIENCE,
            "{procs} are not followed: {}",
            program.said
        );
        program.ask("compute 1 100")?;
    }
    Ok(begin.elapsed())
}

#[test]
fn a_newer_default_follows_the_limit() -> Result<()> {
    let Some(cpus) = guest("a_newer_default_follows_the_limit")? else {
        return Ok(());
    };
    let cgroup = limited("newer", LIMIT_CPUS as f64)?;
    for (name, built) in newer()? {
        limit(&cgroup, LIMIT_CPUS as f64)?;
        let mut program = Program::start_in(&cgroup, &built, &[])?;
        check(&name, &program, LIMIT_CPUS)?;
        // Half a CPU has room for none, and two are the least.
        for (cpus, procs) in [(3.0, 3), (0.5, 2), (2.1, 3)] {
            limit(&cgroup, cpus)?;
            let passed = follows(&mut program, procs)?;
            println!("{name}: {procs} at {cpus} CPUs after {passed:?}");
            check(&name, &program, procs)?;
        }
        cgroup.set_cpu_quota(None, 100_000)?;
        follows(&mut program, cpus)?;
        check(&name, &program, cpus)?;
    }
    Ok(())
}

/// Go reads the limit of its own cgroup and none above it (runtime/cgroup_linux.go): the pod's does not
/// count for it, whatever the version.
#[test]
fn a_limit_above_is_not_followed_by_go() -> Result<()> {
    let Some(cpus) = guest("a_limit_above_is_not_followed_by_go")? else {
        return Ok(());
    };
    let pod = limited("pod", LIMIT_CPUS as f64)?;
    let container = pod.child("container")?;
    for (name, built) in [newer()?, older()?].concat() {
        let program = Program::start_in(&container, &built, &[])?;
        check(&format!("{name}, in a pod"), &program, cpus)?;
    }
    // An estimate follows the same rule, there and where the limit is its own.
    for (form, procs) in [("limits-stripped", LIMIT_CPUS), ("stripped", cpus)] {
        let built = go::without(&oldest(form)?, &go::TELLING)?;
        for (cgroup, procs) in [
            (&container, cpus),
            (&limited("own", LIMIT_CPUS as f64)?, procs),
        ] {
            let program = Program::start_in(cgroup, &built, &[])?;
            assert_eq!(program.said["gomaxprocs"], procs, "{form}");
            check_go(&program, false).with_context(|| form.to_owned())?;
        }
    }
    Ok(())
}

/// A program of Go that computes with as many goroutines as there are CPUs, and its cgroup.
struct Computing {
    cgroup: Cgroup,
    program: Program,
    /// What the kernel had counted before it was watched, and then what it counted meanwhile.
    kernel: CpuStat,
}

/// How long it is watched: several intervals of the program under test.
const WATCHED: Duration = Duration::from_secs(5);
/// How long it computes before. At first a thread of Go's runtime wants to sleep for 20 µs at a time,
/// which are over before an emulated CPU has put it to sleep, so that it uses a part of the quota.
const BEFORE: Duration = Duration::from_secs(2);

impl Computing {
    /// Starts it, and stops it when it has begun to compute.
    fn start(label: &str, form: &str, variables: &[(&str, &str)], goroutines: u64) -> Result<Self> {
        let cgroup = limited(label, LIMIT_CPUS as f64)?;
        cgroup.prefer()?;
        let mut program = Program::start_in(&cgroup, &oldest(form)?, variables)?;
        program.tell(&format!("compute {goroutines} 600000"))?;
        thread::sleep(BEFORE);
        program.signal(Signal::STOP)?;
        let kernel = CpuStat::at_rest(&cgroup, PERIOD)?;
        println!("{label}: {}", program.said);
        Ok(Self {
            cgroup,
            program,
            kernel,
        })
    }

    /// Lets it go on for a while.
    fn watch(&mut self) -> Result<()> {
        self.program.signal(Signal::CONT)?;
        thread::sleep(WATCHED);
        self.program.signal(Signal::STOP)?;
        let now = CpuStat::at_rest(&self.cgroup, PERIOD)?;
        self.kernel = now.since(&self.kernel);
        println!("{:?}", self.kernel);
        Ok(())
    }

    /// Shows it, compares throttled time with the kernel's, and returns it, with the frozen time; both
    /// in ns.
    fn throttled(&self, events: &Events) -> Result<(u64, u64)> {
        show(events, &self.cgroup);
        let stats = events.kind("container_stats").cgroup(&self.cgroup.path());
        let summed = stats.sum("throttle.summed_ns")?;
        let kernel = self.kernel.throttled_ns;
        assert_within("throttle.summed_ns", summed as f64, kernel as f64, PERCENT);
        Ok((summed, stats.sum("throttle.frozen_ns")?))
    }
}

/// A form of the program by the oldest compiler that gives it.
fn oldest(form: &str) -> Result<PathBuf> {
    let (_, built) = go::prebuilt(form)?.swap_remove(0);
    Ok(built)
}

/// By its default an older Go is too wide, by what is recommended it is not; and a newer one is not by
/// its own default.
#[test]
fn a_default_that_is_too_wide_is_found() -> Result<()> {
    let Some(cpus) = guest("a_default_that_is_too_wide_is_found")? else {
        return Ok(());
    };
    let fitting = LIMIT_CPUS.to_string();
    let mut before = Computing::start("before", "stripped", &[], cpus)?;
    let fits = [("GOMAXPROCS", &*fitting)];
    let mut after = Computing::start("after", "stripped", &fits, cpus)?;
    let mut newer = Computing::start("newer", "limits-stripped", &[], cpus)?;
    let agent = Agent::start(&["--interval", "1s"])?;
    for computing in [&mut before, &mut after, &mut newer] {
        computing.watch()?;
    }
    let events = agent.stop()?.events;

    let (summed, frozen) = before.throttled(&events)?;
    let (summed_after, frozen_after) = after.throttled(&events)?;
    let (summed_newer, frozen_newer) = newer.throttled(&events)?;
    let ms = |ns: u64| ns / 1_000_000;
    println!(
        "{cpus} CPUs, by the default: throttled {} ms, frozen {} ms; as recommended: {} ms, {} ms; \
         by a newer Go's default: {} ms, {} ms",
        ms(summed),
        ms(frozen),
        ms(summed_after),
        ms(frozen_after),
        ms(summed_newer),
        ms(frozen_newer),
    );
    assert_eq!(before.program.said["gomaxprocs"], cpus);
    assert_eq!(kinds(&events, &before.cgroup), ["cpu_oversubscription"]);
    let found = begun(&events, &before.cgroup);
    let found = found.only()?;
    assert_eq!(found.text("finding.confidence")?, "high");
    assert_eq!(found.value["finding.evidence"]["basis"], "runtime_variable");
    assert_eq!(evidence(found, "threads_at_once")? as u64, cpus);
    let recommended = evidence(found, "recommended_threads")? as u64;
    assert_eq!(recommended, LIMIT_CPUS, "{}", found.value);
    let text = found.text("finding.recommendation")?;
    ensure!(text.starts_with("set GOMAXPROCS=2 in"), "{text}");

    for (narrow, summed_there) in [(&after, summed_after), (&newer, summed_newer)] {
        assert_eq!(narrow.program.said["gomaxprocs"], LIMIT_CPUS);
        assert_eq!(kinds(&events, &narrow.cgroup), [""; 0]);
        println!(
            "throttled time is {:.0} times less",
            summed as f64 / summed_there.max(1) as f64
        );
        ensure!(
            summed_there * 10 < summed,
            "{summed} ns, then {summed_there} ns"
        );
    }
    Ok(())
}

/// Time that the quota lasts from a period's start: the more CPUs burn it, the less.
#[test]
fn a_quota_is_burnt_by_all_cpus_at_once() -> Result<()> {
    let Some(cpus) = guest("a_quota_is_burnt_by_all_cpus_at_once")? else {
        return Ok(());
    };
    let cgroup = limited("burnt", LIMIT_CPUS as f64)?;
    cgroup.prefer()?;
    let run = Run::of(&[&cgroup], PERIOD, u32::try_from(cpus)?, 3_600, || Ok(()))?;
    let kernel = run.kernel[0];
    run.check_level(&cgroup, &kernel)?;
    let stats = run.check_stats(&[&cgroup])?;
    let events = run.events.kind("cpu_throttle").cgroup(&cgroup.path());
    let on = events.0.iter().map(|event| event.number("throttle.cpu"));
    let on: BTreeSet<u64> = on.collect::<Result<_>>()?;
    assert_eq!(on.len() as u64, cpus, "CPUs that burnt it");
    // In the first period its start is not known to everybody.
    let known = events.choose(|event| event.value["throttle.burn_ns"].is_u64());
    let (each, all) = (known.0.len(), events.0.len());
    ensure!(
        each + cpus as usize >= all,
        "known of {each} intervals of {all}"
    );
    let burnt = known.sum("throttle.burn_ns")? as f64 / each as f64;
    let period = PERIOD.as_nanos() as f64;
    // What is left of a period when it is throttled no more, by the kernel's sum.
    let by_kernel = period - kernel.throttled_ns as f64 / all as f64;
    let by_quota = period * LIMIT_CPUS as f64 / cpus as f64;
    println!(
        "the quota lasts {:.2} ms on {cpus} CPUs, by the kernel's account {:.2} ms, by the quota {:.2} \
         ms; {all} intervals in {} periods",
        burnt / 1e6,
        by_kernel / 1e6,
        by_quota / 1e6,
        kernel.throttled_periods
    );
    // A refill that comes late is in the one and not in the other.
    assert_within("time that the quota lasts", burnt, by_kernel, 10.0);
    // The kernel hands quota out in parts of 5 ms, and looks every 4 ms.
    assert_within("time that the quota lasts", burnt, by_quota, 20.0);
    // Missing where nobody ran.
    let stats = stats.choose(|line| line.value["sched.threads_running_peak"].is_u64());
    let peak = stats.max("sched.threads_running_peak")?;
    assert_eq!(peak, cpus, "threads at a time");
    Ok(())
}
