//! Reads and writes files of cgroups; errors tell which.

use std::{fs, path::Path};

use anyhow::{Context, Result};

/// Reads a file of a cgroup.
pub fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Writes a file of a cgroup.
pub fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {text:?} to {}", file.display()))
}
