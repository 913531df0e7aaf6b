//! The cgroups that engines make for all containers and leave behind.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::{
    mounts::Hierarchies,
    wait::{self, PATIENCE},
};

/// Those that were not there before, in each hierarchy.
#[derive(Debug, Default)]
pub struct Parents(Vec<PathBuf>);

impl Parents {
    /// Notes which of these an engine would make. Parents that are here already belong to somebody
    /// else.
    pub fn note(names: &[&str]) -> Result<Self> {
        let hierarchies = Hierarchies::find()?;
        let mounts = hierarchies
            .v1
            .into_iter()
            .map(|v1| v1.mount)
            .chain(hierarchies.v2);
        let all = mounts.flat_map(|mount| names.iter().map(move |name| mount.join(name)));
        Ok(Self(all.filter(|dir| !dir.exists()).collect()))
    }

    /// Removes them; nothing runs in them any more.
    pub fn remove(&mut self) -> Result<()> {
        for parent in self.0.drain(..) {
            // Monitors end a moment after their containers.
            let mut last = None;
            let removed = wait::until("the removal of a parent cgroup", PATIENCE, || {
                last = remove_empty(&parent).err();
                Ok(last.is_none().then_some(()))
            });
            if let (Err(_), Some(error)) = (removed, last) {
                return Err(error);
            }
        }
        Ok(())
    }
}

/// Removes a tree of cgroups in which nothing runs.
fn remove_empty(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_empty(&entry.path())?;
        }
    }
    fs::remove_dir(dir).with_context(|| format!("removing the empty cgroup {}", dir.display()))
}
