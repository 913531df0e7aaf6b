//! What `limitscope inspect` says of a process.

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{agent, wait::PATIENCE};

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
