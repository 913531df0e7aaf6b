//! A whole Kubernetes of the test's own: etcd, API server, controllers, scheduler and one node, in a
//! network of their own.

mod image;

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_bind, mount_change, unmount,
};
use serde_json::Value;

use crate::{
    command,
    containerd::{self, Containerd},
    daemon::Daemon,
    ended,
    folder::Folder,
    kubelet::{self, NODE},
    sandbox,
    wait::{self, PATIENCE},
};

const REMEDY: &str =
    "cargo xtask test --only kubernetes builds them and names the kubelet in LIMITSCOPE_KUBELET";
const CLIENT_REMEDY: &str =
    "kubectl is not installed; install it with: apt-get install -y kubernetes-client";
const PLUGINS: &str = "/usr/lib/cni";
const PLUGINS_REMEDY: &str = "install them with: apt-get install -y containernetworking-plugins";

/// Where a node has what its containerd keeps while it runs, and its socket.
const RUNTIME: &str = "/run/containerd";
const BUNDLES: &str = "io.containerd.runtime.v2.task";
const SOCKET: &str = "/run/containerd/containerd.sock";

/// The API server's address and port are those of its Service, which is reached so without a proxy for
/// Services on the node.
const ADDRESS: &str = "10.0.0.1";
/// What the cluster's own programs and `kubectl` say who they are with.
const TOKEN: &str = "limitscope-test";
/// A machine that is busy takes its time for each of them.
const START: Duration = Duration::from_mins(2);

/// A running cluster; dropping it ends everything, and fails the test if anything of it stays. Its
/// programs, and this thread, are in a network and a mount namespace in which the places that they have
/// by heart are the test's.
#[derive(Debug)]
pub struct Cluster {
    /// In the order of their start.
    daemons: Vec<Daemon>,
    containerd: Option<Containerd>,
    dir: Folder,
}

impl Cluster {
    /// Starts it and waits until its node is ready.
    pub fn start() -> Result<Self> {
        let dir = Folder::of("cluster")?;
        kubelet::hide_places(dir.path())?;
        own_network()?;
        let flags = MountFlags::empty();
        mount(c"tmpfs", "/run", c"tmpfs", flags, c"size=64m").context("/run")?;
        // As systemd mounts it: what is mounted there later is to be seen in pods.
        mount_change("/run", MountPropagationFlags::SHARED).context("/run")?;
        let mut cluster = Self {
            daemons: Vec::new(),
            containerd: None,
            dir,
        };
        cluster.write_files()?;
        cluster.start_control_plane()?;
        cluster.containerd = Some(Containerd::start()?);
        cluster.start_node()?;
        wait::until("the node's readiness", START, || {
            cluster.still_run()?;
            let Ok(node) = cluster.get(&["node", NODE]) else {
                return Ok(None);
            };
            Ok(condition(&node, "Ready").then_some(()))
        })?;
        Ok(cluster)
    }

    fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its node's containerd.
    pub fn containerd(&self) -> Result<&Containerd> {
        self.containerd.as_ref().context("containerd is down")
    }

    fn write_files(&self) -> Result<()> {
        let dir = self.dir();
        fs::write(
            dir.join("tokens.csv"),
            format!("{TOKEN},admin,1,\"system:masters\"\n"),
        )?;
        fs::write(dir.join("kubeconfig"), KUBECONFIG)?;
        fs::create_dir(dir.join("manifests"))?;
        let config = kubelet::CONFIG
            .replace("@DIR@", &dir.display().to_string())
            .replace("address: 127.0.0.1", &format!("address: {ADDRESS}"))
            .replace("@PORT@", "10255")
            .replace("@TLS_PORT@", "10250");
        fs::write(dir.join("config.yaml"), config)?;
        let key = Command::new("openssl")
            .args(["genrsa", "-out"])
            .arg(dir.join("accounts.key"))
            .stderr(Stdio::null())
            .status()
            .context("openssl is not installed")?;
        ensure!(key.success(), "openssl ended with {key}");
        Ok(())
    }

    fn start_control_plane(&mut self) -> Result<()> {
        let dir = self.dir().display().to_string();
        self.run(
            "etcd",
            &[
                &format!("--data-dir={dir}/etcd-data"),
                "--listen-client-urls=http://127.0.0.1:2379",
                "--advertise-client-urls=http://127.0.0.1:2379",
                "--listen-peer-urls=http://127.0.0.1:2380",
                "--unsafe-no-fsync",
            ],
        )?;
        self.run(
            "kube-apiserver",
            &[
                "--etcd-servers=http://127.0.0.1:2379",
                "--bind-address=0.0.0.0",
                &format!("--advertise-address={ADDRESS}"),
                "--secure-port=443",
                "--service-cluster-ip-range=10.0.0.0/24",
                &format!("--cert-dir={dir}/certificates"),
                &format!("--token-auth-file={dir}/tokens.csv"),
                "--authorization-mode=Node,RBAC",
                "--service-account-issuer=https://kubernetes.test",
                &format!("--service-account-signing-key-file={dir}/accounts.key"),
                &format!("--service-account-key-file={dir}/accounts.key"),
                "--kubelet-preferred-address-types=InternalIP",
                "--profiling=false",
            ],
        )?;
        wait::until("the API server's readiness", START, || {
            self.still_run()?;
            let ready = self.kubectl(&["get", "--raw", "/readyz"]);
            Ok(ready.is_ok_and(|answer| answer == "ok").then_some(()))
        })?;
        let common = [
            &*format!("--kubeconfig={dir}/kubeconfig"),
            "--leader-elect=false",
            "--bind-address=127.0.0.1",
            "--port=0",
        ];
        self.run("kube-scheduler", &common)?;
        let key = format!("--service-account-private-key-file={dir}/accounts.key");
        let authority = format!("--root-ca-file={dir}/certificates/apiserver.crt");
        self.run(
            "kube-controller-manager",
            &[&common[..], &[&key, &authority]].concat(),
        )
    }

    fn start_node(&mut self) -> Result<()> {
        let containerd = self.containerd()?;
        let network = NETWORK.replace("@DIR@", &self.dir().display().to_string());
        ensure!(Path::new(PLUGINS).is_dir(), "{PLUGINS_REMEDY}");
        containerd.give_network(Path::new(PLUGINS), &network)?;
        // Where a node's runtime is.
        // The folder is not the test's as a whole: what has a mount on it could not be removed, and shims
        // have their sockets there by heart.
        let bundles = Path::new(RUNTIME).join(BUNDLES);
        fs::create_dir_all(&bundles)?;
        mount_bind(containerd.state().join(BUNDLES), bundles)?;
        fs::write(SOCKET, "")?;
        mount_bind(containerd.socket(), SOCKET)?;
        let dir = self.dir().display().to_string();
        self.run(
            "kubelet",
            &[
                &format!("--config={dir}/config.yaml"),
                &format!("--kubeconfig={dir}/kubeconfig"),
                &format!("--root-dir={dir}/root"),
                &format!("--cert-dir={dir}/certificates"),
                "--container-runtime=remote",
                &format!("--container-runtime-endpoint=unix://{SOCKET}"),
                &format!("--pod-infra-container-image={}", containerd::PAUSE),
                &format!("--hostname-override={NODE}"),
                &format!("--node-ip={ADDRESS}"),
            ],
        )
    }

    fn run(&mut self, name: &'static str, args: &[&str]) -> Result<()> {
        let kubelet = env::var_os("LIMITSCOPE_KUBELET").context(REMEDY)?;
        let mut command = Command::new(Path::new(&kubelet).with_file_name(name));
        command.args(args);
        // Each says what it has to say in a folder of its own.
        let log = self.dir().join("logs").join(name);
        fs::create_dir_all(&log)?;
        self.daemons
            .push(Daemon::start(name, &mut command, &log, REMEDY)?);
        Ok(())
    }

    fn still_run(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::still_runs)
    }

    /// A command of `kubectl` as the cluster's administrator.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new("kubectl");
        command
            .env("KUBECONFIG", self.dir().join("kubeconfig"))
            .env("HOME", self.dir())
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs one; returns what it prints.
    pub fn kubectl(&self, args: &[&str]) -> Result<String> {
        command::output(&mut self.command(args), CLIENT_REMEDY)
    }

    /// Has the cluster what a manifest says.
    pub fn apply(&self, manifest: &Path) -> Result<String> {
        self.kubectl(&["apply", "-f", &manifest.display().to_string()])
    }

    /// An object, or a list of them, as the API tells it.
    pub fn get(&self, what: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "-o", "json"], what].concat())?;
        serde_json::from_str(&text).context("no JSON")
    }

    /// An object as a manifest that makes it again.
    pub fn save(&self, what: &[&str]) -> Result<PathBuf> {
        let mut object = self.get(what)?;
        if let Some(meta) = object["metadata"].as_object_mut() {
            // They are of this one.
            for key in [
                "uid",
                "resourceVersion",
                "creationTimestamp",
                "managedFields",
            ] {
                meta.remove(key);
            }
        }
        let file = self.dir().join("saved.json");
        fs::write(&file, object.to_string())?;
        Ok(file)
    }

    /// The only pod of a namespace that has this label and is not about to go.
    pub fn pod(&self, namespace: &str, label: &str) -> Result<Option<Value>> {
        let list = self.get(&["pods", "-n", namespace, "-l", label])?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let mut alive = pods
            .into_iter()
            .filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        let pod = alive.next();
        Ok(pod.filter(|_| alive.next().is_none()))
    }

    fn clear(&mut self) -> Result<()> {
        // The kubelet goes first, so that it starts nothing again.
        if self.containerd.is_some()
            && let Some(kubelet) = self.daemons.pop()
        {
            kubelet.end(PATIENCE)?;
        }
        // The others would wait for who still listens to them.
        while let Some(daemon) = self.daemons.pop() {
            daemon.kill()?;
        }
        // It removes the pods that are left.
        self.containerd = None;
        // The kubelet mounts its folder on itself, and its pods' volumes below.
        let root = self.dir().join("root");
        for mounted in mounts_below(&root)? {
            unmount(&mounted, UnmountFlags::DETACH)?;
        }
        self.dir.remove()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        ended(self.clear());
    }
}

/// Whether an object's status says that this is so.
pub fn condition(object: &Value, kind: &str) -> bool {
    let conditions = object["status"]["conditions"].as_array();
    let mut conditions = conditions.into_iter().flatten();
    conditions.any(|condition| condition["type"] == kind && condition["status"] == "True")
}

/// The status of one of a pod's containers.
pub fn status<'p>(pod: &'p Value, container: &str) -> Option<&'p Value> {
    let mut statuses = pod["status"]["containerStatuses"].as_array()?.iter();
    statuses.find(|status| status["name"] == container)
}

/// Leaves the network; what this thread starts from now on sees one that has only itself.
fn own_network() -> Result<()> {
    sandbox::leave(libc::CLONE_NEWNET).context("a network namespace")?;
    for args in [
        &["link", "set", "lo", "up"][..],
        &["address", "add", "10.0.0.1/32", "dev", "lo"],
    ] {
        let done = Command::new("ip").args(args).status();
        let done = done.context("ip is not installed; apt-get install -y iproute2")?;
        ensure!(done.success(), "ip {args:?} ended with {done}");
    }
    Ok(())
}

/// What is mounted at or below a folder, the last first.
fn mounts_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let places = text.lines().filter_map(|line| line.split(' ').nth(4));
    let mut below: Vec<PathBuf> = places
        .map(PathBuf::from)
        .filter(|place| place.starts_with(folder))
        .collect();
    below.reverse();
    Ok(below)
}

impl Containerd {
    /// Gives pods that are not in the machine's network one of their own.
    fn give_network(&self, plugins: &Path, config: &str) -> Result<()> {
        let cni = self.dir().join("cni");
        fs::create_dir_all(cni.join("net.d"))?;
        symlink(plugins, cni.join("bin"))?;
        fs::write(cni.join("net.d/10-test.conflist"), config)?;
        Ok(())
    }
}

/// The API server signs its own certificate.
const KUBECONFIG: &str = r#"
apiVersion: v1
kind: Config
clusters: [{name: test, cluster: {server: "https://10.0.0.1", insecure-skip-tls-verify: true}}]
users: [{name: admin, user: {token: limitscope-test}}]
contexts: [{name: test, context: {cluster: test, user: admin}}]
current-context: test
"#;

const NETWORK: &str = r#"{"cniVersion": "0.4.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "lst0", "isGateway": true,
   "ipam": {"type": "host-local", "dataDir": "@DIR@/addresses",
            "ranges": [[{"subnet": "10.88.0.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]}}]}
"#;
