//! A server that a test starts for itself, with what it says in a file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A server that runs.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command`, which says what to do where it is not installed: `remedy`. Its output is
    /// appended to `log` in `dir`.
    pub fn start(
        name: &'static str,
        command: &mut Command,
        dir: &Path,
        remedy: &str,
    ) -> Result<Self> {
        let log = dir.join("log");
        let file = File::options().create(true).append(true).open(&log)?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                bail!("{name} is not installed; {remedy}")
            }
            other => other.with_context(|| format!("starting {name}"))?,
        };
        Ok(Self { name, child, log })
    }

    /// An error with what it said if it has ended by itself.
    pub fn still_runs(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let log = fs::read_to_string(&self.log).unwrap_or_default();
            bail!("{} ended with {status}:\n{log}", self.name);
        }
        Ok(())
    }

    /// Asks it to end. One that has not after `patience` is killed, which is an error.
    pub fn end(mut self, patience: Duration) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let what = format!("the end of {}", self.name);
        let ended = wait::until(&what, patience, || Ok(self.child.try_wait()?));
        if ended.is_err() {
            self.child.kill()?;
            self.child.wait()?;
        }
        ended.map(drop)
    }

    /// Kills one that has nothing to bring to an end.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
