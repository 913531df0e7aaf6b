//! `cargo xtask build`: the BPF object, and the binary `limitscope` with the object inside.

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context as _, Result};

use crate::{build_ebpf, process, workspace::Workspace};

/// Arguments of `cargo xtask build`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Build the binary without optimisation; the BPF programs are optimised always
    #[arg(long)]
    debug: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    let binary = build(&workspace, !arguments.debug)?;
    println!("{}", binary.display());
    Ok(ExitCode::SUCCESS)
}

/// Builds both, and tells where the binary is.
pub fn build(workspace: &Workspace, release: bool) -> Result<PathBuf> {
    build_ebpf::build(workspace)?;
    process::run(&mut command(workspace, release)).context("limitscope did not build")?;
    Ok(workspace.binaries(release).join("limitscope"))
}

/// Cargo, building the binary alone.
pub fn command(workspace: &Workspace, release: bool) -> std::process::Command {
    let mut command = workspace.cargo();
    command.args(["build", "--package", "limitscope", "--bin", "limitscope"]);
    if release {
        command.arg("--release");
    }
    command
}

/// Cargo, building the binary that an image can have alone, and where it will be: as deploy/README.md
/// builds it.
pub fn static_command(workspace: &Workspace) -> (std::process::Command, PathBuf) {
    let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = command(workspace, true);
    command
        .args(["--target", &target])
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    let folder = workspace.target.join(target).join("release");
    (command, folder.join("limitscope"))
}
