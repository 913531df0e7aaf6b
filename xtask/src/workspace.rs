//! Where the workspace and its target folder are, and how cargo is called in it.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::process;

/// Tells build scripts which BPF object to embed.
const OBJECT_VARIABLE: &str = "LIMITSCOPE_BPF_OBJECT";

/// The workspace as cargo describes it.
pub struct Workspace {
    pub root: PathBuf,
    /// Honours `CARGO_TARGET_DIR` and `build.target-dir`, because cargo itself was asked.
    pub target: PathBuf,
    pub packages: Vec<Package>,
}

/// A member of the workspace.
#[derive(Deserialize)]
pub struct Package {
    pub name: String,
    pub manifest_path: PathBuf,
    pub targets: Vec<Target>,
}

/// Something that cargo builds from a package.
#[derive(Deserialize)]
pub struct Target {
    pub name: String,
    pub kind: Vec<String>,
}

#[derive(Deserialize)]
struct Metadata {
    workspace_root: PathBuf,
    target_directory: PathBuf,
    packages: Vec<Package>,
}

impl Workspace {
    /// Asks cargo about the workspace that this program was built from.
    pub fn find() -> Result<Self> {
        let mut command = Command::new(cargo());
        command
            .args(["metadata", "--no-deps", "--format-version", "1"])
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        let output = process::output(&mut command)?;
        let metadata: Metadata =
            serde_json::from_str(&output).context("cargo metadata gave JSON of another shape")?;
        Ok(Self {
            root: metadata.workspace_root,
            target: metadata.target_directory,
            packages: metadata.packages,
        })
    }

    /// The BPF object that the binary embeds.
    pub fn object(&self) -> PathBuf {
        self.target.join("bpf/limitscope.bpf.o")
    }

    /// The cache of what the build needs beside the Rust toolchain.
    pub fn toolchain_cache(&self) -> PathBuf {
        self.target.join("toolchain")
    }

    /// The folder of binaries of a host build.
    pub fn binaries(&self, release: bool) -> PathBuf {
        self.target.join(if release { "release" } else { "debug" })
    }

    /// Cargo at the workspace's root, its build scripts told where the object is.
    pub fn cargo(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(&self.root).stdin(Stdio::null());
        if self.object().is_file() {
            command.env(OBJECT_VARIABLE, self.object());
        }
        command
    }
}

/// The cargo that runs this program, so that one toolchain does everything.
pub fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// The compiler that cargo would call.
pub fn rustc() -> OsString {
    env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())
}

/// The first file of that name in `PATH`, or in the folders where administrators' programs are,
/// which are missing from many users' `PATH`.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(OsStr::new(name)))
        .find(|file| file.is_file())
}
