//! Puts the BPF object where the crate embeds it from: `$OUT_DIR/limitscope.bpf.o`.
//!
//! `LIMITSCOPE_BPF_OBJECT` names the object; without it, the one that `cargo xtask build-ebpf` left
//! in the target folder is taken. Where there is none, a debug build goes on with an empty object,
//! so that whoever only runs unit tests needs no BPF tools; the loader refuses an empty object by
//! name. A release build stops, for nobody should get a binary that cannot trace.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

const VARIABLE: &str = "LIMITSCOPE_BPF_OBJECT";
const REMEDY: &str = "run: cargo xtask build-ebpf";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // Cargo shows these even where it hides what build scripts print.
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    println!("cargo::rerun-if-changed=build.rs");
    let out = PathBuf::from(variable("OUT_DIR")?);
    let bytes = match env::var_os(VARIABLE) {
        Some(path) => named(Path::new(&path))?,
        None => found(&out)?,
    };
    let embedded = out.join("limitscope.bpf.o");
    fs::write(&embedded, bytes)
        .map_err(|error| format!("cannot write {}: {error}", embedded.display()))
}

/// The object that the environment names; one that is named must be there.
fn named(path: &Path) -> Result<Vec<u8>, String> {
    println!("cargo::rerun-if-changed={}", path.display());
    fs::read(path).map_err(|error| {
        format!(
            "{VARIABLE} names {}, which cannot be read ({error}); {REMEDY}",
            path.display()
        )
    })
}

/// The object in the target folder, or nothing in a debug build.
fn found(out: &Path) -> Result<Vec<u8>, String> {
    let folder = target(out)?.join("bpf");
    // The folder and not the file is watched: cargo would take a missing file for a change, and
    // would compile everything anew each time.
    fs::create_dir_all(&folder)
        .map_err(|error| format!("cannot make {}: {error}", folder.display()))?;
    println!("cargo::rerun-if-changed={}", folder.display());
    let object = folder.join("limitscope.bpf.o");
    match fs::read(&object) {
        Ok(bytes) => Ok(bytes),
        Err(_) if variable("PROFILE")? == "debug" => {
            println!("cargo::warning=this binary will not trace, it has no BPF object; {REMEDY}");
            Ok(Vec::new())
        }
        Err(error) => Err(format!(
            "cannot read the BPF object {} ({error}); {REMEDY}",
            object.display()
        )),
    }
}

/// Cargo tells build scripts everything but its target folder. This script's own is
/// `<target>[/<triple>]/<profile>/build/<package>/out`.
fn target(out: &Path) -> Result<PathBuf, String> {
    let profile = out.ancestors().nth(3);
    let above = profile.and_then(Path::parent);
    let triple = variable("TARGET")?;
    match above {
        Some(folder) if folder.ends_with(&triple) => folder.parent(),
        other => other,
    }
    .map(Path::to_owned)
    .ok_or_else(|| format!("OUT_DIR is not below a target folder: {}", out.display()))
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}; this script is run by cargo"))
}
