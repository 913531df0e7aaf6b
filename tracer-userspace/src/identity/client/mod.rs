//! A resolver behind a socket or an address: connecting, trying again, remembering, and being asked.
//!
//! The socket may be absent, refuse, hang, send garbage or die at any time: then the reason is
//! told, and it is tried again. Whoever reads the messages never waits for it. What is spoken on the
//! socket is a [`Protocol`].

pub(super) mod memory;
mod metered;

use std::collections::HashSet;
use std::error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use self::memory::Memory;
pub(super) use self::metered::{Allowance, Metered};
use super::chosen::Chosen;
use super::names::{NameMessage, NameSource, NameUpdate, Names, PodUpdate, Source, SourceState};

/// Questions that may wait; more are refused.
const MAX_QUESTIONS: usize = 1_024;

/// Longest id that is believed, in bytes; the usual ones have 64.
const ID_MAX: usize = 128;

/// Whether this can be a container's id, and nothing that would change a request's path.
pub(super) fn is_id(id: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=ID_MAX).contains(&id.len()) && id.bytes().all(plain)
}

/// Where sockets (or servers) are, and how much of what is behind it is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Sockets to try, in this order; of a server its address.
    pub sockets: Vec<PathBuf>,
    /// Labels and annotations that are told.
    pub chosen: Arc<Chosen>,
    /// Names are believed only of cgroups below this path; of all without it.
    pub within: Option<Arc<str>>,
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

impl ClientConfig {
    /// The usual bounds for these sockets.
    pub fn new(sockets: Vec<PathBuf>) -> Self {
        Self {
            sockets,
            chosen: Arc::default(),
            within: None,
            call_timeout: Duration::from_secs(2),
            retry_min: Duration::from_millis(200),
            retry_max: Duration::from_secs(2),
            check_every: Duration::from_secs(10),
            max_containers: 16_384,
            max_answer_bytes: 32 << 20,
        }
    }
}

/// What is spoken on a socket.
pub(super) trait Protocol: Send + Sync + 'static {
    /// `container.resolver`.
    const RESOLVER: &'static str;
    /// Runtimes whose containers it knows.
    const RUNTIMES: &'static [&'static str];
    /// Whether it knows containers of pods alone, and not how they end.
    const PODS_ONLY: bool = false;
    /// What its place is called.
    const PLACE: &'static str = "socket";

    /// One connection, from the first question until it is lost.
    fn session(
        &mut self,
        client: &mut Client,
        socket: &Path,
    ) -> impl Future<Output = Result<Outcome, Closed>> + Send;
}

/// How a session ended.
pub(super) enum Outcome {
    /// There is no socket.
    Absent,
    /// It did not answer at all, and why.
    Refused(String),
    /// It answered, and then no more, and why.
    Lost(String),
}

/// What the client is asked.
pub(super) enum Question {
    /// The container's names.
    Names(String),
    /// How the container ended.
    Exit(String),
}

/// The client that runs in the background; it ends when this is dropped.
pub struct SocketNames {
    source: Arc<Source>,
    questions: mpsc::Sender<Question>,
    task: JoinHandle<()>,
}

impl SocketNames {
    /// Starts it on the current tokio runtime. It ends also when the receiver of `messages` is
    /// dropped.
    pub(super) fn spawn<P: Protocol>(
        protocol: P,
        config: ClientConfig,
        messages: mpsc::Sender<NameMessage>,
    ) -> Self {
        let (questions, receiver) = mpsc::channel(MAX_QUESTIONS);
        let places: Vec<String> = config
            .sockets
            .iter()
            .map(|socket| socket.display().to_string())
            .collect();
        let source = Arc::new(Source {
            resolver: P::RESOLVER,
            runtimes: P::RUNTIMES,
            pods_only: P::PODS_ONLY,
            place: places.join(", "),
            tells_exits: !P::PODS_ONLY,
        });
        let client = Client {
            source: Arc::clone(&source),
            memory: Memory::new(config.max_containers),
            config,
            messages,
            questions: receiver,
            state: None,
        };
        Self {
            source,
            questions,
            task: tokio::spawn(client.run(protocol)),
        }
    }

    /// Whether it has ended.
    pub fn is_finished(&self) -> bool {
        self.task.is_finished()
    }
}

impl NameSource for SocketNames {
    fn source(&self) -> &Arc<Source> {
        &self.source
    }

    fn ask(&self, container_id: &str) -> bool {
        let question = Question::Names(container_id.to_owned());
        self.questions.try_send(question).is_ok()
    }

    fn ask_exit(&self, container_id: &str) -> bool {
        let question = Question::Exit(container_id.to_owned());
        self.questions.try_send(question).is_ok()
    }
}

impl Drop for SocketNames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nobody listens any more.
pub(super) struct Closed;

/// What all sessions share.
pub(super) struct Client {
    pub source: Arc<Source>,
    pub config: ClientConfig,
    pub messages: mpsc::Sender<NameMessage>,
    pub questions: mpsc::Receiver<Question>,
    pub memory: Memory,
    state: Option<SourceState>,
}

impl Client {
    async fn run<P: Protocol>(mut self, mut protocol: P) {
        let resolver = self.source.resolver;
        let asked = SourceState::Unavailable(format!("{resolver} has not answered yet"));
        if self.set_state(asked).await.is_err() {
            return;
        }
        let mut wait = self.config.retry_min;
        let mut warned = false;
        loop {
            let began = Instant::now();
            let Ok(state) = self.try_sockets(&mut protocol).await else {
                return;
            };
            tracing::debug!(resolver, ?state, "no names");
            let answered = self.state == Some(SourceState::Connected);
            warned &= !(answered && began.elapsed() > self.config.retry_max);
            // Lines that another source names do not say what they lack.
            if let SourceState::Unavailable(reason) = &state
                && !warned
            {
                tracing::warn!("{reason}; names lack what it would tell until it answers");
                warned = true;
            }
            if self.set_state(state).await.is_err() {
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

    /// Follows the first socket that answers until it does no more; returns how it is then.
    async fn try_sockets<P: Protocol>(&mut self, protocol: &mut P) -> Result<SourceState, Closed> {
        let mut failed = None;
        for socket in self.config.sockets.clone() {
            let said = |reason: &str| {
                let shown = socket.display();
                SourceState::Unavailable(format!("{} {} {shown}: {reason}", P::RESOLVER, P::PLACE))
            };
            match protocol.session(self, &socket).await? {
                Outcome::Absent => {}
                Outcome::Refused(reason) => {
                    failed.get_or_insert(said(&reason));
                }
                Outcome::Lost(reason) => return Ok(said(&reason)),
            }
        }
        Ok(failed.unwrap_or(SourceState::Absent))
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
                    if let Question::Names(id) = question.ok_or(Closed)?
                        && let Some(names) = self.memory.recall(&id)
                    {
                        self.send(NameMessage::Names(names)).await?;
                    }
                }
            }
        }
    }

    /// Tells what became of the source, where that is new.
    pub async fn set_state(&mut self, state: SourceState) -> Result<(), Closed> {
        if self.state.as_ref() == Some(&state) {
            return Ok(());
        }
        self.state = Some(state.clone());
        let source = Arc::clone(&self.source);
        self.send(NameMessage::State { source, state }).await
    }

    /// Remembers names, and tells them where they are new.
    pub async fn learn(&mut self, update: Option<NameUpdate>) -> Result<(), Closed> {
        let Some(mut update) = update else {
            return Ok(());
        };
        self.sign(&mut update.names);
        if let [runtime] = self.source.runtimes {
            update.names.runtime_name.get_or_insert(runtime);
        }
        update.names.within.clone_from(&self.config.within);
        if self.memory.learn(&update) {
            self.send(NameMessage::Names(update)).await?;
        }
        Ok(())
    }

    /// Tells names of a pod.
    pub async fn learn_pod(&mut self, mut update: PodUpdate) -> Result<(), Closed> {
        self.sign(&mut update.names);
        self.send(NameMessage::Pod(update)).await
    }

    fn sign(&self, names: &mut Names) {
        let resolver = self.source.resolver;
        names.resolver = Some(resolver);
        for attribute in &mut names.attributes {
            attribute.resolver = resolver;
        }
    }

    /// Answers a question from memory; what has to be asked for comes back.
    pub async fn answer(
        &mut self,
        id: String,
        asked: &HashSet<String>,
    ) -> Result<Option<String>, Closed> {
        if let Some(known) = self.memory.recall(&id) {
            self.send(NameMessage::Names(known)).await?;
            return Ok(None);
        }
        if self.memory.is_unknown(&id) || asked.contains(&id) {
            return Ok(None);
        }
        if !is_id(&id) {
            let reason = format!("its id is none that {} gives", self.source.resolver);
            self.unknown(id, &reason).await?;
            return Ok(None);
        }
        Ok(Some(id))
    }

    /// Tells that a container is not known, unless it was named meanwhile.
    pub async fn unknown(&mut self, container_id: String, reason: &str) -> Result<(), Closed> {
        if self.memory.recall(&container_id).is_some() {
            return Ok(());
        }
        self.memory.learn_unknown(&container_id);
        let reason = reason.to_owned();
        let source = Arc::clone(&self.source);
        self.send(NameMessage::Unknown {
            source,
            container_id,
            reason,
        })
        .await
    }

    /// Hands on a message; waits where the reader is behind.
    pub async fn send(&self, message: NameMessage) -> Result<(), Closed> {
        self.messages.send(message).await.map_err(|_| Closed)
    }
}

/// The reason where a call took longer than it may.
pub(super) fn too_slow(limit: Duration) -> String {
    format!("no answer within {} s", limit.as_secs_f32())
}

/// The innermost cause: clients' errors only say at which stage it was.
pub(super) fn root(error: &(dyn error::Error + 'static)) -> String {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        if error.raw_os_error().is_some() {
            return match error.kind() {
                io::ErrorKind::NotFound => "no such file".to_owned(),
                kind => kind.to_string(),
            };
        }
        if let Some(inner) = error.get_ref() {
            return root(inner);
        }
    }
    match error.source() {
        Some(source) => root(source),
        None => error.to_string(),
    }
}
