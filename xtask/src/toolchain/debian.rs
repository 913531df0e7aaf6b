//! Packages of Debian: unpacked into the cache where only their files are wanted.

use std::{fs, path::Path};

use anyhow::{Context as _, Result, bail};

use super::{
    private_apt::{self, Mirrors, PrivateApt},
    say,
};
use crate::process;

/// Suites that may have a recent compiler's source, the smallest index first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

/// Unpacks the library of the package `rust-src` of exactly that version of Rust into `folder`, as
/// `library`. The package is not installed, which would pull in Debian's own compiler.
pub fn fetch_rust_src(release: &str, folder: &Path) -> Result<()> {
    let mirrors = Mirrors::of_this_machine()?.archive;
    let mut failures = Vec::new();
    for mirror in &mirrors {
        for suite in SUITES {
            match fetch_from(mirror, suite, release, folder) {
                Ok(()) => return Ok(()),
                Err(error) => failures.push(format!("{mirror} {suite}: {error:#}")),
            }
        }
    }
    bail!(
        "no suite gave rust-src {release}:\n  {}",
        failures.join("\n  ")
    )
}

fn fetch_from(mirror: &str, suite: &str, release: &str, folder: &Path) -> Result<()> {
    // Beside the result, not in the system's temporary folder, which may be small.
    let above = folder.parent().context("the cache has no folder")?;
    let temporary = tempfile::tempdir_in(above)?;
    let apt = PrivateApt::new(temporary.path().join("apt"), &[(mirror, suite)])?;

    say(&format!(
        "reading the package list of Debian {suite}, which may have the source"
    ));
    apt.update()?;
    let versions = process::output(apt.command("apt-cache").args(["madison", "rust-src"]))?;
    let version = matching_version(&versions, release)
        .with_context(|| format!("has no rust-src {release}"))?;

    say(&format!(
        "fetching rust-src {version} from Debian {suite} and unpacking it"
    ));
    let package = apt.download("rust-src", version.as_str())?;
    let unpacked = temporary.path().join("unpacked");
    private_apt::unpack(&package, &unpacked)?;
    let library = unpacked.join(format!("usr/src/rustc-{release}/library"));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::rename(&library, folder.join("library"))
        .with_context(|| format!("the package has no {}", library.display()))
}

/// The package version of exactly that upstream release. Another one would not compile: the
/// library and its compiler are made for each other.
fn matching_version(madison: &str, release: &str) -> Option<String> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| {
            version
                .strip_prefix(release)
                .is_some_and(|rest| rest.starts_with(['+', '-']))
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_release_matches() {
        let madison = "  rust-src | 1.95.01+dfsg1-1 | http://mirror.example sid/main\n  \
                       rust-src | 1.95.0~beta-1 | http://mirror.example sid/main\n  \
                       rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://mirror.example sid/main\n";
        assert_eq!(
            matching_version(madison, "1.95.0").as_deref(),
            Some("1.95.0+dfsg1-2~bpo13+1")
        );
        assert_eq!(matching_version(madison, "1.95"), None);
        assert_eq!(matching_version("", "1.95.0"), None);
    }
}
