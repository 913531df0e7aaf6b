//! The file system of the guest with systemd and engines: Debian's packages unpacked, none of them
//! installed, and a kernel with the modules that it takes.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    process,
    toolchain::{
        private_apt::{Mirrors, PrivateApt},
        say,
    },
};

/// The release: one whose engines and systemd are those that people run.
const SUITE: &str = "trixie";
const SECURITY_SUITE: &str = "trixie-security";

/// Its cloud kernel, by the package that depends on the newest one.
const KERNEL: &str = "linux-image-cloud-amd64";

/// What the guest has, besides what these depend on. The last ones Debian takes as given.
const PACKAGES: [&str; 17] = [
    "systemd",
    "systemd-sysv",
    "systemd-oomd",
    "dbus",
    "docker.io",
    "containerd",
    "runc",
    "podman",
    "crun",
    "conmon",
    "busybox-static",
    "dash",
    "coreutils",
    "grep",
    "tar",
    "mount",
    "util-linux",
];

/// What no program reads.
const LEFT_OUT: [&str; 4] = [
    "./usr/share/doc/*",
    "./usr/share/man/*",
    "./usr/share/locale/*",
    "./usr/share/info/*",
];

/// Folders that a release with one /usr has as links; its packages have their files in /usr alone.
const MERGED: [&str; 4] = ["bin", "sbin", "lib", "lib64"];

/// Modules that the kernel has neither built in nor could load by itself, in the order of loading.
pub const MODULES: [&str; 2] = ["virtio_blk", "overlay"];

/// Room of the disk; its file has only what is written.
const SIZE: &str = "3G";

/// What a guest boots from.
pub struct Root {
    pub kernel: PathBuf,
    /// The folder with [`MODULES`], each as `NAME.ko`.
    pub modules: PathBuf,
    pub disk: PathBuf,
}

/// The files in the cache; fetched and made if they are not there.
pub fn prepare(cache: &Path) -> Result<Root> {
    let root = Root {
        kernel: cache.join("vmlinuz"),
        modules: cache.join("modules"),
        disk: cache.join("root.ext4"),
    };
    // Last of all, it says that the others are complete, and made from the same packages.
    let stamp = cache.join("stamp");
    let meant = format!("{SUITE} {KERNEL} {} {SIZE}\n", PACKAGES.join(" "));
    if fs::read_to_string(&stamp).is_ok_and(|made| made == meant) {
        return Ok(root);
    }
    if cache.exists() {
        fs::remove_dir_all(cache)?;
    }
    fs::create_dir_all(&root.modules).with_context(|| format!("making {}", cache.display()))?;
    let temporary = tempfile::tempdir_in(cache)?;
    let mirrors = Mirrors::of_this_machine()?;
    let mut sources: Vec<(&str, &str)> = Vec::new();
    let archive = mirrors
        .archive
        .first()
        .context("no mirror of the archive")?;
    sources.push((archive, SUITE));
    let security = mirrors.security.first();
    sources.extend(security.map(|mirror| (mirror.as_str(), SECURITY_SUITE)));
    let apt = PrivateApt::new(temporary.path().join("apt"), &sources)?;
    say(&format!("reading the package lists of Debian {SUITE}"));
    apt.update()?;
    say(&format!(
        "fetching {} with what they need (about 140 MB) from Debian {SUITE} for the guest with \
         systemd; nothing is installed",
        PACKAGES.join(", ")
    ));
    let folder = temporary.path().join("root");
    make_merged(&folder)?;
    for package in apt.download_with_dependencies(&PACKAGES)? {
        unpack(&package, &folder)?;
    }
    kernel(&apt, temporary.path(), &root)?;
    disk(&folder, &root.disk)?;
    fs::write(stamp, meant)?;
    Ok(root)
}

fn make_merged(folder: &Path) -> Result<()> {
    for name in MERGED {
        fs::create_dir_all(folder.join("usr").join(name))?;
        symlink(format!("usr/{name}"), folder.join(name))?;
    }
    Ok(())
}

/// Unpacks a package into a folder in which links may stand for folders.
fn unpack(package: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut archive = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("starting dpkg-deb")?;
    let output = archive.stdout.take().context("its output is piped")?;
    let unpacked = Command::new("tar")
        .args(["--extract", "--keep-directory-symlink", "--directory"])
        .arg(folder)
        .args(LEFT_OUT.map(|pattern| format!("--exclude={pattern}")))
        .stdin(output)
        .status()
        .context("starting tar")?;
    let read = archive.wait()?;
    ensure!(
        read.success() && unpacked.success(),
        "{} was not unpacked: dpkg-deb ended with {read}, tar with {unpacked}",
        package.display()
    );
    Ok(())
}

/// Fetches the kernel alone: its package would have a guest make what this one brings along.
fn kernel(apt: &PrivateApt, temporary: &Path, root: &Root) -> Result<()> {
    let shown = process::output(apt.command("apt-cache").args(["depends", KERNEL]))?;
    let name = image_name(&shown).with_context(|| format!("{KERNEL} depends on no kernel"))?;
    say(&format!(
        "fetching {name} (about 35 MB) for its kernel, which is not installed"
    ));
    let file = apt.download(name, None)?;
    let folder = temporary.join("kernel");
    unpack(&file, &folder)?;
    let image = find(&folder, "vmlinuz-")?.with_context(|| format!("{name} has no vmlinuz"))?;
    fs::rename(image, &root.kernel)?;
    for module in MODULES {
        let file = find(&folder, &format!("{module}.ko"))?
            .with_context(|| format!("{name} has no module {module}"))?;
        let to = root.modules.join(format!("{module}.ko"));
        if file.extension().is_some_and(|ending| ending == "xz") {
            let mut unxz = Command::new("busybox");
            unxz.arg("unxz").arg("-c").arg(&file);
            let made = unxz.stdout(File::create(&to)?).status();
            let made = made.context("starting busybox")?;
            ensure!(made.success(), "{} was not unpacked", file.display());
        } else {
            fs::rename(file, to)?;
        }
    }
    Ok(())
}

/// The kernel's package that another one depends on, in the words of `apt-cache depends`.
fn image_name(depends: &str) -> Option<&str> {
    depends.lines().find_map(|line| {
        let name = line.trim().strip_prefix("Depends: ")?;
        name.starts_with("linux-image-").then_some(name)
    })
}

/// The first file below a folder whose name begins so.
fn find(folder: &Path, begin: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            if let Some(found) = find(&entry.path(), begin)? {
                return Ok(Some(found));
            }
        } else if kind.is_file() && entry.file_name().to_string_lossy().starts_with(begin) {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}

fn disk(folder: &Path, disk: &Path) -> Result<()> {
    // It is never written to by two: each guest has what it writes to itself.
    let mut make = Command::new("mke2fs");
    make.args(["-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d"])
        .arg(folder)
        .arg(disk)
        .arg(SIZE)
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
    process::output(&mut make)
        .map(drop)
        .context("mke2fs of the package e2fsprogs made no disk")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_is_what_the_package_depends_on() {
        let depends = "linux-image-cloud-amd64\n  Depends: linux-image-6.12.1-cloud-amd64\n";
        assert_eq!(image_name(depends), Some("linux-image-6.12.1-cloud-amd64"));
        assert_eq!(image_name("a\n  Depends: b\n"), None);
    }

    #[test]
    fn files_are_found_below_folders_by_how_they_begin() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        fs::create_dir_all(&deep).unwrap();
        fs::write(deep.join("overlay.ko.xz"), "").unwrap();
        let found = find(folder.path(), "overlay.ko").unwrap();
        assert_eq!(found, Some(deep.join("overlay.ko.xz")));
        assert_eq!(find(folder.path(), "other").unwrap(), None);
    }
}
