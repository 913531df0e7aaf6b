//! A second Go compiler for tests, beside Debian's own: one whose programs look at their CPU limit by
//! themselves, which Go does from 1.25 on. Its packages are unpacked without being installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::{
    Cache,
    private_apt::{Mirrors, PrivateApt, unpack},
    say,
};
use crate::{process, workspace::Workspace};

/// The versions that will do, the best first.
const VERSIONS: [&str; 3] = ["1.27", "1.26", "1.25"];
/// Suites that may have one of them, the smallest index first.
const SUITES: [&str; 3] = ["trixie-backports", "forky", "sid"];
/// Folders of the library that no program is built from; they are a fifth of it.
const UNUSED: [&str; 3] = ["api", "misc", "test"];

/// Where the compiler is; it is fetched once, which takes some 50 MB and then has 230 MB on the disk.
pub fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    let cache = Cache::open(workspace)?;
    for version in VERSIONS {
        let go = cache.folder.join(program(version));
        if go.is_file() {
            return Ok(go);
        }
    }
    let what = format!("Go {}", VERSIONS.join(" or "));
    Mirrors::of_this_machine()?.first_that_gives(
        &what,
        &SUITES,
        &cache.folder,
        |mirror, suite, folder| fetch(mirror, suite, folder, &cache.folder),
    )
}

/// The compiler, within the cache.
fn program(version: &str) -> PathBuf {
    Path::new(&folder(version)).join(format!("lib/go-{version}/bin/go"))
}

fn folder(version: &str) -> String {
    format!("go-{version}")
}

fn fetch(mirror: &str, suite: &str, temporary: &Path, cache: &Path) -> Result<PathBuf> {
    let apt = PrivateApt::new(temporary.join("apt"), &[(mirror, suite)])?;
    say(&format!(
        "reading the package list of Debian {suite}, which may have a Go that tests need"
    ));
    apt.update()?;
    let (version, packages) = VERSIONS
        .into_iter()
        .find_map(|version| Some((version, packages(&apt, version)?)))
        .context("has none of them")?;
    let unpacked = temporary.join("unpacked");
    for (package, exactly) in packages {
        say(&format!("fetching {package} {exactly} from Debian {suite}"));
        unpack(&apt.download(&package, Some(&exactly))?, &unpacked)?;
    }
    for unused in UNUSED {
        let folder = unpacked.join(format!("usr/share/go-{version}/{unused}"));
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
    }
    let kept = cache.join(folder(version));
    fs::rename(unpacked.join("usr"), &kept)
        .with_context(|| format!("cannot make {}", kept.display()))?;
    let go = cache.join(program(version));
    let said = process::output(Command::new(&go).arg("version").env("GOTOOLCHAIN", "local"))?;
    say(&format!("tests have {} too", said.trim_end()));
    Ok(go)
}

/// The compiler's package and that of the library, each with its newest version; none where the suite
/// has not both.
fn packages(apt: &PrivateApt, version: &str) -> Option<[(String, String); 2]> {
    let of = |kind: &str| {
        let package = format!("golang-{version}-{kind}");
        let newest = apt.versions(&package).ok()?.into_iter().next()?;
        Some((package, newest))
    };
    Some([of("go")?, of("src")?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_compiler_is_where_its_package_has_it() {
        // As the packages have it below /usr.
        let expected = Path::new("go-1.27/lib/go-1.27/bin/go");
        assert_eq!(program("1.27"), expected);
    }
}
