//! The source of Rust's `core`. There is no prebuilt one for BPF, so cargo compiles it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use super::{Compiler, debian, say};
use crate::{process, workspace};

/// Where the library's workspace is, if cargo does not find it by itself in the sysroot.
pub fn prepare(compiler: &Compiler, cache: &Path) -> Result<Option<PathBuf>> {
    if is_library(&in_sysroot(compiler)) {
        return Ok(None);
    }
    let folder = cache.join(format!("rust-src-{}", compiler.release));
    let cached = folder.join("library");
    if is_library(&cached) {
        return Ok(Some(cached));
    }

    say("the source of Rust's core library is missing; it is compiled for the BPF target");
    let mut failures = Vec::new();
    match add_component(compiler) {
        Ok(()) => return Ok(None),
        Err(error) => failures.push(format!("- rustup: {error:#}")),
    }
    match debian::fetch_rust_src(&compiler.release, &folder) {
        Ok(()) if is_library(&cached) => return Ok(Some(cached)),
        Ok(()) => failures.push(format!(
            "- Debian: the package has no library in {}",
            cached.display()
        )),
        Err(error) => failures.push(format!("- Debian: {error:#}")),
    }
    // Half a set-up would look like a whole one next time.
    let _ = fs::remove_dir_all(&folder);
    bail!(
        "the source of Rust's core library, version {}, could not be had:\n{}\n\
         With access to Rust's servers, run:\n    rustup component add rust-src\n\
         otherwise unpack a tree of the same version so that this file exists:\n    {}",
        compiler.release,
        failures.join("\n"),
        cached.join("core/Cargo.toml").display()
    )
}

/// Where rustup puts it, and where cargo looks.
fn in_sysroot(compiler: &Compiler) -> PathBuf {
    compiler.sysroot.join("lib/rustlib/src/rust/library")
}

fn is_library(folder: &Path) -> bool {
    folder.join("core/Cargo.toml").is_file() && folder.join("Cargo.lock").is_file()
}

fn add_component(compiler: &Compiler) -> Result<()> {
    let Some(rustup) = workspace::find_program("rustup") else {
        bail!("is not installed");
    };
    let mut command = Command::new(rustup);
    command.args(["component", "add", "rust-src"]);
    // Under rustup's cargo this names the toolchain in use, which may not be the default one.
    if let Some(toolchain) = env::var_os("RUSTUP_TOOLCHAIN") {
        command.arg("--toolchain").arg(toolchain);
    }
    say(&format!("fetching it with `{}`", process::shown(&command)));
    process::run(&mut command)?;
    if !is_library(&in_sysroot(compiler)) {
        bail!(
            "added the component, but {} is not there",
            in_sysroot(compiler).display()
        );
    }
    Ok(())
}
