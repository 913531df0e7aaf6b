//! What `limitscope inspect` says of a process.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{agent, go::Program, wait::PATIENCE};

/// Asks the program under test about a process.
pub fn inspect(pid: u32) -> Result<Value> {
    let pid = pid.to_string();
    let done = agent::output(["inspect", "--json", &pid], PATIENCE)?;
    ensure!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_slice(&done.stdout).context("inspect wrote no JSON")
}

/// The pool of a runtime, by its setting.
pub fn pool(facts: &Value, runtime: &str, setting: &str) -> Result<Value> {
    let all = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let found = all(&facts["runtimes"])
        .into_iter()
        .filter(|found| found["name"] == runtime)
        .flat_map(|found| all(&found["pools"]))
        .find(|pool| pool["setting"] == setting);
    found.with_context(|| format!("no {setting} of {runtime} in {facts}"))
}

/// Compares what is told of a Go program with what it has said last of itself: by its runtime's own
/// variables (`exact`), or as an estimate that says that it is one.
///
/// # Panics
/// When they differ.
pub fn check_go(program: &Program, exact: bool) -> Result<()> {
    let facts = inspect(program.pid())?;
    let go = &facts["runtimes"][0];
    assert_eq!(go["version"], program.said["version"], "{facts}");
    let procs = pool(&facts, "go", "GOMAXPROCS")?;
    let limit = &go["memory_limit"];
    assert_eq!(procs["estimate"], !exact, "{facts}");
    assert_eq!(limit["estimate"], !exact, "{facts}");
    if exact {
        assert_eq!(procs["basis"], "runtime_variable");
    }
    let said = program.said["gomemlimit"].as_u64().unwrap_or_default();
    let limit = match &limit["bytes"] {
        Value::String(none) if none == "none" => 0,
        bytes => bytes.as_u64().with_context(|| format!("{facts}"))?,
    };
    assert_eq!(
        (&procs["threads"], limit),
        (&program.said["gomaxprocs"], said),
        "{facts}"
    );
    Ok(())
}
