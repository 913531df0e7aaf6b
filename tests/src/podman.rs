//! A real Podman of the test's own, with its API on a socket.

use std::{
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{
    command,
    daemon::Daemon,
    ended,
    folder::Folder,
    image,
    parents::Parents,
    wait::{self, PATIENCE},
};

pub use image::IMAGE;

const REMEDY: &str =
    "install it with: apt-get install -y --no-install-recommends podman crun runc busybox-static";

/// A Podman with a storage of its own, and its service; dropping it removes its containers, ends the
/// service, and fails the test if anything of it stays.
#[derive(Debug)]
pub struct Podman {
    dir: Folder,
    runtime: &'static str,
    service: Option<Daemon>,
    parents: Parents,
}

impl Podman {
    /// Imports the image and starts the service; containers run by `runtime` (`runc`, `crun`).
    pub fn start(runtime: &'static str) -> Result<Self> {
        let parents = Parents::note(&["libpod_parent"])?;
        let mut podman = Self {
            dir: Folder::of("podman")?,
            runtime,
            service: None,
            parents,
        };
        let dir = podman.dir().to_owned();
        // Podman would raise limits, which takes a right that a test may not have.
        let config =
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n";
        fs::write(dir.join("containers.conf"), config)?;
        fs::write(dir.join("empty"), "")?;
        fs::write(dir.join("policy.json"), image::POLICY)?;
        let archive = image::archive(&dir, IMAGE, &["sh"])?;
        let policy = dir.join("policy.json").display().to_string();
        podman.run([
            "load",
            "--signature-policy",
            &policy,
            "-i",
            &archive.display().to_string(),
        ])?;
        podman.up()?;
        Ok(podman)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The service's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("podman.sock")
    }

    /// A folder with `var/lib/containers/storage` as on a machine whose only Podman this is.
    pub fn host_root(&self) -> Result<PathBuf> {
        let root = self.dir().join("host");
        if !root.exists() {
            fs::create_dir_all(root.join("var/lib/containers"))?;
            let storage = root.join("var/lib/containers/storage");
            std::os::unix::fs::symlink(self.dir().join("root"), storage)?;
        }
        Ok(root)
    }

    /// Starts the service (again) and waits until it answers.
    pub fn up(&mut self) -> Result<()> {
        let socket = self.socket();
        let address = format!("unix://{}", socket.display());
        let mut command = self.command(["system", "service", "--time", "0", &address]);
        self.service = Some(Daemon::start("podman", &mut command, self.dir(), REMEDY)?);
        wait::until("Podman's answer", PATIENCE, || {
            let service = self.service.as_mut().context("just started")?;
            service.still_runs()?;
            let answers = std::os::unix::net::UnixStream::connect(&socket).is_ok();
            Ok(answers.then_some(()))
        })
    }

    /// Ends the service; its containers run on.
    pub fn down(&mut self) -> Result<()> {
        let Some(service) = self.service.take() else {
            return Ok(());
        };
        // One that has to be killed is gone as well.
        let _ = service.end(Duration::from_secs(15));
        // What stays of it would look like one that refuses.
        match fs::remove_file(self.socket()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    /// A `podman` command. crun refuses cgroup v1 with v2 beside it, so it is shown v1 alone: in
    /// mounts of its own, the file that tells v2 has another one over it.
    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let at = |name: &str| self.dir().join(name);
        let beside = Path::new("/sys/fs/cgroup/unified/cgroup.controllers");
        let mut command = if self.runtime == "crun" && beside.exists() {
            let mut command = Command::new("unshare");
            command
                .args(["-m", "--propagation", "private", "sh", "-c"])
                .arg("mount --bind \"$0\" \"$1\" && shift && exec \"$@\"")
                .arg(at("empty"))
                .arg(beside)
                .arg("podman");
            command
        } else {
            Command::new("podman")
        };
        command
            .arg("--root")
            .arg(at("root"))
            .arg("--runroot")
            .arg(at("run"))
            .arg("--tmpdir")
            .arg(at("tmp"))
            .args(["--cgroup-manager", "cgroupfs", "--events-backend", "file"])
            .args(["--storage-driver", "overlay", "--runtime", self.runtime])
            .args(args)
            .env("CONTAINERS_CONF", at("containers.conf"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a `podman` command; returns what it prints.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        command::output(&mut self.command(args), REMEDY)
    }

    /// Makes and starts a container in the background; returns its id.
    pub fn container(&self, name: &str, options: &[&str], what: &[&str]) -> Result<String> {
        let fixed = [
            "run",
            "-d",
            "--network",
            "none",
            "--stop-timeout",
            "1",
            "--name",
            name,
        ];
        self.run([&fixed[..], options, &[IMAGE], what].concat())
    }

    /// What `podman inspect` says of a container.
    pub fn inspect(&self, container: &str) -> Result<Value> {
        let text = self.run(["inspect", container])?;
        let mut list: Value = serde_json::from_str(&text)?;
        Ok(list[0].take())
    }

    fn clear(&mut self) -> Result<()> {
        self.run(["rm", "--force", "--all", "--time", "0"])?;
        self.down()?;
        let _ = Command::new("umount")
            .arg(self.dir().join("root/overlay"))
            .output();
        self.dir.remove()?;
        self.parents.remove()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        ended(self.clear());
    }
}
