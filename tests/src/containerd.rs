//! A real containerd of the test's own, with its CRI, and pods in it.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{
    command,
    cri::{ContainerStatus, Cri, EXITED, Empty, PodId, Resources, StopContainer},
    daemon::Daemon,
    ended,
    folder::Folder,
    image,
    parents::Parents,
    pods,
    wait::{self, PATIENCE},
};

pub use image::IMAGE;
pub use pods::{NAMESPACE, Pod};

/// Names the programs of one from 1.7 on, which tells by itself what becomes of containers.
pub const NEWER: &str = "LIMITSCOPE_CONTAINERD_NEWER";
/// Names the programs of one before 1.6, which has the CRI in its version v1alpha2 alone.
pub const OLDER: &str = "LIMITSCOPE_CONTAINERD_OLDER";

/// The image of the pods' own containers.
pub const PAUSE: &str = "localhost/limitscope-pause:1";

const REMEDY: &str =
    "install it with: apt-get install -y --no-install-recommends containerd runc busybox-static";

/// A running containerd; dropping it removes its pods, ends it, and fails the test if anything of it
/// stays.
#[derive(Debug)]
pub struct Containerd {
    dir: Folder,
    daemon: Option<Daemon>,
    pods: Vec<String>,
    parents: Parents,
    /// Where its programs are, if not where the machine has its own.
    programs: Option<PathBuf>,
}

impl Containerd {
    /// Starts the machine's own and imports the images.
    pub fn start() -> Result<Self> {
        Self::start_of(None)
    }

    /// The same of another release, in the folder that the variable names.
    pub fn start_release(variable: &str) -> Result<Self> {
        let programs = env::var_os(variable).with_context(|| {
            format!(
                "{variable} names no folder with a containerd's programs; \
                 cargo xtask test --only containers fetches them and sets it"
            )
        })?;
        Self::start_of(Some(programs.into()))
    }

    fn start_of(programs: Option<PathBuf>) -> Result<Self> {
        let parents = Parents::note(&["kubepods", "default", "k8s.io"])?;
        let mut containerd = Self {
            dir: Folder::of("containerd")?,
            daemon: None,
            pods: Vec::new(),
            parents,
            programs,
        };
        let dir = containerd.dir().to_owned();
        let config = CONFIG.replace("@DIR@", &dir.display().to_string());
        fs::write(dir.join("config.toml"), config)?;
        containerd.up()?;
        for (reference, command) in [(IMAGE, &["sh"][..]), (PAUSE, &["sleep", "1000000"])] {
            let archive = image::archive(&dir, reference, command)?;
            containerd.ctr(&["images", "import", &archive.display().to_string()])?;
        }
        Ok(containerd)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its socket.
    pub fn socket(&self) -> PathBuf {
        self.dir().join("containerd.sock")
    }

    /// Its folder of what runs, with the bundles.
    pub fn state(&self) -> PathBuf {
        self.dir().join("state")
    }

    /// A folder with `run/containerd` as on a machine whose only containerd this is.
    pub fn host_root(&self) -> Result<PathBuf> {
        let root = self.dir().join("host");
        if !root.exists() {
            fs::create_dir_all(root.join("run"))?;
            std::os::unix::fs::symlink(self.state(), root.join("run/containerd"))?;
        }
        Ok(root)
    }

    /// One of its programs, which finds the others beside it.
    fn program(&self, name: &str) -> Command {
        let Some(folder) = &self.programs else {
            return Command::new(name);
        };
        let mut command = Command::new(folder.join(name));
        let mut path = folder.clone().into_os_string();
        if let Some(usual) = env::var_os("PATH") {
            path.push(":");
            path.push(usual);
        }
        command.env("PATH", path);
        command
    }

    /// Starts it (again) and waits until it answers.
    pub fn up(&mut self) -> Result<()> {
        let dir = self.dir().to_owned();
        let mut command = self.program("containerd");
        command.arg("--config").arg(dir.join("config.toml"));
        self.daemon = Some(Daemon::start("containerd", &mut command, &dir, REMEDY)?);
        wait::until("containerd's answer", Duration::from_mins(1), || {
            let daemon = self.daemon.as_mut().context("just started")?;
            daemon.still_runs()?;
            // Its CRI comes after its own interface.
            let Ok(cri) = Cri::connect(&self.socket()) else {
                return Ok(None);
            };
            let version: Result<Empty> = cri.call("Version", Empty {});
            Ok(version.is_ok().then_some(()))
        })
    }

    /// Ends it; its containers run on.
    pub fn down(&mut self) -> Result<()> {
        let daemon = self.daemon.take();
        daemon.map_or(Ok(()), |daemon| daemon.end(Duration::from_secs(30)))
    }

    /// Runs a `ctr` command in the namespace of the CRI; returns what it prints.
    pub fn ctr(&self, args: &[&str]) -> Result<String> {
        let mut command = self.program("ctr");
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(args)
            .stdin(Stdio::null());
        command::output(&mut command, REMEDY)
    }

    fn cri(&self) -> Result<Cri> {
        Cri::connect(&self.socket())
    }

    /// Makes a pod as kubelet does; `number` makes its uid.
    pub fn pod(&mut self, name: &str, number: u32) -> Result<Pod> {
        let uid = pods::uid(number);
        let cgroup = format!("/kubepods/burstable/pod{uid}");
        let logs = self.dir().join("logs");
        let pod = Pod::run(&self.cri()?, name, number, cgroup, &logs)?;
        self.pods.push(pod.id.clone());
        Ok(pod)
    }

    /// Makes and starts a container; returns its id.
    pub fn container(
        &self,
        pod: &Pod,
        name: &str,
        attempt: u32,
        resources: &Resources,
        command: &[&str],
    ) -> Result<String> {
        pod.container(&self.cri()?, name, attempt, resources, command)
    }

    /// What containerd says of a container.
    pub fn status(&self, id: &str) -> Result<ContainerStatus> {
        self.cri()?.status(id)
    }

    /// Waits for a container's end.
    pub fn wait(&self, id: &str) -> Result<ContainerStatus> {
        let cri = self.cri()?;
        wait::until("the container's end", PATIENCE, || {
            Ok(Some(cri.status(id)?).filter(|status| status.state == EXITED))
        })
    }

    /// The version of the interface that it has.
    pub fn cri_version(&self) -> Result<&'static str> {
        Ok(self.cri()?.version())
    }

    /// Removes a container that has ended.
    pub fn remove(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        let _: Empty = self.cri()?.call("RemoveContainer", PodId { id })?;
        Ok(())
    }

    /// Stops a container: SIGTERM, and SIGKILL so many seconds later.
    pub fn stop(&self, id: &str, timeout: i64) -> Result<()> {
        let id = id.to_owned();
        let _: Empty = self
            .cri()?
            .call("StopContainer", StopContainer { id, timeout })?;
        Ok(())
    }

    fn clear(&mut self) -> Result<()> {
        if !self.pods.is_empty() && self.daemon.is_none() {
            self.up()?;
        }
        if self.daemon.is_some() {
            let cri = self.cri()?;
            // A kubelet has made pods, too.
            self.pods.clear();
            pods::remove_all(&cri)?;
        }
        self.down()?;
        wait::until("the end of containerd's shims", PATIENCE, || {
            Ok((!serves(self.dir())?).then_some(()))
        })?;
        self.dir.remove()?;
        self.parents.remove()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        ended(self.clear());
    }
}

/// Whether a process works for the containerd in that folder.
fn serves(dir: &Path) -> Result<bool> {
    let needle = dir.display().to_string();
    for process in fs::read_dir("/proc")? {
        let line = fs::read(process?.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&needle) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Without networks, without what needs more rights than a test has.
const CONFIG: &str = r#"
version = 2
root = "@DIR@/root"
state = "@DIR@/state"
oom_score = 0
[grpc]
  address = "@DIR@/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/limitscope-pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  stream_server_address = "127.0.0.1"
  stream_server_port = "0"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    default_runtime_name = "runc"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "@DIR@/cni/bin"
    conf_dir = "@DIR@/cni/net.d"
"#;
