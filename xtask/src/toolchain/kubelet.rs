//! A real Kubernetes for tests. No suite of Debian has its programs as packages; the source package of
//! Kubernetes in bookworm is whole, with everything that it is built from. The cluster's store, etcd, is
//! a package, and is unpacked without being installed: that would start it.

mod openapi;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{
    private_apt::{Mirrors, PrivateApt, unpack},
    say,
};
use crate::{process, workspace::Workspace};

/// The suite whose source package has all of Kubernetes; later ones have kubectl alone.
const SUITE: &str = "bookworm";
const SOURCE: &str = "kubernetes";
const KUBELET: &str = "kubelet";
const API_SERVER: &str = "kube-apiserver";
const PROGRAMS: [&str; 4] = [
    KUBELET,
    API_SERVER,
    "kube-controller-manager",
    "kube-scheduler",
];

/// What is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// The kubelet alone, which is built in a good minute.
    Kubelet,
    /// A whole cluster.
    Cluster,
}
/// The release of the source: they say it of themselves, and clients compare it with their own.
const VERSION: [(&str, &str); 3] = [
    ("gitVersion", "v1.20.2"),
    ("gitMajor", "1"),
    ("gitMinor", "20"),
];
const VERSION_PACKAGE: &str = "k8s.io/kubernetes/vendor/k8s.io/component-base/version";
/// Build tags of Kubernetes: the clients of clouds and of Docker's shim, which make half of the code.
const LEFT_OUT: &str = "providerless,dockerless";
const STORE: &str = "etcd";
const STORE_PACKAGE: &str = "etcd-server";

/// Where the kubelet is once it has been built.
pub fn built(workspace: &Workspace) -> PathBuf {
    workspace.target.join("kubelet/kubelet")
}

/// Where the kubelet is, with the cluster's other programs beside it if they are wanted; they are built
/// once, which takes some minutes.
pub fn prepare(workspace: &Workspace, programs: Extent) -> Result<PathBuf> {
    let cache = workspace.target.join("kubelet");
    let kubelet = cache.join(KUBELET);
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let wanted: &[&str] = match programs {
        Extent::Kubelet => &[KUBELET],
        Extent::Cluster => {
            prepare_missing(&[STORE], &cache, fetch_store)?;
            &PROGRAMS
        }
    };
    let missing: Vec<&str> = (wanted.iter().copied())
        .filter(|program| !cache.join(program).is_file())
        .collect();
    prepare_missing(&missing, &cache, |mirror, folder, made| {
        build(&missing, mirror, folder, made)
    })?;
    Ok(kubelet)
}

/// Has what is not there yet made from the first mirror that gives it, in a folder that goes afterwards:
/// source and Go's cache take gigabytes.
fn prepare_missing(
    programs: &[&str],
    cache: &Path,
    make: impl Fn(&str, &Path, &Path) -> Result<()>,
) -> Result<()> {
    if programs.iter().all(|program| cache.join(program).is_file()) {
        return Ok(());
    }
    Mirrors::of_this_machine()?.first_that_gives(
        &programs.join(", "),
        &[SUITE],
        cache,
        |mirror, _, folder| {
            let made = folder.join("made");
            fs::create_dir(&made)?;
            make(mirror, folder, &made)?;
            programs.iter().try_for_each(|program| {
                fs::rename(made.join(program), cache.join(program))
                    .with_context(|| format!("{program} was not made"))
            })
        },
    )
}

fn fetch_store(mirror: &str, folder: &Path, made: &Path) -> Result<()> {
    let apt = PrivateApt::new(folder.join("apt"), &[(mirror, SUITE)])?;
    say(&format!("fetching {STORE_PACKAGE} from Debian {SUITE}"));
    apt.update()?;
    let unpacked = folder.join("unpacked");
    unpack(&apt.download(STORE_PACKAGE, None)?, &unpacked)?;
    fs::copy(unpacked.join("usr/bin").join(STORE), made.join(STORE))?;
    Ok(())
}

fn build(programs: &[&str], mirror: &str, folder: &Path, made: &Path) -> Result<()> {
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
    let unpacked = entry(&above, |name| name.starts_with("kubernetes-"))?;
    let source = above.join("kubernetes");
    fs::rename(unpacked, &source)?;

    if programs.contains(&API_SERVER) {
        say("generating what the API server tells of its objects");
        let generator = folder.join("openapi-gen");
        run(go(folder, &source, &generator).arg(openapi::GENERATOR))?;
        run(&mut openapi::command(&generator, folder, &source)?)?;
    }
    say(&format!(
        "building {} with Go, which takes some minutes",
        programs.join(", ")
    ));
    // With a slash at its end it is a folder, which takes several.
    let mut build = go(folder, &source, &made.join(""));
    build.args((programs.iter()).map(|program| format!("k8s.io/kubernetes/cmd/{program}")));
    run(&mut build)
}

/// Go, building into `output`. Kubernetes has everything that it needs in its tree, and is older than
/// Go's modules.
fn go(folder: &Path, source: &Path, output: &Path) -> Command {
    let version = VERSION.map(|(name, value)| format!(" -X {VERSION_PACKAGE}.{name}={value}"));
    let mut go = Command::new("go");
    go.args(["build", "-tags", LEFT_OUT])
        .args(["-ldflags", &format!("-s -w{}", version.concat())])
        .arg("-o")
        .arg(output)
        .current_dir(source)
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", folder.join("cache"))
        .env("GOTMPDIR", folder);
    old_style(&mut go, folder);
    go
}

fn old_style(command: &mut Command, folder: &Path) {
    command
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .env("GOPATH", folder.join("go"));
}

fn run(command: &mut Command) -> Result<()> {
    process::run(command).with_context(|| {
        let path = env::var_os("PATH").unwrap_or_default();
        format!(
            "the tests' Kubernetes was not built (PATH is {})",
            path.display()
        )
    })
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
