//! Names from Docker: its API over the unix socket, read-only, in the background.
//!
//! All containers are listed at the start and the stream of events is followed, so that a
//! container is named before its cgroup exists; one that is unknown is inspected when asked for.
//! The socket may be absent, refuse, hang, send garbage or die at any time: then the reason is
//! told, and it is tried again. Whoever reads the messages never waits for Docker.

mod connection;
mod convert;
#[cfg(test)]
mod fake;
mod memory;
mod session;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::memory::Memory;
use self::session::{Outcome, Session};
use super::names::{NameMessage, NameSource, SourceState};

/// The runtime's name.
pub const RUNTIME: &str = "docker";

/// Questions that may wait; more are refused.
const MAX_QUESTIONS: usize = 1_024;

/// Where Docker is, and how much of it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerConfig {
    /// Sockets to try, in this order.
    pub sockets: Vec<PathBuf>,
    /// How long a question may take. The list of all containers may take three times as long.
    pub call_timeout: Duration,
    /// How long to wait after the first failure; twice as long after each further one …
    pub retry_min: Duration,
    /// … up to this.
    pub retry_max: Duration,
    /// How often a silent connection is checked.
    pub check_every: Duration,
    /// Most containers whose names are kept, dead ones included.
    pub max_containers: usize,
    /// Longest answer in bytes.
    pub max_answer_bytes: u64,
}

impl DockerConfig {
    /// The usual bounds. Without `socket`, the sockets are the one of `DOCKER_HOST` (where that is
    /// a `unix://` address) and the usual two.
    pub fn new(socket: Option<PathBuf>) -> Self {
        let host = std::env::var_os("DOCKER_HOST");
        let host = host.as_ref().and_then(|host| host.to_str());
        Self {
            sockets: sockets(socket, host),
            call_timeout: Duration::from_secs(2),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(2),
            check_every: Duration::from_secs(10),
            max_containers: 16_384,
            max_answer_bytes: 32 << 20,
        }
    }
}

fn sockets(given: Option<PathBuf>, docker_host: Option<&str>) -> Vec<PathBuf> {
    if let Some(given) = given {
        return vec![given];
    }
    let host = docker_host.and_then(|host| host.strip_prefix("unix://"));
    let mut sockets: Vec<PathBuf> = host.into_iter().map(PathBuf::from).collect();
    for usual in ["/run/docker.sock", "/var/run/docker.sock"] {
        if !sockets.iter().any(|socket| socket == Path::new(usual)) {
            sockets.push(PathBuf::from(usual));
        }
    }
    sockets
}

/// The client that runs in the background; it ends when this is dropped.
pub struct DockerNames {
    questions: mpsc::Sender<String>,
    task: JoinHandle<()>,
}

impl DockerNames {
    /// Starts it on the current tokio runtime. It ends also when the receiver of `messages` is
    /// dropped.
    pub fn spawn(config: DockerConfig, messages: mpsc::Sender<NameMessage>) -> Self {
        let (questions, receiver) = mpsc::channel(MAX_QUESTIONS);
        let client = Client {
            memory: Memory::new(config.max_containers),
            config,
            messages,
            questions: receiver,
            state: None,
        };
        Self {
            questions,
            task: tokio::spawn(client.run()),
        }
    }
}

impl NameSource for DockerNames {
    fn runtime(&self) -> &'static str {
        RUNTIME
    }

    fn ask(&self, container_id: &str) -> bool {
        self.questions.try_send(container_id.to_owned()).is_ok()
    }
}

impl Drop for DockerNames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nobody listens any more.
struct Closed;

struct Client {
    config: DockerConfig,
    messages: mpsc::Sender<NameMessage>,
    questions: mpsc::Receiver<String>,
    memory: Memory,
    state: Option<SourceState>,
}

impl Client {
    async fn run(mut self) {
        let asked = SourceState::Unavailable("docker has not answered yet".to_owned());
        if self.set_state(asked).await.is_err() {
            return;
        }
        let mut wait = self.config.retry_min;
        loop {
            let began = Instant::now();
            let Ok(reason) = self.try_sockets().await else {
                return;
            };
            tracing::debug!(%reason, "docker is unavailable");
            let unavailable = SourceState::Unavailable(reason);
            if self.set_state(unavailable).await.is_err() {
                return;
            }
            // One that held for a while failed for another reason than the one before.
            if began.elapsed() > self.config.retry_max {
                wait = self.config.retry_min;
            }
            if self.pause(wait).await.is_err() {
                return;
            }
            wait = (wait * 2).min(self.config.retry_max);
        }
    }

    /// Follows the first socket that answers until it does no more; returns why.
    async fn try_sockets(&mut self) -> Result<String, Closed> {
        let mut absent = Vec::new();
        let mut failed = None;
        for socket in self.config.sockets.clone() {
            let shown = socket.display().to_string();
            match Session::run(self, &socket).await? {
                Outcome::Absent => absent.push(shown),
                Outcome::Refused(reason) => {
                    failed.get_or_insert(format!("docker socket {shown}: {reason}"));
                }
                Outcome::Lost(reason) => return Ok(format!("docker socket {shown}: {reason}")),
            }
        }
        Ok(failed.unwrap_or_else(|| format!("docker socket {}: no such file", absent.join(", "))))
    }

    /// Waits; what is asked meanwhile is answered from memory or not at all, as the reason is
    /// known already.
    async fn pause(&mut self, wait: Duration) -> Result<(), Closed> {
        let deadline = Instant::now() + wait;
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => return Ok(()),
                () = self.messages.closed() => return Err(Closed),
                question = self.questions.recv() => {
                    let id = question.ok_or(Closed)?;
                    if let Some(names) = self.memory.recall(&id) {
                        self.send(NameMessage::Names(names)).await?;
                    }
                }
            }
        }
    }

    async fn set_state(&mut self, state: SourceState) -> Result<(), Closed> {
        if self.state.as_ref() == Some(&state) {
            return Ok(());
        }
        self.state = Some(state.clone());
        let source = RUNTIME;
        self.send(NameMessage::State { source, state }).await
    }

    async fn send(&self, message: NameMessage) -> Result<(), Closed> {
        self.messages.send(message).await.map_err(|_| Closed)
    }
}
