//! A machine whose first process is systemd, and units in it that a test makes.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{emulated, skip};

/// Whether this is a guest with systemd, which the tests that ask have for themselves; says so if it
/// is not.
pub fn is_guest(test: &str) -> bool {
    let first = fs::read_to_string("/proc/1/comm").unwrap_or_default();
    let is = emulated() && first.trim_end() == "systemd";
    if !is {
        skip(
            test,
            "takes a machine with systemd for itself; run `cargo xtask test --only systemd`, which \
             has a guest for it",
        );
    }
    is
}

/// A unit that is stopped at the end.
#[derive(Debug)]
pub struct Unit(String);

impl Unit {
    /// Starts a service with these properties.
    pub fn service(name: &str, properties: &[&str], command: &[&str]) -> Result<Self> {
        let mut run = Command::new("systemd-run");
        run.args(["--quiet", "--unit", name]);
        run.args(properties.iter().map(|each| format!("--property={each}")));
        succeed(run.arg("--").args(command))?;
        Ok(Self(name.to_owned()))
    }

    /// Starts a slice with these settings.
    pub fn slice(name: &str, settings: &[&str]) -> Result<Self> {
        let text = format!("[Slice]\n{}\n", settings.join("\n"));
        fs::write(format!("/run/systemd/system/{name}"), text)?;
        succeed(Command::new("systemctl").arg("daemon-reload"))?;
        succeed(Command::new("systemctl").args(["start", name]))?;
        Ok(Self(name.to_owned()))
    }

    /// A property of it, as systemd tells it.
    pub fn property(&self, property: &str) -> Result<String> {
        let mut show = Command::new("systemctl");
        show.args(["show", "--value", "--property", property, &self.0]);
        let output = show.output().context("systemctl")?;
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        // One that has failed is gone with that.
        for verb in ["stop", "reset-failed"] {
            let _ = Command::new("systemctl").args([verb, &self.0]).output();
        }
    }
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command
        .output()
        .with_context(|| format!("starting {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}
