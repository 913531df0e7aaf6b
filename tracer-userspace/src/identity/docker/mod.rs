//! Names from Docker, and from Podman, which has the same API: over the unix socket, read-only, in
//! the background.
//!
//! All containers are listed at the start and the stream of events is followed, so that a
//! container is named before its cgroup exists; one that is unknown is inspected when asked for.

mod connection;
mod convert;
#[cfg(test)]
mod fake;
mod session;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use self::session::Session;
use super::client::{Client, ClientConfig, Closed, Outcome, Protocol, SocketNames};
use super::names::NameMessage;

/// Starts to ask Docker, on the current tokio runtime.
pub fn docker(config: ClientConfig, messages: mpsc::Sender<NameMessage>) -> SocketNames {
    SocketNames::spawn(Docker, config, messages)
}

/// Starts to ask Podman, on the current tokio runtime.
pub fn podman(config: ClientConfig, messages: mpsc::Sender<NameMessage>) -> SocketNames {
    SocketNames::spawn(Podman, config, messages)
}

/// Where Docker is: the socket of `DOCKER_HOST` (where that is a `unix://` address) and the usual
/// two.
pub fn usual_sockets() -> Vec<PathBuf> {
    let host = std::env::var_os("DOCKER_HOST");
    let host = host.as_ref().and_then(|host| host.to_str());
    sockets(host)
}

fn sockets(docker_host: Option<&str>) -> Vec<PathBuf> {
    let host = docker_host.and_then(|host| host.strip_prefix("unix://"));
    let mut sockets: Vec<PathBuf> = host.into_iter().map(PathBuf::from).collect();
    for usual in ["/run/docker.sock", "/var/run/docker.sock"] {
        if !sockets.iter().any(|socket| socket == Path::new(usual)) {
            sockets.push(PathBuf::from(usual));
        }
    }
    sockets
}

/// Docker's API, spoken by Docker.
struct Docker;

impl Protocol for Docker {
    const RESOLVER: &'static str = "docker";
    const RUNTIMES: &'static [&'static str] = &["docker"];

    async fn session(&mut self, client: &mut Client, socket: &Path) -> Result<Outcome, Closed> {
        Session::run(client, socket).await
    }
}

/// Docker's API, spoken by Podman (`podman system service`).
struct Podman;

impl Protocol for Podman {
    const RESOLVER: &'static str = "podman";
    const RUNTIMES: &'static [&'static str] = &["podman"];

    async fn session(&mut self, client: &mut Client, socket: &Path) -> Result<Outcome, Closed> {
        Session::run(client, socket).await
    }
}
