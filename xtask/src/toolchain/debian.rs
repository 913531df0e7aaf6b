//! Packages of Debian: unpacked into the cache where only their files are wanted.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

use super::{
    private_apt::{self, Mirrors, PrivateApt},
    say,
};

/// Suites that may have a recent compiler's source, the smallest index first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

/// Unpacks the library of the package `rust-src` of exactly that version of Rust into `folder`, as
/// `library`. The package is not installed, which would pull in Debian's own compiler.
pub fn fetch_rust_src(release: &str, folder: &Path) -> Result<()> {
    let what = format!("rust-src {release}");
    let above = folder.parent().context("the cache has no folder")?;
    Mirrors::of_this_machine()?.first_that_gives(
        &what,
        &SUITES,
        above,
        |mirror, suite, temporary| fetch_from(mirror, suite, temporary, release, folder),
    )
}

fn fetch_from(
    mirror: &str,
    suite: &str,
    temporary: &Path,
    release: &str,
    folder: &Path,
) -> Result<()> {
    let apt = PrivateApt::new(temporary.join("apt"), &[(mirror, suite)])?;

    say(&format!(
        "reading the package list of Debian {suite}, which may have the source"
    ));
    apt.update()?;
    let versions = apt.versions("rust-src")?;
    let version = matching_version(&versions, release)
        .with_context(|| format!("has no rust-src {release}"))?;

    say(&format!(
        "fetching rust-src {version} from Debian {suite} and unpacking it"
    ));
    let package = apt.download("rust-src", Some(version))?;
    let unpacked = temporary.join("unpacked");
    private_apt::unpack(&package, &unpacked)?;
    let library = unpacked.join(format!("usr/src/rustc-{release}/library"));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::rename(&library, folder.join("library"))
        .with_context(|| format!("the package has no {}", library.display()))
}

/// The package version of exactly that upstream release. Another one would not compile: the
/// library and its compiler are made for each other.
fn matching_version<'v>(versions: &'v [String], release: &str) -> Option<&'v String> {
    versions.iter().find(|version| {
        version
            .strip_prefix(release)
            .is_some_and(|rest| rest.starts_with(['+', '-']))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_release_matches() {
        let versions = ["1.95.01+dfsg1-1", "1.95.0~beta-1", "1.95.0+dfsg1-2~bpo13+1"];
        let versions = versions.map(str::to_owned);
        assert_eq!(matching_version(&versions, "1.95.0"), Some(&versions[2]));
        assert_eq!(matching_version(&versions, "1.95"), None);
        assert_eq!(matching_version(&[], "1.95.0"), None);
    }
}
