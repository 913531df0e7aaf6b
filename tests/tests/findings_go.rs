//! Findings about Go programs by the value in force, however it is known.

use std::path::{Path, PathBuf};

use anyhow::Result;
use limitscope_tests::{
    cgroup::Cgroup,
    findings::{begun, compute_with, evidence, kinds},
    go, skip,
};
use serde_json::Value;

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// The value in force counts: what the environment says was changed at run time.
#[test]
fn a_value_set_at_run_time_counts() -> Result<()> {
    let cgroup = Cgroup::new("changed")?;
    cgroup.set_cpu_quota(Some(100_000), 100_000)?;
    let built = go::build(FOLDER, "pie", &["-buildmode=pie"])?;
    let wide = [("GOMAXPROCS", "1")];
    let orders = ["procs 16", "compute 16 30000"];
    let (events, said) = compute_with(&built, &cgroup, &wide, &orders)?;
    assert_eq!(said["gomaxprocs"], 16);
    assert_eq!(kinds(&events, &cgroup), ["cpu_oversubscription"]);
    let found = begun(&events, &cgroup);
    assert_eq!(evidence(found.only()?, "threads_at_once")? as u64, 16);

    let narrow = [("GOMAXPROCS", "16")];
    let orders = ["procs 1", "compute 16 30000"];
    let (events, _) = compute_with(&built, &cgroup, &narrow, &orders)?;
    assert_eq!(kinds(&events, &cgroup), [""; 0]);
    Ok(())
}

/// Sixteen at one CPU by a program that was stripped: what is found, with what confidence and by what.
fn stripped(
    cgroup: &str,
    prepare: impl FnOnce(&Path) -> Result<PathBuf>,
    orders: &[&str],
) -> Result<(String, Value)> {
    let cgroup = Cgroup::new(cgroup)?;
    cgroup.set_cpu_quota(Some(100_000), 100_000)?;
    let built = prepare(&go::build(FOLDER, "stripped", &["-ldflags=-s -w"])?)?;
    let variables = [("GOMAXPROCS", "15")];
    let (events, _) = compute_with(&built, &cgroup, &variables, orders)?;
    assert_eq!(kinds(&events, &cgroup), ["cpu_oversubscription"]);
    let found = begun(&events, &cgroup);
    let found = found.only()?;
    let evidence = found.value["finding.evidence"].clone();
    Ok((found.text("finding.confidence")?.to_owned(), evidence))
}

/// Without symbols the value in force is found by the runtime's code.
#[test]
fn a_stripped_program_gives_the_same_confidence() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        let reason = "code of this machine is not read";
        skip("a_stripped_program_gives_the_same_confidence", reason);
        return Ok(());
    }
    let orders = ["procs 16", "compute 16 30000"];
    let (confidence, evidence) = stripped("stripped", |built| Ok(built.to_owned()), &orders)?;
    assert_eq!(confidence, "high", "{evidence}");
    assert_eq!(evidence["basis"], "runtime_variable");
    assert_eq!(evidence["threads_at_once"], 16, "{evidence}");
    Ok(())
}

/// Where that is not known, the environment is the evidence, and the finding says that it is an estimate.
#[test]
fn an_estimate_gives_less_confidence() -> Result<()> {
    let unknown = |built: &Path| go::without(built, &["runtime.procresize"]);
    let (confidence, evidence) = stripped("unknown", unknown, &["compute 16 30000"])?;
    assert_eq!(confidence, "medium", "{evidence}");
    assert_eq!(evidence["basis"], "environment");
    assert_eq!(evidence["threads_at_once"], 15, "{evidence}");
    Ok(())
}
