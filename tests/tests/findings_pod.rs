//! Findings where the CPU limit is a pod's.

use std::thread;

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    findings::{WATCHED, begun, compute, kinds, show},
    workload::Workload,
};

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// The quota of the pod counts, also where the container has none.
#[test]
fn a_limit_above_counts() -> Result<()> {
    let pod = Cgroup::new("above")?;
    pod.set_cpu_quota(Some(100_000), 100_000)?;
    pod.prefer()?;
    let container = pod.child("inner")?;
    let (events, _) = compute(
        FOLDER,
        &container,
        &[("GOMAXPROCS", "16")],
        "compute 16 30000",
    )?;
    assert_eq!(kinds(&events, &container), ["cpu_oversubscription"]);
    // No version of Go looks at it by itself.
    let found = begun(&events, &container);
    let text = found.only()?.text("finding.recommendation")?;
    ensure!(
        text.starts_with("set GOMAXPROCS=1 in") && !text.contains("1.25"),
        "{text}"
    );
    Ok(())
}

/// Two containers that use up their pod's limit together: neither does alone.
#[test]
fn a_limit_that_two_use_up_is_too_low_for_both() -> Result<()> {
    let pod = Cgroup::new("pod")?;
    pod.set_cpu_quota(Some(40_000), 100_000)?;
    pod.prefer()?;
    let both = [pod.child("one")?, pod.child("two")?];
    let agent = Agent::start(&["--interval", "1s"])?;
    let mut spinners = Vec::new();
    for container in &both {
        let args = [
            "spin",
            "--threads",
            "1",
            "--ms",
            "60000",
            "--pin",
            "together",
        ];
        spinners.push(Workload::start_in(container, &args)?);
    }
    for spinner in &mut spinners {
        spinner.go()?;
    }
    thread::sleep(WATCHED);
    let events = agent.stop()?.events;
    for container in &both {
        show(&events, container);
        let found = begun(&events, container).with("finding.kind", "cpu_limit_too_low");
        let found = found.only()?;
        let evidence = &found.value["finding.evidence"];
        assert_eq!(evidence["cpu_limit_cgroup"], pod.path());
        let used = evidence["limit_cpus_used"]
            .as_f64()
            .context("limit_cpus_used")?;
        assert_within("use of the limit", used, 0.4, 10.0);
    }
    Ok(())
}
