//! `cargo xtask bench`: builds everything with optimisation and runs the benchmark.

use std::{
    ffi::OsString,
    os::unix::process::CommandExt as _,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{build, process, toolchain::packages, workspace::Workspace};

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Arguments of the benchmark
    #[arg(last = true)]
    arguments: Vec<OsString>,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    // What is compared with may be missing; the benchmark then says so itself.
    for failure in packages::ensure(packages::BENCHMARK) {
        eprintln!("set-up: {failure}");
    }
    let limitscope = build::build(&workspace, true)?;
    let mut command = workspace.cargo();
    command.args([
        "build",
        "--release",
        "--package",
        "limitscope-tests",
        "--bins",
        "--features",
        "bench",
    ]);
    process::run(&mut command).context("the benchmark did not build")?;

    let mut command = Command::new(workspace.binaries(true).join("limitscope-bench"));
    command
        .args(&arguments.arguments)
        .current_dir(&workspace.root)
        .env("LIMITSCOPE_BIN", limitscope)
        .env("LIMITSCOPE_BPF_OBJECT", workspace.object());
    let error = command.exec();
    Err(error).with_context(|| format!("cannot start {}", process::shown(&command)))
}
