//! bpf-linker: makes one BPF object of LLVM bitcode, so its LLVM must be the compiler's.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{Compiler, Stamp, TARGET, say};
use crate::{process, workspace};

/// The version that set-up installs.
const LINKER_VERSION: &str = "0.13.0";

/// The smallest crate: it needs no `core`, and yet makes the linker read the compiler's bitcode.
const PROBE: &str = r#"#![feature(no_core, lang_items)]
#![no_core]
#![no_main]
#![allow(internal_features)]
#[lang = "pointee_sized"]
pub trait PointeeSized {}
#[lang = "meta_sized"]
pub trait MetaSized: PointeeSized {}
#[lang = "sized"]
pub trait Sized: MetaSized {}
#[unsafe(no_mangle)]
pub extern "C" fn probe() {}
"#;

/// A linker that works with this compiler: the user's own, or one in the cache.
pub fn prepare(compiler: &Compiler, cache: &Path) -> Result<PathBuf> {
    if let Some(found) = workspace::find_program("bpf-linker") {
        match verified(compiler, cache, &found, "linker-found") {
            Ok(()) => return Ok(found),
            Err(error) => say(&format!(
                "{} does not work with this compiler and is left alone: {error:#}",
                found.display()
            )),
        }
    }
    let root = cache.join(format!(
        "bpf-linker-{LINKER_VERSION}-llvm-{}",
        compiler.llvm
    ));
    let linker = root.join("bin/bpf-linker");
    if !linker.is_file() {
        install(compiler, &root)?;
    }
    verified(compiler, cache, &linker, "linker-own").with_context(|| {
        format!(
            "bpf-linker was installed, but does not work with this compiler; \
             to have it built anew, remove {}",
            root.display()
        )
    })?;
    Ok(linker)
}

fn verified(compiler: &Compiler, cache: &Path, linker: &Path, stamp: &str) -> Result<()> {
    // A linker that was replaced is another one.
    let metadata = fs::metadata(linker)?;
    let subject = format!("{} {:?}", linker.display(), metadata.modified()?);
    let stamp = Stamp::new(cache, stamp, compiler, &subject);
    if !stamp.holds() {
        links(compiler, cache, linker)?;
        stamp.set()?;
    }
    Ok(())
}

/// Lets the compiler use the linker once.
fn links(compiler: &Compiler, cache: &Path, linker: &Path) -> Result<()> {
    let folder = tempfile::tempdir_in(cache)?;
    let source = folder.path().join("probe.rs");
    fs::write(&source, PROBE)?;
    let mut command = Command::new(workspace::rustc());
    command
        .args(["--edition=2024", "--target", TARGET, "-Cpanic=abort"])
        .arg(format!("-Clinker={}", linker.display()))
        .args(["-Cdebuginfo=2", "-Clink-arg=--btf", "-o", "probe.o"])
        .arg("probe.rs")
        .current_dir(folder.path())
        .env("RUSTC_BOOTSTRAP", "1")
        .env("LD_LIBRARY_PATH", compiler.library_path());
    process::output(&mut command)?;
    Ok(())
}

fn install(compiler: &Compiler, root: &Path) -> Result<()> {
    let feature = format!("llvm-{}", compiler.llvm);
    say(&format!(
        "building bpf-linker {LINKER_VERSION} with the compiler's LLVM {} into {} (about a minute)",
        compiler.llvm,
        root.display()
    ));
    let scratch = root.with_extension("build");
    let mut command = Command::new(workspace::cargo());
    command
        .args([
            "install",
            "bpf-linker",
            "--locked",
            "--version",
            LINKER_VERSION,
        ])
        .args(["--no-default-features", "--features", &feature, "--root"])
        .arg(root)
        .env("CARGO_TARGET_DIR", scratch.join("target"))
        // What takes its time is LLVM, which is built already.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
        .env("LD_LIBRARY_PATH", compiler.library_path())
        // Flags for the user's own builds are not for this one.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    let prefix = llvm_prefix(compiler, &scratch)?;
    if let Some(prefix) = &prefix {
        command.env("LLVM_PREFIX", prefix);
    }
    let result = process::run(&mut command);
    let manual = process::shown(&command);
    // The failing command is shown for a person to run, so its folders stay then.
    if result.is_ok() {
        let _ = fs::remove_dir_all(&scratch);
    }
    result.with_context(|| {
        let found = if prefix.is_some() {
            "the compiler's own library was used"
        } else {
            "the compiler has no LLVM library of its own, and LLVM_PREFIX is not set"
        };
        format!(
            "bpf-linker could not be built ({found}). Run one of these, then this command again:\n    \
             cargo binstall bpf-linker@{LINKER_VERSION}\n    {manual}"
        )
    })
}

/// A folder in the shape in which bpf-linker's build looks for LLVM. It takes `lib64` only where
/// there is no `lib`, and the sysroot's `lib` holds the library under another name.
fn llvm_prefix(compiler: &Compiler, scratch: &Path) -> Result<Option<PathBuf>> {
    if let Some(prefix) = env::var_os("LLVM_PREFIX") {
        return Ok(Some(prefix.into()));
    }
    let Some(library) = llvm_library(&compiler.sysroot.join("lib"), compiler.llvm)? else {
        return Ok(None);
    };
    let prefix = scratch.join("llvm");
    let folder = prefix.join("lib64");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let link = folder.join("libLLVM.so");
    if link.symlink_metadata().is_ok() {
        fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
    }
    std::os::unix::fs::symlink(&library, &link)
        .with_context(|| format!("cannot make the link {}", link.display()))?;
    Ok(Some(prefix))
}

/// The compiler's own LLVM, as in `libLLVM.so.22.1-rust-1.95.0-stable`.
fn llvm_library(folder: &Path, major: u32) -> Result<Option<PathBuf>> {
    let prefix = format!("libLLVM.so.{major}.");
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        if entry.file_name().to_string_lossy().starts_with(&prefix) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_of_the_same_major_version_is_taken() -> Result<()> {
        let folder = tempfile::tempdir()?;
        for name in [
            "libLLVM-22-rust-1.95.0-stable.so",
            "libLLVM.so.2.1",
            "libLLVM.so.22.1-rust",
        ] {
            fs::write(folder.path().join(name), "")?;
        }
        let found = llvm_library(folder.path(), 22)?;
        assert_eq!(found, Some(folder.path().join("libLLVM.so.22.1-rust")));
        assert_eq!(llvm_library(folder.path(), 23)?, None);
        Ok(())
    }
}
