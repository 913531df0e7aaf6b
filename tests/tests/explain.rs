//! The page of `limitscope explain`, against the kernel's files.

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent, assert_within,
    cgroup::Cgroup,
    explain::{PATIENCE, Page, nanos, numbers},
    referee::cpu_stat::CpuStat,
    workload::Workload,
};

const MIB: u64 = 1 << 20;

#[test]
fn a_throttled_cgroup_is_explained_by_the_kernels_numbers() -> Result<()> {
    let cgroup = Cgroup::new("explained")?;
    cgroup.set_cpu_quota(Some(20_000), 100_000)?;
    cgroup.set_memory_limit(64 * MIB)?;
    cgroup.prefer()?;
    let mut holds = Workload::start_in(&cgroup, &["anon", "--mib", "24"])?;
    holds.run()?;
    let busy = ["spin", "--threads", "2", "--ms", "30000"];
    let mut busy = Workload::start_in(&cgroup, &busy)?;
    busy.go()?;
    let before = CpuStat::of(&cgroup)?;
    let page = Page::of::<&str>(&cgroup.path(), &[])?;
    let after = CpuStat::of(&cgroup)?;

    assert_eq!(page.0[0], cgroup.path());
    let seen_ns = nanos(page.line("", "seen for")?)?;
    assert_eq!(
        page.line("Limits", "CPU")?,
        "0.20 CPUs: 20 ms in every 100 ms"
    );
    assert_eq!(page.line("Limits", "memory")?, "64 MiB");
    // A quota is used up, and can be exceeded by a slice of each CPU once.
    let used = numbers(page.line("What it did", "CPU time")?);
    assert_within("CPUs in use", used[0], 0.2, 15.0);
    let memory = page.line("What it did", "memory")?;
    let (dir, file) = match cgroup.controller_dir("memory")? {
        (1, dir) => (dir, "memory.usage_in_bytes"),
        (_, dir) => (dir, "memory.current"),
    };
    let current: f64 = std::fs::read_to_string(dir.join(file))?.trim().parse()?;
    let told = numbers(memory);
    ensure!(memory.contains("MiB in use"), "{memory}");
    assert_within("memory in use", told[0] * MIB as f64, current, 5.0);

    // Within the time that the page is about the kernel counted no fewer, and hardly more.
    let stood = page.line("Where its threads' time went", "stood still")?;
    let (_, periods) = stood.split_once("; ").context("periods")?;
    let [throttled, periods] = numbers(periods)[..] else {
        anyhow::bail!("{stood}")
    };
    let kernel = (
        (after.throttled_periods - before.throttled_periods) as f64,
        (after.periods - before.periods) as f64,
    );
    println!(
        "{throttled} of {periods}, by the kernel {} of {} around",
        kernel.0, kernel.1
    );
    ensure!(throttled <= kernel.0 && periods <= kernel.1, "{stood}");
    assert_within("periods in the time seen", periods, seen_ns / 1e8, 5.0);
    assert_within(
        "share of throttled periods",
        throttled / periods,
        kernel.0 / kernel.1,
        5.0,
    );
    let frozen_ns = nanos(stood)?;
    ensure!(frozen_ns > 0.5 * seen_ns && frozen_ns <= seen_ns, "{stood}");
    ensure!(page.has("cpu_limit_too_low ("), "no finding");
    ensure!(page.has("1. raise the CPU limit to "), "no advice");
    ensure!(page.has(&format!("process {} `", busy.pid())), "no process");
    Ok(())
}

#[test]
fn nothing_to_explain_is_said() -> Result<()> {
    let idle = Cgroup::new("idle")?;
    let page = agent::output(["explain", &idle.path(), "--duration", "1s"], PATIENCE)?;
    let said = String::from_utf8_lossy(&page.stderr).into_owned();
    assert_eq!(page.status.code(), Some(1), "{said}");
    ensure!(
        page.stdout.is_empty() && said.contains("did nothing"),
        "{said}"
    );
    Ok(())
}
