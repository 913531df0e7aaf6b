//! A package of a newer Debian for tests, unpacked into the cache without being installed: what the
//! machine has stays as it is.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{
    lock,
    private_apt::{Mirrors, PrivateApt, unpack},
    say,
};
use crate::{process, workspace::Workspace};

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
    let cache = workspace.toolchain_cache();
    fs::create_dir_all(&cache).with_context(|| format!("cannot make {}", cache.display()))?;
    let _lock = lock(&cache)?;
    let place = |suite: &str| cache.join(format!("unpacked-{suite}-{}", package.name));
    if let Some(kept) = (package.suites.iter().map(|suite| place(suite))).find(|kept| kept.is_dir())
    {
        return Ok(kept);
    }
    let mut failures = Vec::new();
    for mirror in &Mirrors::of_this_machine()?.archive {
        for suite in package.suites {
            let kept = place(suite);
            match fetch(mirror, suite, package, &cache, &kept) {
                Ok(()) => return Ok(kept),
                Err(error) => failures.push(format!("{mirror} {suite}: {error:#}")),
            }
        }
    }
    bail!(
        "no suite gave {}:\n  {}",
        package.name,
        failures.join("\n  ")
    )
}

fn fetch(mirror: &str, suite: &str, package: &Package, cache: &Path, kept: &Path) -> Result<()> {
    let temporary = tempfile::tempdir_in(cache)?;
    let apt = PrivateApt::new(temporary.path().join("apt"), &[(mirror, suite)])?;
    say(&format!(
        "reading the package list of Debian {suite}, for {}",
        package.purpose
    ));
    apt.update()?;
    let listed = process::output(apt.command("apt-cache").args(["madison", package.name]))?;
    let version = newest(&listed).context("it has none")?;
    say(&format!(
        "fetching {} {version} from Debian {suite}",
        package.name
    ));
    let unpacked = temporary.path().join("unpacked");
    unpack(&apt.download(package.name, &version)?, &unpacked)?;
    fs::rename(&unpacked, kept).with_context(|| format!("cannot make {}", kept.display()))
}

/// The first version that apt lists is the newest.
pub fn newest(madison: &str) -> Option<String> {
    let version = madison.lines().next()?.split('|').nth(1)?;
    Some(version.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_version_is_read() {
        let madison = " containerd | 2.1.9+ds1-5 | http://mirror.example x/main amd64 Packages\n \
                       containerd | 1.7.24~ds1-6 | http://mirror.example y/main amd64 Packages\n";
        assert_eq!(newest(madison).as_deref(), Some("2.1.9+ds1-5"));
        assert_eq!(newest(""), None);
    }
}
