//! Packages of Debian: unpacked into the cache where only their files are wanted.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::say;
use crate::{process, workspace};

/// Suites that may have a recent compiler's source, the smallest index first.
const SUITES: [&str; 4] = ["trixie-backports", "trixie", "forky", "sid"];

/// Debian's keys, by the names that its releases gave the file.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Unpacks the library of the package `rust-src` of exactly that version of Rust into `folder`, as
/// `library`. The package is not installed, which would pull in Debian's own compiler.
pub fn fetch_rust_src(release: &str, folder: &Path) -> Result<()> {
    if workspace::find_program("apt-get").is_none() {
        bail!("apt-get is not installed");
    }
    let keyring = KEYRINGS
        .into_iter()
        .find(|file| Path::new(file).is_file())
        .with_context(|| format!("Debian's keyring is missing ({})", KEYRINGS.join(", ")))?;
    let mirrors = mirrors()?;
    if mirrors.is_empty() {
        bail!("the machine's apt sources name no Debian mirror");
    }
    let mut failures = Vec::new();
    for mirror in &mirrors {
        for suite in SUITES {
            match fetch_from(mirror, suite, keyring, release, folder) {
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

/// The mirrors that the machine's own apt uses for Debian's main archive.
fn mirrors() -> Result<BTreeSet<String>> {
    let listed = process::output(Command::new("apt-get").args([
        "indextargets",
        "--format",
        "$(COMPONENT) $(RELEASE) $(REPO_URI)",
        "Created-By: Packages",
    ]))?;
    Ok(mirrors_of(&listed))
}

fn mirrors_of(index_targets: &str) -> BTreeSet<String> {
    index_targets
        .lines()
        .filter_map(|line| {
            let mut words = line.split(' ');
            let (component, release, base) = (words.next()?, words.next()?, words.next()?);
            // The security archive has other suites.
            (component == "main" && !release.contains("security")).then(|| base.to_owned())
        })
        .collect()
}

/// An apt of our own: its sources, state and cache are in one folder of ours.
struct PrivateApt {
    folder: PathBuf,
}

impl PrivateApt {
    fn new(folder: PathBuf, mirror: &str, suite: &str, keyring: &str) -> Result<Self> {
        for sub in ["lists/partial", "archives/partial"] {
            let sub = folder.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot make {}", sub.display()))?;
        }
        fs::write(folder.join("status"), "")?;
        fs::write(
            folder.join("sources.list"),
            format!("deb [signed-by={keyring}] {mirror} {suite} main\n"),
        )?;
        Ok(Self { folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |name: &str| self.folder.join(name).display().to_string();
        for option in [
            format!("Dir::Etc::SourceList={}", place("sources.list")),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            "Dir::Etc::Preferences=/dev/null".to_owned(),
            "Dir::Etc::PreferencesParts=/dev/null".to_owned(),
            format!("Dir::State={}", self.folder.display()),
            format!("Dir::State::Lists={}", place("lists")),
            format!("Dir::State::Status={}", place("status")),
            format!("Dir::Cache={}", self.folder.display()),
            format!("Dir::Cache::Archives={}", place("archives")),
            // Apt's own user could not reach a folder in a home directory. Signatures are checked
            // all the same.
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            "Acquire::Retries=3".to_owned(),
            // Only package lists, no file or icon indices.
            "Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        ] {
            command.arg("-o").arg(option);
        }
        command.current_dir(&self.folder).env("LC_ALL", "C");
        command
    }
}

fn fetch_from(
    mirror: &str,
    suite: &str,
    keyring: &str,
    release: &str,
    folder: &Path,
) -> Result<()> {
    // Beside the result, not in the system's temporary folder, which may be small.
    let above = folder.parent().context("the cache has no folder")?;
    let temporary = tempfile::tempdir_in(above)?;
    let apt = PrivateApt::new(temporary.path().join("apt"), mirror, suite, keyring)?;

    say(&format!(
        "reading the package list of Debian {suite}, which may have the source"
    ));
    process::output(apt.command("apt-get").args(["update", "--quiet"]))?;
    let versions = process::output(apt.command("apt-cache").args(["madison", "rust-src"]))?;
    let version = matching_version(&versions, release)
        .with_context(|| format!("has no rust-src {release}"))?;

    say(&format!(
        "fetching rust-src {version} from Debian {suite} and unpacking it"
    ));
    process::output(
        apt.command("apt-get")
            .args(["download", "--quiet"])
            .arg(format!("rust-src={version}")),
    )?;
    let package = fs::read_dir(&apt.folder)?
        .filter_map(std::result::Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    let unpacked = temporary.path().join("unpacked");
    process::output(Command::new("dpkg").arg("-x").arg(package).arg(&unpacked))?;
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
    fn mirrors_are_those_of_the_main_archive() {
        let listed = "main bookworm http://mirror.example/debian/\n\
                      main bookworm-updates http://mirror.example/debian/\n\
                      main bookworm-security http://mirror.example/debian-security/\n\
                      contrib bookworm http://other.example/debian/\n\
                      main\n";
        let expected = BTreeSet::from(["http://mirror.example/debian/".to_owned()]);
        assert_eq!(mirrors_of(listed), expected);
    }

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
