//! An apt of our own: packages are read from Debian and verified by its means, and the machine's
//! own sources and packages stay as they are.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{process, workspace};

/// Debian's keys, by the names that its releases gave the file.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.pgp",
    "/usr/share/keyrings/debian-archive-keyring.gpg",
];

/// Where the machine's own apt finds Debian.
#[derive(Debug, PartialEq, Eq)]
pub struct Mirrors {
    /// Of the main archive; at least one.
    pub archive: BTreeSet<String>,
    /// Of the security archive.
    pub security: BTreeSet<String>,
}

impl Mirrors {
    /// Asks the machine's apt.
    pub fn of_this_machine() -> Result<Self> {
        if workspace::find_program("apt-get").is_none() {
            bail!("apt-get is not installed");
        }
        let listed = process::output(Command::new("apt-get").args([
            "indextargets",
            "--format",
            "$(COMPONENT) $(RELEASE) $(REPO_URI)",
            "Created-By: Packages",
        ]))?;
        let mirrors = Self::of(&listed);
        if mirrors.archive.is_empty() {
            bail!("the machine's apt sources name no Debian mirror");
        }
        Ok(mirrors)
    }

    /// What `fetch` gets from the first mirror of the archive and the first of `suites` that have it: it
    /// is called with them, and with a new folder in `above` that goes afterwards. Where none has `what`,
    /// the error tells of each why.
    pub fn first_that_gives<T>(
        &self,
        what: &str,
        suites: &[&str],
        above: &Path,
        fetch: impl Fn(&str, &str, &Path) -> Result<T>,
    ) -> Result<T> {
        let mut failures = Vec::new();
        for mirror in &self.archive {
            for suite in suites {
                // Not in the system's temporary folder, which may be small, and on another disk.
                let temporary = tempfile::tempdir_in(above)
                    .with_context(|| format!("cannot make a folder in {}", above.display()))?;
                match fetch(mirror, suite, temporary.path()) {
                    Ok(fetched) => return Ok(fetched),
                    Err(error) => failures.push(format!("{mirror} {suite}: {error:#}")),
                }
            }
        }
        bail!("no suite gave {what}:\n  {}", failures.join("\n  "))
    }

    fn of(index_targets: &str) -> Self {
        let (mut archive, mut security) = (BTreeSet::new(), BTreeSet::new());
        for line in index_targets.lines() {
            let mut words = line.split(' ');
            if let (Some("main"), Some(release), Some(base)) =
                (words.next(), words.next(), words.next())
            {
                // The security archive has other suites.
                let mirrors = if release.contains("security") {
                    &mut security
                } else {
                    &mut archive
                };
                mirrors.insert(base.to_owned());
            }
        }
        Self { archive, security }
    }
}

/// Sources, state and cache in one folder.
pub struct PrivateApt {
    pub folder: PathBuf,
}

impl PrivateApt {
    /// An apt that knows the packages of these (mirror, suite).
    pub fn new(folder: PathBuf, sources: &[(&str, &str)]) -> Result<Self> {
        Self::of("deb", folder, sources)
    }

    /// The same for source packages.
    pub fn of_sources(folder: PathBuf, sources: &[(&str, &str)]) -> Result<Self> {
        Self::of("deb-src", folder, sources)
    }

    fn of(kind: &str, folder: PathBuf, sources: &[(&str, &str)]) -> Result<Self> {
        let keyring = KEYRINGS
            .into_iter()
            .find(|file| Path::new(file).is_file())
            .with_context(|| format!("Debian's keyring is missing ({})", KEYRINGS.join(", ")))?;
        for sub in ["lists/partial", "archives/partial"] {
            let sub = folder.join(sub);
            fs::create_dir_all(&sub).with_context(|| format!("cannot make {}", sub.display()))?;
        }
        fs::write(folder.join("status"), "")?;
        let lines: Vec<String> = sources
            .iter()
            .map(|(mirror, suite)| format!("{kind} [signed-by={keyring}] {mirror} {suite} main\n"))
            .collect();
        fs::write(folder.join("sources.list"), lines.concat())?;
        Ok(Self { folder })
    }

    /// A program of apt on these sources; what it downloads is put into the folder.
    pub fn command(&self, program: &str) -> Command {
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

    /// Reads the package lists.
    pub fn update(&self) -> Result<()> {
        process::output(self.command("apt-get").args(["update", "--quiet"])).map(drop)
    }

    /// Downloads packages with all that they depend on, verified, and tells where they are. For this
    /// apt nothing is installed, so that it is whatever a new system would have to have, but for what
    /// Debian takes as given.
    pub fn download_with_dependencies(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        process::output(
            self.command("apt-get")
                .args(["install", "--yes", "--download-only", "--quiet"])
                .arg("--no-install-recommends")
                .args(packages),
        )?;
        let mut found: Vec<PathBuf> = fs::read_dir(self.folder.join("archives"))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|ending| ending == "deb"))
            .collect();
        found.sort();
        Ok(found)
    }

    /// The versions that a package has here, the newest first.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        let listed = process::output(self.command("apt-cache").args(["madison", package]))?;
        Ok(versions(&listed))
    }

    /// Downloads a package, its newest version or exactly that one, verified, and tells where it is.
    pub fn download(&self, package: &str, version: Option<&str>) -> Result<PathBuf> {
        let exactly = version.map_or_else(String::new, |version| format!("={version}"));
        process::output(
            self.command("apt-get")
                .args(["download", "--quiet"])
                .arg(format!("{package}{exactly}")),
        )?;
        let begin = format!("{package}_");
        fs::read_dir(&self.folder)?
            .filter_map(std::result::Result::ok)
            .find(|entry| {
                let name = entry.file_name();
                let name = name.to_string_lossy();
                name.starts_with(&begin) && name.ends_with(".deb")
            })
            .map(|entry| entry.path())
            .with_context(|| format!("apt-get download left no package {package}"))
    }
}

/// Reads the versions of one package that `apt-cache madison` lists.
fn versions(madison: &str) -> Vec<String> {
    let column = |line: &str| Some(line.split('|').nth(1)?.trim().to_owned());
    madison.lines().filter_map(column).collect()
}

/// Unpacks a package without installing it.
pub fn unpack(package: &Path, folder: &Path) -> Result<()> {
    process::output(Command::new("dpkg").arg("-x").arg(package).arg(folder)).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_are_told_apart() {
        let listed = "main bookworm http://mirror.example/debian/\n\
                      main bookworm-updates http://mirror.example/debian/\n\
                      main bookworm-security http://mirror.example/debian-security/\n\
                      contrib bookworm http://other.example/debian/\n\
                      main\n";
        let expected = Mirrors {
            archive: BTreeSet::from(["http://mirror.example/debian/".to_owned()]),
            security: BTreeSet::from(["http://mirror.example/debian-security/".to_owned()]),
        };
        assert_eq!(Mirrors::of(listed), expected);
    }

    #[test]
    fn the_first_that_has_it_gives_it_and_each_says_why_not() {
        let mirrors = Mirrors {
            archive: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
            security: BTreeSet::new(),
        };
        let above = tempfile::tempdir().unwrap();
        let asked = |given: &str| {
            mirrors.first_that_gives(
                "it",
                &["new", "old"],
                above.path(),
                |mirror, suite, folder| {
                    fs::write(folder.join("file"), "")?;
                    let place = format!("{mirror} {suite}");
                    if place == given {
                        return Ok(place);
                    }
                    bail!("no")
                },
            )
        };
        assert_eq!(asked("a old").unwrap(), "a old");
        assert_eq!(asked("b new").unwrap(), "b new");
        let error = asked("c").unwrap_err().to_string();
        let expected = "no suite gave it:\n  a new: no\n  a old: no\n  b new: no\n  b old: no";
        assert_eq!(error, expected);
        assert_eq!(fs::read_dir(above.path()).unwrap().count(), 0);
    }

    #[test]
    fn versions_are_read() {
        let madison = " containerd | 2.1.9+ds1-5 | http://mirror.example x/main amd64 Packages\n \
                       containerd | 1.7.24~ds1-6 | http://mirror.example y/main amd64 Packages\n";
        assert_eq!(versions(madison), ["2.1.9+ds1-5", "1.7.24~ds1-6"]);
        assert!(versions("").is_empty());
    }
}
