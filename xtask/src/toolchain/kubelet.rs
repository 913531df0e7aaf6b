//! A real kubelet for tests. No suite of Debian has it as a package; the source package of Kubernetes
//! in bookworm is whole, with everything that it is built from.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    private_apt::{Mirrors, PrivateApt},
    say,
};
use crate::{process, workspace::Workspace};

/// The suite whose source package has all of Kubernetes; later ones have kubectl alone.
const SUITE: &str = "bookworm";
const SOURCE: &str = "kubernetes";
const COMMAND: &str = "k8s.io/kubernetes/cmd/kubelet";

/// Where the kubelet is; it is built once, which takes some minutes.
pub fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    let cache = workspace.target.join("kubelet");
    let kubelet = cache.join("kubelet");
    if kubelet.is_file() {
        return Ok(kubelet);
    }
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let mut failures = Vec::new();
    for mirror in &Mirrors::of_this_machine()?.archive {
        match build(mirror, &cache) {
            Ok(built) => {
                fs::rename(&built, &kubelet)?;
                return Ok(kubelet);
            }
            Err(error) => failures.push(format!("{mirror} {SUITE}: {error:#}")),
        }
    }
    bail!("no mirror gave a kubelet:\n  {}", failures.join("\n  "))
}

/// Builds it in a folder that goes afterwards: source and Go's cache take gigabytes.
fn build(mirror: &str, cache: &Path) -> Result<PathBuf> {
    let temporary = tempfile::tempdir_in(cache)?;
    let folder = temporary.path();
    let apt = PrivateApt::of_sources(folder.join("apt"), &[(mirror, SUITE)])?;
    say(&format!(
        "fetching the source of Kubernetes from Debian {SUITE}"
    ));
    apt.update()?;
    process::output(
        apt.command("apt-get")
            .args(["source", "--download-only", "--quiet", SOURCE]),
    )?;
    let archive = entry(&apt.folder, |name| name.ends_with(".orig.tar.gz"))?;
    let above = folder.join("go/src/k8s.io");
    fs::create_dir_all(&above)?;
    process::output(
        Command::new("tar")
            .arg("-xzf")
            .arg(archive)
            .arg("-C")
            .arg(&above),
    )?;
    let source = entry(&above, |name| name.starts_with("kubernetes-"))?;
    fs::rename(&source, above.join("kubernetes"))?;

    say("building a kubelet with Go, which takes some minutes");
    let built = cache.join("kubelet.new");
    let mut go = Command::new("go");
    // Kubernetes has everything that it needs in its tree, and is older than Go's modules.
    go.args(["build", "-ldflags", "-s -w", "-o"])
        .arg(&built)
        .arg(COMMAND)
        .current_dir(above.join("kubernetes"))
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .env("CGO_ENABLED", "0")
        .env("GOPATH", folder.join("go"))
        .env("GOCACHE", folder.join("cache"))
        .env("GOTMPDIR", folder);
    process::run(&mut go).with_context(|| {
        let path = env::var_os("PATH").unwrap_or_default();
        format!("go (PATH is {}) did not build it", path.display())
    })?;
    Ok(built)
}

fn entry(folder: &Path, is: impl Fn(&str) -> bool) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.filter_map(Result::ok);
    entries
        .map(|entry| entry.path())
        .find(|path| {
            path.file_name()
                .is_some_and(|name| is(&name.to_string_lossy()))
        })
        .with_context(|| format!("what was looked for is not in {}", folder.display()))
}
