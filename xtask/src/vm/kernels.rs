//! The kernels of the matrix: Debian's cloud kernels, fetched once as packages and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::{
    process,
    toolchain::{
        private_apt::{self, Mirrors, PrivateApt},
        say,
    },
};

/// A place in the matrix.
#[derive(Debug, PartialEq, Eq)]
pub struct Slot {
    /// A series, as in `6.1`, or [`NEWEST`].
    pub series: &'static str,
    /// Whether its memory controller has the interface of cgroup v1.
    pub v1: bool,
    /// Whether the rights that it takes are tried: on the oldest, on one that counts maps by cgroup
    /// (since 5.11), and on the newest.
    pub rights: bool,
}

/// The highest version that Debian has, if its series is not in the list by itself.
const NEWEST: &str = "newest";

const fn slot(series: &'static str, v1: bool, rights: bool) -> Slot {
    Slot { series, v1, rights }
}

/// Which kernels, and why these: every long-term series from the oldest supported one, the last
/// that throttles whole groups (6.17), and those since then where the scheduler changed.
/// Debian builds memory control without v1 from 6.12 on.
pub const SLOTS: [Slot; 9] = [
    slot("5.10", true, true),
    slot("6.1", true, true),
    slot("6.12", false, false),
    slot("6.17", false, false),
    slot("6.18", false, false),
    slot("6.19", false, false),
    slot("7.0", false, false),
    slot("7.2", false, false),
    slot(NEWEST, false, true),
];

/// The one whose guests with more CPUs are run, which say the same on each: it boots fastest.
pub const WIDE: &str = "6.12";

/// Suites that have them between them, all with small package lists; those of the security archive
/// have the newest point release of a stable series.
const SECURITY_SUITES: [&str; 3] = ["bullseye-security", "bookworm-security", "trixie-security"];
const SUITES: [&str; 1] = ["trixie-backports"];

/// Around the release in the name of an image's package.
const IMAGE: (&str, &str) = ("linux-image-", "-cloud-amd64");
/// From 7.0 on the image's package only depends on one with this prefix that has the image itself.
const BINARY: &str = "linux-binary-";

/// A kernel in the cache.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its place in [`SLOTS`].
    pub slot: usize,
    /// Its version as Debian has it, as in `6.18.15-1~bpo13+1`.
    pub version: String,
    pub image: PathBuf,
}

impl Kernel {
    /// The upstream version.
    pub fn label(&self) -> &str {
        upstream(&self.version)
    }
}

/// Whether a series is meant by the patterns: itself, or a beginning that ends in a dot. None
/// means all.
fn is_meant(series: &str, patterns: &[String]) -> bool {
    let by = |pattern: &String| {
        series == pattern || (pattern.ends_with('.') && series.starts_with(pattern.as_str()))
    };
    patterns.is_empty() || patterns.iter().any(by)
}

fn upstream(version: &str) -> &str {
    version.split('-').next().unwrap_or(version)
}

/// The kernels that are meant, in order, and for each that could not be had, why.
pub fn prepare(cache: &Path, patterns: &[String]) -> (Vec<Kernel>, Vec<String>) {
    let meant: Vec<usize> = (0..SLOTS.len())
        .filter(|slot| is_meant(SLOTS[*slot].series, patterns))
        .collect();
    let mut failures = Vec::new();
    for pattern in patterns {
        let pattern = std::slice::from_ref(pattern);
        if !SLOTS.iter().any(|slot| is_meant(slot.series, pattern)) {
            let known: Vec<&str> = SLOTS.iter().map(|slot| slot.series).collect();
            failures.push(format!(
                "no kernel {pattern:?}: there are {}",
                known.join(", ")
            ));
        }
    }
    let mut kernels: Vec<Kernel> = (meant.iter())
        .filter_map(|slot| cached(cache, *slot))
        .collect();
    let is_here = |slot: &usize| kernels.iter().any(|kernel| kernel.slot == *slot);
    let missing: Vec<usize> = meant.into_iter().filter(|slot| !is_here(slot)).collect();
    if !missing.is_empty() {
        match Index::read(cache) {
            Err(error) => failures.push(format!("kernels cannot be fetched: {error:#}")),
            Ok(index) => {
                for slot in missing {
                    match index.fetch(cache, slot) {
                        Ok(kernel) => kernels.push(kernel),
                        Err(error) => {
                            failures.push(format!("kernel {}: {error:#}", SLOTS[slot].series));
                        }
                    }
                }
            }
        }
    }
    kernels.sort_by_key(|kernel| kernel.slot);
    // The newest may be of a series that has a place of its own.
    let series: Vec<&str> = (kernels.iter())
        .map(|kernel| SLOTS[kernel.slot].series)
        .collect();
    kernels.retain(|kernel| {
        let has_place = |series: &&str| is_of_series(&kernel.version, series);
        SLOTS[kernel.slot].series != NEWEST || !series.iter().any(has_place)
    });
    (kernels, failures)
}

/// A kernel's folder has the image and its package's version.
fn cached(cache: &Path, slot: usize) -> Option<Kernel> {
    let folder = cache.join(SLOTS[slot].series);
    let version = fs::read_to_string(folder.join("version")).ok()?;
    let image = folder.join("vmlinuz");
    image.is_file().then_some(Kernel {
        slot,
        version,
        image,
    })
}

/// What the suites have.
struct Index {
    apt: PrivateApt,
    /// Packages and versions of images.
    images: Vec<Candidate>,
    /// Names of the packages with [`BINARY`].
    binaries: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    package: String,
    version: String,
}

impl Index {
    fn read(cache: &Path) -> Result<Self> {
        say("reading the package lists of Debian's suites that have kernels");
        let mirrors = Mirrors::of_this_machine()?;
        let archive = mirrors.archive.first().map(String::as_str);
        let archive = archive.context("no mirror of the archive")?;
        let security = mirrors.security.first().map(String::as_str).context(
            "the machine's apt sources name no mirror of Debian's security archive, where the \
             kernels of older releases are",
        )?;
        let sources: Vec<(&str, &str)> = (SECURITY_SUITES.iter().map(|suite| (security, *suite)))
            .chain(SUITES.iter().map(|suite| (archive, *suite)))
            .collect();
        let apt = PrivateApt::new(cache.join("apt"), &sources)?;
        apt.update()?;
        let names = |prefix: &str| -> Result<Vec<String>> {
            let listed = process::output(apt.command("apt-cache").args(["pkgnames", prefix]))?;
            Ok(listed
                .lines()
                .filter(|name| name.ends_with(IMAGE.1))
                .map(str::to_owned)
                .collect())
        };
        let binaries = names(BINARY)?;
        let madison = process::output(
            apt.command("apt-cache")
                .arg("madison")
                .args(names(IMAGE.0)?),
        )?;
        let images = candidates(&madison);
        Ok(Self {
            apt,
            images,
            binaries,
        })
    }

    /// Fetches the highest version for a place.
    fn fetch(&self, cache: &Path, slot: usize) -> Result<Kernel> {
        let series = SLOTS[slot].series;
        let Candidate { package, version } = choose(&self.images, series)
            .with_context(|| format!("no suite has a cloud kernel of the series {series}"))?;
        let release = package.strip_prefix(IMAGE.0).unwrap_or(package);
        let binary = format!("{BINARY}{release}");
        let package = if self.binaries.contains(&binary) {
            &binary
        } else {
            package
        };
        let size = self.size(package, version)?;
        say(&format!(
            "fetching {package} {version} ({:.1} MB) for its kernel, which is not installed",
            size as f64 / 1e6
        ));
        let file = self.apt.download(package, Some(version))?;
        let unpacked = tempfile::tempdir_in(cache)?;
        private_apt::unpack(&file, unpacked.path())?;
        let image = find_image(unpacked.path())
            .with_context(|| format!("{package} has no file vmlinuz"))?;
        let folder = cache.join(series);
        fs::create_dir_all(&folder)?;
        let kernel = Kernel {
            slot,
            version: version.clone(),
            image: folder.join("vmlinuz"),
        };
        fs::rename(image, &kernel.image)?;
        fs::remove_file(file)?;
        // Last: it says that the folder is complete.
        fs::write(folder.join("version"), version)?;
        Ok(kernel)
    }

    fn size(&self, package: &str, version: &str) -> Result<u64> {
        let shown = process::output(
            self.apt
                .command("apt-cache")
                .args(["show", "--no-all-versions"])
                .arg(format!("{package}={version}")),
        )?;
        let size = shown.lines().find_map(|line| line.strip_prefix("Size: "));
        size.and_then(|size| size.parse().ok())
            .with_context(|| format!("the package list gives no size for {package} {version}"))
    }
}

/// Reads `apt-cache madison`; packages without a release in their name bring no kernel.
fn candidates(madison: &str) -> Vec<Candidate> {
    madison
        .lines()
        .filter_map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let (package, version) = (columns.next()?, columns.next()?);
            let release = package.strip_prefix(IMAGE.0)?.strip_suffix(IMAGE.1)?;
            release
                .starts_with(|c: char| c.is_ascii_digit())
                .then(|| Candidate {
                    package: package.to_owned(),
                    version: version.to_owned(),
                })
        })
        .collect()
}

/// The highest version of a series. A release candidate is none of it.
fn choose<'a>(candidates: &'a [Candidate], series: &str) -> Option<&'a Candidate> {
    candidates
        .iter()
        .filter(|candidate| !upstream(&candidate.version).contains('~'))
        .filter(|candidate| series == NEWEST || is_of_series(&candidate.version, series))
        .max_by_key(|candidate| numbers(&candidate.version))
}

fn is_of_series(version: &str, series: &str) -> bool {
    version
        .strip_prefix(series)
        .is_some_and(|rest| rest.starts_with(['.', '-']))
}

/// The numbers in a version, by which those of one packaging can be compared.
fn numbers(version: &str) -> Vec<u64> {
    version
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect()
}

/// The compressed image in an unpacked package, in /boot or beside the modules.
fn find_image(folder: &Path) -> Option<PathBuf> {
    let mut folders = vec![folder.join("boot")];
    for modules in ["lib/modules", "usr/lib/modules"] {
        let releases = fs::read_dir(folder.join(modules)).into_iter().flatten();
        folders.extend(releases.filter_map(|entry| Some(entry.ok()?.path())));
    }
    folders
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            path.is_file() && name.starts_with("vmlinuz")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MADISON: &str = "\
linux-image-5.10.0-9-cloud-amd64 | 5.10.70-1 | http://mirror.example s/main amd64 Packages
linux-image-5.10.0-46-cloud-amd64 | 5.10.262-1 | http://mirror.example s/main amd64 Packages
linux-image-cloud-amd64 | 5.10.262-1 | http://mirror.example s/main amd64 Packages
linux-image-6.1.0-0.deb11.52-cloud-amd64 | 6.1.180-1~deb11u1 | http://mirror.example s/main
linux-image-6.1.0-56-cloud-amd64 | 6.1.192-2 | http://mirror.example s/main amd64 Packages
linux-image-6.1-cloud-amd64 | 6.1.180-1~deb11u1 | http://mirror.example s/main amd64 Packages
linux-image-6.19.14+deb13-cloud-amd64 | 6.19.14-1~bpo13+1 | http://mirror.example s/main
linux-image-7.2-cloud-amd64 | 7.2~rc7-1~exp1 | http://mirror.example s/main amd64 Packages
";

    #[test]
    fn the_highest_of_a_series_is_chosen() {
        let candidates = candidates(MADISON);
        let chosen = |series| choose(&candidates, series).map(|c| c.package.as_str());
        assert_eq!(chosen("5.10"), Some("linux-image-5.10.0-46-cloud-amd64"));
        assert_eq!(chosen("6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            chosen(NEWEST),
            Some("linux-image-6.19.14+deb13-cloud-amd64")
        );
        assert_eq!(chosen("7.2"), None);
        assert_eq!(chosen("6.9"), None);
    }

    #[test]
    fn patterns_mean_a_series_or_several() {
        let meant = |series, pattern: &str| is_meant(series, &[pattern.to_owned()]);
        assert!(is_meant("6.1", &[]) && meant("6.1", "6.1") && meant("6.1", "6."));
        assert!(!meant("6.12", "6.1") && !meant(NEWEST, "6."));
        assert_eq!(upstream("6.18.15-1~bpo13+1"), "6.18.15");
        assert!(is_of_series("6.1.192-2", "6.1") && !is_of_series("6.12.1-1", "6.1"));
    }
}
