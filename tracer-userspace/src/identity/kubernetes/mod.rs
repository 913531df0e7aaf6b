//! Names from Kubernetes: the pods of one node, from the API server or from the node's kubelet;
//! read-only, in the background.
//!
//! They know what no runtime does: a pod's owner, its node, and which pod of the API a static pod is.
//! Both know a container's id only a moment after it runs, so a runtime's word comes first.

mod convert;
mod http;
mod kubelet;
mod objects;
mod owners;
mod place;
mod server;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

pub use self::place::{KubernetesOptions, PlaceError};

use self::http::Caller;
use super::client::{Client, ClientConfig, Closed, Outcome, Protocol, SocketNames};
use super::names::NameMessage;

/// Where pods can be asked for, and whose.
#[derive(Debug, Default)]
pub struct Kubernetes {
    /// The API server.
    api_server: Option<Caller>,
    /// The node's kubelet.
    kubelet: Option<Caller>,
    /// The node, as the API server calls it.
    node: Option<String>,
}

impl Kubernetes {
    /// The addresses that are asked, with who asks them.
    pub fn places(&self) -> Vec<(&'static str, PathBuf)> {
        let place = |caller: &Caller| PathBuf::from(caller.address());
        let api_server = self.api_server.as_ref().map(place);
        let kubelet = self.kubelet.as_ref().map(place);
        let api_server = api_server.map(|place| (ApiServer::RESOLVER, place));
        let kubelet = kubelet.map(|place| (Kubelet::RESOLVER, place));
        api_server.into_iter().chain(kubelet).collect()
    }

    /// Starts to ask, on the current tokio runtime.
    pub fn start(
        self,
        config: impl Fn(Vec<PathBuf>) -> ClientConfig,
        messages: &mpsc::Sender<NameMessage>,
    ) -> Vec<SocketNames> {
        let mut all = Vec::new();
        if let Some(caller) = self.api_server {
            let config = config(vec![caller.address().into()]);
            let protocol = ApiServer {
                caller,
                node: self.node,
            };
            all.push(SocketNames::spawn(protocol, config, messages.clone()));
        }
        if let Some(caller) = self.kubelet {
            let config = config(vec![caller.address().into()]);
            let protocol = Kubelet { caller };
            all.push(SocketNames::spawn(protocol, config, messages.clone()));
        }
        all
    }
}

/// The API server.
struct ApiServer {
    caller: Caller,
    node: Option<String>,
}

impl Protocol for ApiServer {
    const RESOLVER: &'static str = "api_server";
    const RUNTIMES: &'static [&'static str] = &[];
    const PODS_ONLY: bool = true;
    const PLACE: &'static str = "at";

    async fn session(&mut self, client: &mut Client, _: &Path) -> Result<Outcome, Closed> {
        let Some(node) = &self.node else {
            let reason = "which node this is, is not known: set NODE_NAME or --node-name";
            return Ok(Outcome::Refused(reason.to_owned()));
        };
        server::Session::run(client, &self.caller, node).await
    }
}

/// The kubelet of the node.
struct Kubelet {
    caller: Caller,
}

impl Protocol for Kubelet {
    const RESOLVER: &'static str = "kubelet";
    const RUNTIMES: &'static [&'static str] = &[];
    const PODS_ONLY: bool = true;
    const PLACE: &'static str = "at";

    async fn session(&mut self, client: &mut Client, _: &Path) -> Result<Outcome, Closed> {
        kubelet::Session::run(client, &self.caller).await
    }
}
