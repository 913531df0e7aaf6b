//! A package of a newer Debian for tests, unpacked into the cache without being installed: what the
//! machine has stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::{
    Cache,
    private_apt::{Mirrors, PrivateApt, unpack},
    say,
};
use crate::workspace::Workspace;

/// A package and the suites that may have it as it is wanted, the one that is preferred first.
pub struct Package {
    pub name: &'static str,
    pub suites: &'static [&'static str],
    /// What it is for, as in "which tests run".
    pub purpose: &'static str,
}

/// A containerd that tells by itself what becomes of containers, which the CRI has since 1.7.
pub const CONTAINERD_NEWER: Package = Package {
    name: "containerd",
    suites: &["forky", "trixie"],
    purpose: "a containerd with the events of the CRI, which tests run",
};

/// A containerd from before 1.6, which has the CRI in its version v1alpha2 alone.
pub const CONTAINERD_OLDER: Package = Package {
    name: "containerd",
    suites: &["bullseye"],
    purpose: "a containerd with the CRI v1alpha2, which tests run",
};

/// The folder that is its root; it is fetched once.
pub fn prepare(workspace: &Workspace, package: &Package) -> Result<PathBuf> {
    let cache = Cache::open(workspace)?;
    let place = |suite: &str| (cache.folder).join(format!("unpacked-{suite}-{}", package.name));
    if let Some(kept) = (package.suites.iter().map(|suite| place(suite))).find(|kept| kept.is_dir())
    {
        return Ok(kept);
    }
    Mirrors::of_this_machine()?.first_that_gives(
        package.name,
        package.suites,
        &cache.folder,
        |mirror, suite, folder| {
            let kept = place(suite);
            fetch(mirror, suite, package, folder, &kept)?;
            Ok(kept)
        },
    )
}

fn fetch(mirror: &str, suite: &str, package: &Package, folder: &Path, kept: &Path) -> Result<()> {
    let apt = PrivateApt::new(folder.join("apt"), &[(mirror, suite)])?;
    say(&format!(
        "reading the package list of Debian {suite}, for {}",
        package.purpose
    ));
    apt.update()?;
    let versions = apt.versions(package.name)?;
    let version = versions.first().context("it has none")?;
    say(&format!(
        "fetching {} {version} from Debian {suite}",
        package.name
    ));
    let unpacked = folder.join("unpacked");
    unpack(&apt.download(package.name, Some(version))?, &unpacked)?;
    fs::rename(&unpacked, kept).with_context(|| format!("cannot make {}", kept.display()))
}
