//! What only a machine of the tests' own can be put to: all its memory used up, a memory node used up,
//! a CPU taken away, the whole machine suspended. The kernel matrix runs this suite in its guests;
//! elsewhere it does nothing but say so.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agreement, assert_within,
    cgroup::Cgroup,
    emulated,
    listener::Listener,
    oom::{Stage, check_victim, only},
    referee::{kmsg::Report, schedstat::Snapshot},
    skip,
    throttled::Run,
    wait,
    workload::Workload,
};

/// More than is free in any guest, and less than it has: nobody gets more than that.
const ALL: &str = "540";
/// The guests' second memory node, which has 128 MiB, and more than that.
const NODE: &str = "1";
const MORE: &str = "256";

/// Whether this is a guest of the kernel matrix; says so if it is not.
fn is_guest(test: &str) -> bool {
    if !emulated() {
        skip(
            test,
            "would harm this machine; run `cargo xtask test --vm`, which has guests for it",
        );
    }
    emulated()
}

/// What the kernel's own report says ran out.
fn scope(report: &Report) -> Result<&'static str> {
    // `is_sysrq_oom` in mm/oom_kill.c.
    if report.order == -1 {
        return Ok("sysrq");
    }
    let constraint = report.pairs.get("constraint").context("no constraint")?;
    Ok(match constraint.as_str() {
        "CONSTRAINT_NONE" => "node",
        "CONSTRAINT_CPUSET" => "cpuset",
        "CONSTRAINT_MEMORY_POLICY" => "mempolicy",
        "CONSTRAINT_MEMCG" => "memory_cgroup",
        other => anyhow::bail!("the kernel says {other}"),
    })
}

/// Has a victim die of `cause`, which gets it and its cgroup, and compares what is told. Nobody else
/// may die, which is what happens to a machine without memory whose victims are looked at too closely.
fn kill(
    command: &str,
    args: &[&str],
    cause: impl FnOnce(&Cgroup, &mut Workload) -> Result<()>,
) -> Result<()> {
    let stage = Stage::set()?;
    let spared = stage.spare_us()?;
    let cgroup = Cgroup::new("machine")?;
    let args = [args, &["--comm", command]].concat();
    let mut workload = Workload::start_in(&cgroup, &args)?;
    // Whoever else is there would do as well for the kernel.
    workload.set_oom_score_adj(1000)?;
    cause(&cgroup, &mut workload)?;
    workload.wait_exit()?;
    drop(spared);
    let (events, log) = stage.finish(command, 1)?;
    let victim = log.victim(command)?;
    ensure!(log.killed.len() == 1, "others died: {:?}", log.killed);
    let line = only(&events)?;
    check_victim(line, victim)?;
    assert_eq!(line.text("process.linux.cgroup")?, cgroup.path());
    assert!(line.value["oom.limit.bytes"].is_null(), "{}", line.value);
    let report = log.report(victim.pid)?;
    let kernel = scope(report)?;
    println!("the kernel says {kernel}: {report:?}");
    // The victim's mark alone does not say what else than a memory cgroup it was.
    let expected = if line.text("oom.source")? == "tracepoint" {
        "node"
    } else {
        assert_eq!(line.signed("oom.order")?, report.order);
        kernel
    };
    assert_eq!(line.text("oom.scope")?, expected, "{}", line.value);
    Ok(())
}

#[test]
fn all_memory_of_the_machine() -> Result<()> {
    if !is_guest("all_memory_of_the_machine") {
        return Ok(());
    }
    // Whom the kernel could take too, and would panic without.
    let mut next = Vec::new();
    for _ in 0..8 {
        let workload = Workload::start(&["nothing"])?;
        workload.set_oom_score_adj(900)?;
        next.push(workload);
    }
    kill("lst-oom-all", &["anon", "--mib", ALL], |_, workload| {
        workload.go()
    })
}

#[test]
fn somebody_asks_for_a_kill() -> Result<()> {
    if !is_guest("somebody_asks_for_a_kill") {
        return Ok(());
    }
    kill("lst-oom-sysrq", &["anon", "--mib", "32"], |_, workload| {
        workload.run()?;
        fs::write("/proc/sysrq-trigger", "f").context("asking by SysRq")
    })
}

#[test]
fn the_memory_that_a_policy_allows() -> Result<()> {
    if !is_guest("the_memory_that_a_policy_allows") {
        return Ok(());
    }
    let args = ["anon", "--mib", MORE, "--memory-node", NODE];
    kill("lst-oom-policy", &args, |_, workload| workload.go())
}

#[test]
fn the_memory_that_a_cpuset_allows() -> Result<()> {
    if !is_guest("the_memory_that_a_cpuset_allows") {
        return Ok(());
    }
    let v1 = Path::new("/sys/fs/cgroup/cpuset/limitscope-test");
    let args = ["anon", "--mib", MORE];
    kill("lst-oom-cpuset", &args, |cgroup, workload| {
        if v1.parent().is_some_and(Path::is_dir) {
            fs::create_dir(v1)?;
            fs::write(v1.join("cpuset.cpus"), "0-1")?;
            fs::write(v1.join("cpuset.mems"), NODE)?;
            fs::write(v1.join("cgroup.procs"), workload.pid().to_string())?;
        } else {
            let top = "/sys/fs/cgroup/cgroup.subtree_control";
            fs::write(top, "+cpuset").context("handing cpuset down")?;
            let dir = cgroup.unified_dir().context("a cgroup of v2")?;
            fs::write(dir.join("cpuset.mems"), NODE)?;
        }
        workload.go()
    })?;
    if v1.is_dir() {
        fs::remove_dir(v1)?;
    }
    Ok(())
}

/// Takes the second CPU away and gives it back, so often.
fn unplug(times: u32) -> Result<()> {
    let online = "/sys/devices/system/cpu/cpu1/online";
    for _ in 0..times {
        for now in ["0", "1"] {
            thread::sleep(Duration::from_millis(330));
            fs::write(online, now).with_context(|| format!("{now} to {online}"))?;
        }
    }
    Ok(())
}

const MS_100: Duration = Duration::from_millis(100);

/// Four threads under a quota of a fifth of a CPU; what is told must be what the kernel accounts.
fn throttled(meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let cgroup = Cgroup::new("machine")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    let run = Run::of(&[&cgroup], MS_100, 4, 5_000, meanwhile)?;
    run.check_level(&cgroup, &run.kernel[0])?;
    run.check_stats(&[&cgroup])?;
    Ok(())
}

#[test]
fn throttling_while_a_cpu_comes_and_goes() -> Result<()> {
    if !is_guest("throttling_while_a_cpu_comes_and_goes") {
        return Ok(());
    }
    throttled(|| unplug(3))
}

#[test]
fn switches_while_a_cpu_comes_and_goes() -> Result<()> {
    if !is_guest("switches_while_a_cpu_comes_and_goes") {
        return Ok(());
    }
    let listener = Listener::start()?;
    let cgroup = Cgroup::new("machine")?;
    let args = ["spin", "--threads", "4", "--ms", "1200"];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let before = Snapshot::at_rest(&cgroup)?;
    workload.go()?;
    unplug(3)?;
    workload.result_within(Duration::from_mins(1))?;
    workload.wait_asleep()?;
    let kernel = Snapshot::at_rest(&cgroup)?.since(&before);
    let stats = listener.finish()?.kind("container_stats");
    let stats = stats.cgroup(&cgroup.path());
    for (kind, kernel) in [
        ("voluntary", kernel.voluntary),
        ("involuntary", kernel.involuntary),
    ] {
        let ours = stats.sum(&format!("sched.context_switches.{kind}"))?;
        agreement(&format!("{kind} switches"), ours as f64, kernel as f64);
        assert_eq!(ours, kernel, "{kind}");
    }
    let cpu = stats.sum("sched.cpu_time_ns")? as f64;
    assert_within("CPU time and schedstat", cpu, kernel.run_ns as f64, 1.0);
    let wait = stats.sum("sched.run_queue.wait_ns")? as f64;
    assert_within("run-queue wait", wait, kernel.wait_ns as f64, 1.0);
    Ok(())
}

/// Suspends the machine, which its clock wakes four seconds later.
fn suspend(how: &str) -> Result<()> {
    let alarm = "/sys/class/rtc/rtc0/wakealarm";
    fs::write(alarm, "+4").with_context(|| format!("setting {alarm}"))?;
    let slept = || -> Duration {
        let both = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let total = Duration::new(both.tv_sec as u64, both.tv_nsec as u32);
        total.saturating_sub(Duration::from_nanos(wait::monotonic_ns()))
    };
    let before = slept();
    fs::write("/sys/power/state", how).with_context(|| format!("suspending by {how}"))?;
    let slept = slept().saturating_sub(before);
    println!("{how}: suspended for {slept:?}");
    ensure!(slept >= Duration::from_millis(500), "it did not suspend");
    Ok(())
}

#[test]
fn throttling_over_a_suspend() -> Result<()> {
    const TEST: &str = "throttling_over_a_suspend";
    if !is_guest(TEST) {
        return Ok(());
    }
    let states = fs::read_to_string("/sys/power/state").unwrap_or_default();
    println!("ways to suspend: {states:?}");
    let Some(how) = ["mem", "freeze"].into_iter().find(|how| has(&states, how)) else {
        skip(TEST, "this kernel is built without CONFIG_SUSPEND");
        return Ok(());
    };
    throttled(|| {
        thread::sleep(Duration::from_millis(1_250));
        suspend(how)
    })
}

fn has(states: &str, how: &str) -> bool {
    states.split_whitespace().any(|state| state == how)
}
