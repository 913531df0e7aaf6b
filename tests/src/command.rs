//! Commands of engines, each with what it prints.

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Runs a command; returns what it prints. Where it is not installed, `remedy` says what to do.
pub fn output(command: &mut Command, remedy: &'static str) -> Result<String> {
    let output = command.output().context(remedy)?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
