//! Names from the Container Runtime Interface: containerd, CRI-O and cri-dockerd, whichever listens;
//! read-only, in the background.
//!
//! All pods and containers are listed at the start and every few seconds. Where the runtime has a
//! stream of events (containerd from 1.7 on, CRI-O), it is followed; without it, a container is
//! asked for when its cgroup is made, and once more a moment later where the runtime does not list
//! it yet.

mod calls;
mod convert;
mod messages;
mod session;
#[cfg(test)]
mod tests;

use std::path::Path;

use tokio::sync::mpsc;

use self::session::Session;
use super::client::{Client, ClientConfig, Closed, Outcome, Protocol, SocketNames};
use super::names::NameMessage;

/// Where runtimes listen: containerd as it comes, in K3s, k0s and MicroK8s; CRI-O; cri-dockerd.
pub const SOCKETS: [&str; 6] = [
    "/run/containerd/containerd.sock",
    "/run/k3s/containerd/containerd.sock",
    "/run/k0s/containerd.sock",
    "/var/snap/microk8s/common/run/containerd.sock",
    "/run/crio/crio.sock",
    "/run/cri-dockerd.sock",
];

/// Starts to ask one runtime, on the current tokio runtime.
pub fn cri(config: ClientConfig, messages: mpsc::Sender<NameMessage>) -> SocketNames {
    SocketNames::spawn(Cri, config, messages)
}

struct Cri;

impl Protocol for Cri {
    const RESOLVER: &'static str = "cri";
    // cri-dockerd's containers are Docker's to their paths, and kubelet's where they tell no runtime.
    const RUNTIMES: &'static [&'static str] = &["containerd", "cri-o"];

    async fn session(&mut self, client: &mut Client, socket: &Path) -> Result<Outcome, Closed> {
        Session::run(client, socket).await
    }
}
