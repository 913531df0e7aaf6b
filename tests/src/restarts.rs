//! What is told of containers that are restarted again and again.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    agent::Agent,
    events::{Events, Line},
};

/// Short, so that a test sees the end too.
const STABLE: &str = "restart-stable-seconds=6";

/// The program, with an engine's socket by its option.
pub fn listening(option: &str, socket: &Path) -> Result<Agent> {
    let socket = socket.to_str().context("a path in UTF-8")?;
    Agent::start(&["--interval", "500ms", option, socket, "--threshold", STABLE])
}

/// The loops that began or ended, of those with this value of a key.
pub fn loops(events: &Events, key: &str, value: &str, phase: &str) -> Events {
    let loops = events.kind("finding").with("finding.kind", "restart_loop");
    loops.with(key, value).with("finding.phase", phase)
}

/// What is told of the last ends: their causes and codes.
pub fn last_ends(line: &Line) -> Result<Vec<(Value, Value)>> {
    let ends = line.value["finding.evidence"]["last_ends"].as_array();
    let ends = ends.with_context(|| line.value.to_string())?;
    Ok(ends
        .iter()
        .map(|end| (end["cause"].clone(), end["exit_code"].clone()))
        .collect())
}
