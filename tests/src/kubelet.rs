//! A real kubelet of the test's own that runs pods by their manifests, without an API server.

use std::{
    env, fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, unmount};
use serde_json::Value;

use crate::{
    containerd::{self, Containerd},
    daemon::Daemon,
    ended,
    folder::Folder,
    http::Http,
    sandbox,
    wait::{self, PATIENCE},
};

/// `k8s.node.name`.
pub const NODE: &str = "lst-node";

const REMEDY: &str =
    "cargo xtask test --only kubelet builds one and names it in LIMITSCOPE_KUBELET";

/// Kernel settings that a kubelet would write, with what it wants them to be
/// (`pkg/util/sysctl/sysctl.go`).
const SETTINGS: [(&str, &str); 6] = [
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/keys/root_maxbytes", "25000000"),
];

/// A kubelet with its containerd. Both, and this thread, are in a mount namespace in which the places
/// that a kubelet has by heart are the test's.
#[derive(Debug)]
pub struct Kubelet {
    daemon: Option<Daemon>,
    containerd: Option<Containerd>,
    dir: Folder,
    port: u16,
}

impl Kubelet {
    /// Starts both.
    pub fn start() -> Result<Self> {
        let dir = Folder::of("kubelet")?;
        hide_places(dir.path())?;
        let containerd = Containerd::start()?;
        let socket = containerd.socket();
        Self::with(dir, Some(containerd), &socket, CONFIG, &[])
    }

    /// Starts one that has this machine for itself, with the containerd that listens at `socket`, and
    /// systemd make its cgroups. There may be no network: its node has the address `address`.
    pub fn of_machine(socket: &Path, address: &str) -> Result<Self> {
        let config = CONFIG
            .replace("cgroupDriver: cgroupfs", "cgroupDriver: systemd")
            .replace(
                "protectKernelDefaults: true",
                "protectKernelDefaults: false",
            );
        Self::with(
            Folder::of("kubelet")?,
            None,
            socket,
            &config,
            &[("node-ip", address)],
        )
    }

    fn with(
        dir: Folder,
        containerd: Option<Containerd>,
        socket: &Path,
        config: &str,
        more: &[(&str, &str)],
    ) -> Result<Self> {
        let binary = env::var_os("LIMITSCOPE_KUBELET").context(REMEDY)?;
        let mut kubelet = Self {
            daemon: None,
            containerd,
            port: free_port()?,
            dir,
        };
        let dir = kubelet.dir().to_owned();
        fs::create_dir(dir.join("manifests"))?;
        let config = config
            .replace("@DIR@", &dir.display().to_string())
            .replace("@PORT@", &kubelet.port.to_string())
            .replace("@TLS_PORT@", &free_port()?.to_string());
        fs::write(dir.join("config.yaml"), config)?;
        let mut command = Command::new(binary);
        let endpoint = format!("unix://{}", socket.display());
        for (option, value) in [
            ("config", dir.join("config.yaml").display().to_string()),
            ("root-dir", dir.join("root").display().to_string()),
            ("cert-dir", dir.join("certificates").display().to_string()),
            ("container-runtime", "remote".to_owned()),
            ("container-runtime-endpoint", endpoint),
            ("pod-infra-container-image", containerd::PAUSE.to_owned()),
            ("hostname-override", NODE.to_owned()),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        command.args(
            more.iter()
                .map(|(option, value)| format!("--{option}={value}")),
        );
        kubelet.daemon = Some(Daemon::start("kubelet", &mut command, &dir, REMEDY)?);
        wait::until("the kubelet's answer", Duration::from_mins(1), || {
            let daemon = kubelet.daemon.as_mut().context("just started")?;
            daemon.still_runs()?;
            Ok(kubelet.list().ok().map(drop))
        })?;
        Ok(kubelet)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its containerd.
    pub fn containerd(&self) -> Result<&Containerd> {
        self.containerd.as_ref().context("containerd is down")
    }

    /// Where it tells its pods, without a question who asks.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    fn manifest(&self) -> PathBuf {
        self.dir().join("manifests/pod.yaml")
    }

    /// Has it run the pod of a manifest.
    pub fn run(&self, manifest: &str) -> Result<()> {
        fs::write(self.manifest(), manifest).context("writing the manifest")
    }

    /// Its pods, as it tells them.
    pub fn pods(&self) -> Result<Vec<Value>> {
        let list = self.list()?;
        Ok(list["items"].as_array().cloned().unwrap_or_default())
    }

    fn list(&self) -> Result<Value> {
        Http::at_port(self.port, PATIENCE).get("/pods")
    }

    fn clear(&mut self) -> Result<()> {
        if self.daemon.is_some() && self.manifest().exists() {
            fs::remove_file(self.manifest())?;
            wait::until("the end of the kubelet's pods", PATIENCE, || {
                Ok(self.pods()?.is_empty().then_some(()))
            })?;
        }
        let daemon = self.daemon.take();
        daemon.map_or(Ok(()), |daemon| daemon.end(PATIENCE))?;
        // It removes the pods that are left.
        self.containerd = None;
        // The kubelet mounts its folder on itself, to share what it mounts below.
        let root = self.dir().join("root");
        while fs::metadata(&root).is_ok() && unmount(&root, UnmountFlags::DETACH).is_ok() {}
        self.dir.remove()
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        ended(self.clear());
    }
}

/// Puts folders and files of the test over places that a kubelet and its runtime write to.
pub(crate) fn hide_places(dir: &Path) -> Result<()> {
    sandbox::make_mounts_private()?;
    for place in ["/var/log", "/var/lib"] {
        let flags = MountFlags::empty();
        mount(c"tmpfs", place, c"tmpfs", flags, c"size=64m").with_context(|| place.to_owned())?;
    }
    for (setting, value) in SETTINGS {
        let file = dir.join(setting.replace('/', "_"));
        fs::write(&file, value)?;
        mount_bind(&file, Path::new("/proc/sys").join(setting)).context(setting)?;
    }
    Ok(())
}

/// A port of loopback that nobody has now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// As a kubelet runs in a cluster, but for what takes more rights than a test has, and the network.
pub(crate) const CONFIG: &str = r#"
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
address: 127.0.0.1
port: @TLS_PORT@
readOnlyPort: @PORT@
healthzPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
failSwapOn: false
makeIPTablesUtilChains: false
protectKernelDefaults: true
staticPodPath: @DIR@/manifests
oomScoreAdj: 0
enableControllerAttachDetach: false
maxOpenFiles: 20000
evictionHard: {}
enforceNodeAllocatable: [pods]
fileCheckFrequency: 1s
syncFrequency: 5s
resolvConf: ""
"#;
