//! `cargo xtask build-ebpf`: the BPF object, from the package `tracer-ebpf`.

use std::{
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    process,
    toolchain::{TARGET, Toolchain},
    workspace::Workspace,
};

/// The instruction set that code is generated for. `v3` (Linux 5.1: 32-bit jumps and arithmetic)
/// loads on every supported kernel, the oldest of which is 5.10; `v4` would need 6.6. Atomic
/// operations whose result is used need 5.12 and must therefore stay out of the programs.
const CPU: &str = "v3";

/// The binary of `tracer-ebpf`.
const BINARY: &str = "limitscope-ebpf";

/// Arguments of `cargo xtask build-ebpf`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Build nothing: print where the object is or would be
    #[arg(long)]
    print_path: bool,
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    if arguments.print_path {
        println!("{}", workspace.object().display());
    } else {
        let object = build(&workspace)?;
        println!("{}", object.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// Sets up the tools where needed, builds the object, and tells where it is.
pub fn build(workspace: &Workspace) -> Result<PathBuf> {
    let toolchain = Toolchain::prepare(workspace)?;
    process::run(&mut cargo(workspace, &toolchain, "build"))
        .context("the eBPF programs did not build")?;

    install(workspace)
}

/// Cargo with a subcommand that compiles `tracer-ebpf`, a `build` or a `clippy`.
pub fn cargo(workspace: &Workspace, toolchain: &Toolchain, subcommand: &str) -> Command {
    let flags = [
        // Debug information is where the linker takes BTF from.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // rustc hands this on as the linker's `--cpu`.
        format!("-Ctarget-cpu={CPU}"),
        format!("-Clinker={}", toolchain.linker.display()),
    ];
    let mut command = workspace.cargo();
    command
        .args([subcommand, "--package", "tracer-ebpf", "--release"])
        .args(["--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        // Of its own: RUSTC_BOOTSTRAP changes how proc-macro crates build, and sharing a folder
        // would rebuild everything at every change between the two kinds of build.
        .arg(target(workspace))
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        // The linker optimises over all of its input anyway.
        .env("CARGO_PROFILE_RELEASE_LTO", "off");
    toolchain.apply(&mut command);
    command
}

fn target(workspace: &Workspace) -> PathBuf {
    workspace.target.join("bpf-build")
}

/// Puts the built object in its place, at once and only if it differs, so that what embeds it is
/// neither rebuilt in vain nor built from half a file.
pub fn install(workspace: &Workspace) -> Result<PathBuf> {
    let built = target(workspace).join(TARGET).join("release").join(BINARY);
    let object = workspace.object();
    let new = fs::read(&built).with_context(|| format!("cannot read {}", built.display()))?;
    if fs::read(&object).is_ok_and(|old| old == new) {
        return Ok(object);
    }
    let folder = object.parent().context("the object has no folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let mut file = tempfile::NamedTempFile::new_in(folder)
        .with_context(|| format!("cannot write in {}", folder.display()))?;
    std::io::Write::write_all(&mut file, &new)
        .with_context(|| format!("cannot write {}", object.display()))?;
    file.persist(&object)
        .with_context(|| format!("cannot put {} in place", object.display()))?;
    Ok(object)
}
