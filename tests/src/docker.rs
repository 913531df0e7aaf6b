//! A real Docker daemon of the test's own, with one small image, on its own socket.

use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{command, daemon::Daemon, ended, folder::Folder, image, parents::Parents, wait};

/// The image that every container of the tests is made of.
pub const IMAGE: &str = "limitscope-test/busybox:1";

const REMEDY: &str = "install it with: apt-get install -y --no-install-recommends docker.io \
                      (docker-cli too where that is a package of its own) busybox-static";

/// A running daemon; dropping it removes its containers, ends it, and fails the test if anything
/// of it stays.
#[derive(Debug)]
pub struct Docker {
    dir: Folder,
    daemon: Option<Daemon>,
    parents: Parents,
}

impl Docker {
    /// Starts a daemon without networks and imports the image.
    pub fn start() -> Result<Self> {
        let parents = Parents::note(&["docker", "kubepods"])?;
        let mut docker = Self {
            dir: Folder::of("docker")?,
            daemon: None,
            parents,
        };
        docker.up()?;
        docker.import()?;
        Ok(docker)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("docker.sock")
    }

    /// Starts the daemon (again) and waits until it answers.
    pub fn up(&mut self) -> Result<()> {
        let dir = self.dir().to_owned();
        let at = |name: &str| dir.join(name).display().to_string();
        let mut command = Command::new("dockerd");
        command
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .arg(format!("--host=unix://{}", at("docker.sock")))
            .arg(format!("--data-root={}", at("data")))
            .arg(format!("--exec-root={}", at("exec")))
            .arg(format!("--pidfile={}", at("pid")))
            .args(["--bridge=none", "--iptables=false", "--ip6tables=false"])
            .args([
                "--ip-forward=false",
                "--ip-masq=false",
                "--storage-driver=overlay2",
            ])
            .arg("--exec-opt=native.cgroupdriver=cgroupfs");
        self.daemon = Some(Daemon::start("dockerd", &mut command, &dir, REMEDY)?);
        wait::until("the Docker daemon's answer", Duration::from_mins(1), || {
            let daemon = self.daemon.as_mut().context("just started")?;
            daemon.still_runs()?;
            let answer = self.command(["version"]).output().context(REMEDY)?;
            Ok(answer.status.success().then_some(()))
        })
    }

    /// Ends the daemon, and with it its containers.
    pub fn down(&mut self) -> Result<()> {
        let daemon = self.daemon.take();
        daemon.map_or(Ok(()), |daemon| daemon.end(Duration::from_secs(30)))
    }

    fn import(&self) -> Result<()> {
        let tar = image::layer(self.dir())?;
        self.run([OsStr::new("import"), tar.as_os_str(), OsStr::new(IMAGE)])?;
        Ok(())
    }

    fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new("docker");
        command
            .args(args)
            .env("DOCKER_HOST", format!("unix://{}", self.socket().display()))
            .env("DOCKER_CONFIG", self.dir().join("config"))
            .stdin(Stdio::null());
        command
    }

    /// Runs a `docker` command; returns what it prints.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Result<String> {
        command::output(&mut self.command(args), REMEDY)
    }

    /// Makes and starts a container in the background; returns its id.
    pub fn container(&self, name: &str, options: &[&str], what: &[&str]) -> Result<String> {
        self.prepare("run", name, &[&["-d"], options].concat(), what)
    }

    /// Makes a container without starting it; returns its id.
    pub fn create(&self, name: &str, options: &[&str], what: &[&str]) -> Result<String> {
        self.prepare("create", name, options, what)
    }

    fn prepare(&self, how: &str, name: &str, options: &[&str], what: &[&str]) -> Result<String> {
        // The first process of a container does not heed SIGTERM, so waiting for it is in vain.
        let fixed = ["--network", "none", "--stop-timeout", "1", "--name", name];
        self.run([&[how], &fixed[..], options, &[IMAGE], what].concat())
    }

    /// What `docker inspect` says of a container.
    pub fn inspect(&self, container: &str) -> Result<Value> {
        let text = self.run(["inspect", container])?;
        let mut list: Value = serde_json::from_str(&text)?;
        Ok(list[0].take())
    }

    /// Waits for a container's end; returns its exit code.
    pub fn wait(&self, container: &str) -> Result<i64> {
        let text = self.run(["wait", container])?;
        text.parse()
            .with_context(|| format!("docker wait said {text:?}"))
    }

    fn clear(&mut self) -> Result<()> {
        if self.daemon.is_some() {
            let ids = self.run(["ps", "-aq"])?;
            let ids: Vec<&str> = ids.split_whitespace().collect();
            if !ids.is_empty() {
                self.run([&["rm", "-f"], &ids[..]].concat())?;
            }
        }
        self.down()?;
        self.dir.remove()?;
        self.parents.remove()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        ended(self.clear());
    }
}
