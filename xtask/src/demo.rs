//! `cargo xtask demo`: sets up, builds and runs `limitscope demo`.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{build, process, workspace, workspace::Workspace};

/// Arguments of `cargo xtask demo`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments of `limitscope demo`
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the command. Only the binary gets root's rights, the build does not.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let binary = build::build(&Workspace::find()?, true)?;
    let sudo = workspace::find_program("sudo");
    let is_root = rustix::process::geteuid().is_root();
    let mut command = elevated(&binary, &arguments.arguments, is_root, sudo.as_deref());
    if !is_root && sudo.is_none() {
        bail!(
            "tracing needs root; as root, run:\n    {}",
            process::shown(&command)
        );
    }
    eprintln!("running {}", process::shown(&command));
    // In this program's place, so that signals from the terminal reach the demo alone.
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", process::shown(&command)))
}

fn elevated(binary: &Path, arguments: &[OsString], is_root: bool, sudo: Option<&Path>) -> Command {
    let mut command = match sudo {
        Some(sudo) if !is_root => {
            let mut command = Command::new(sudo);
            command.arg("--").arg(binary);
            command
        }
        _ => Command::new(binary),
    };
    command.arg("demo").args(arguments);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_binary_is_elevated() {
        let line = |is_root, sudo: Option<&str>| {
            let arguments = ["--duration".into(), "3s".into()];
            let command = elevated(Path::new("/b/l"), &arguments, is_root, sudo.map(Path::new));
            process::shown(&command)
        };
        assert_eq!(line(true, Some("/usr/bin/sudo")), "/b/l demo --duration 3s");
        assert_eq!(
            line(false, Some("/usr/bin/sudo")),
            "/usr/bin/sudo -- /b/l demo --duration 3s"
        );
        assert_eq!(line(false, None), "/b/l demo --duration 3s");
    }
}
