//! The folder of an engine that a test starts for itself.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::wait::{self, PATIENCE};

/// A new folder on a disk: what engines keep may be more than memory has room for, and is often no
/// file system that they can lay another one over.
#[derive(Debug)]
pub struct Folder(TempDir);

impl Folder {
    /// Makes the one of `engine`, by which it is named.
    pub fn of(engine: &str) -> Result<Self> {
        let made = tempfile::Builder::new()
            .prefix(&format!("limitscope-{engine}-"))
            .tempdir_in("/var/tmp");
        let made = made.with_context(|| format!("making the folder of {engine}"))?;
        Ok(Self(made))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Removes it with all that is in it. What has just ended may hold on to it for a moment.
    pub fn remove(&self) -> Result<()> {
        let path = self.path();
        let mut last = None;
        let removed = wait::until("the removal of an engine's folder", PATIENCE, || {
            last = fs::remove_dir_all(path).err();
            Ok((last.is_none() || !path.exists()).then_some(()))
        });
        match (removed, last) {
            (Err(_), Some(error)) => {
                Err(error).with_context(|| format!("removing {}", path.display()))
            }
            (removed, _) => removed,
        }
    }
}
