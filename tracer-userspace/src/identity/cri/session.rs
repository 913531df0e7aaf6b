//! One connection to a runtime, from the first question until it is lost.

use std::collections::HashSet;
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::calls::{CallError, Calls};
use super::convert::{
    About, exit, from_container, from_pod, from_status, lacks_image_name, runtime_name,
};
use super::messages::{CONTAINER_STOPPED_EVENT, Container, ContainerEventResponse, PodSandbox};
use crate::identity::client::{Client, Closed, Outcome, Question, is_id, too_slow};
use crate::identity::names::{NameMessage, NameUpdate, SourceState};
use crate::model::exit::ExitReport;

/// Questions that are under way at a time.
const MAX_CALLS: usize = 64;

/// Pods that are remembered for the names of their containers.
const MAX_PODS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();

/// Waits in milliseconds before a container that is not listed is asked for again: containerd lists a pod only when
/// its own container runs.
const NOT_YET_MS: [u64; 4] = [0, 15, 60, 400];

/// Waits in milliseconds before a container that has not ended to its runtime is asked for again; its
/// end is told without its cause a little later.
const NOT_ENDED_MS: [u64; 11] = [0, 10, 20, 50, 100, 200, 400, 600, 800, 1_000, 1_500];

enum Answer {
    /// All pods and containers.
    List(Result<(Vec<PodSandbox>, Vec<Container>), String>),
    /// A container that was asked for, with its pod where that was not known; nothing where the
    /// runtime has none of that id.
    Names(String, Result<Option<Found>, String>),
    /// How a container ended.
    Exit(String, ExitReport),
}

/// A container with its pod, where that was asked for too.
type Found = Box<(NameUpdate, Option<PodSandbox>)>;

type Event = Result<ContainerEventResponse, CallError>;

pub(super) struct Session<'c> {
    client: &'c mut Client,
    calls: Calls,
    runtime: Option<&'static str>,
    answers: JoinSet<Answer>,
    asked: HashSet<String>,
    pods: LruCache<String, PodSandbox>,
    /// Whether the runtime tells ends by itself.
    has_events: bool,
}

impl<'c> Session<'c> {
    pub async fn run(client: &'c mut Client, socket: &Path) -> Result<Outcome, Closed> {
        let (limit, bytes) = (client.config.call_timeout, client.config.max_answer_bytes);
        match timeout(limit, UnixStream::connect(socket)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(Outcome::Absent);
            }
            Ok(Err(error)) => return Ok(Outcome::Refused(error.kind().to_string())),
            Err(_) => return Ok(Outcome::Refused(too_slow(limit))),
        }
        let calls = match Calls::connect(socket, limit, bytes).await {
            Ok(calls) => calls,
            Err(error) => return Ok(Outcome::Refused(error.into_text())),
        };
        let session = Self {
            runtime: runtime_name(&calls.runtime),
            client,
            calls,
            answers: JoinSet::new(),
            asked: HashSet::new(),
            pods: LruCache::new(MAX_PODS),
            has_events: false,
        };
        let reason = Box::pin(session.follow()).await?;
        Ok(Outcome::Lost(reason))
    }

    /// Until the connection is lost; returns why.
    async fn follow(mut self) -> Result<String, Closed> {
        let every = self.client.config.check_every;
        let mut check = interval_at(Instant::now() + every, every);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = self.client.messages.clone();
        // First, so that nothing is missed between the list and the events.
        let mut streaming = JoinSet::new();
        let mut events = self.events(&mut streaming);
        self.list();
        loop {
            tokio::select! {
                () = closed.closed() => return Err(Closed),
                Some(event) = events.recv() => match event {
                    Ok(event) => self.take_event(&event).await?,
                    // The list and the questions do without.
                    Err(CallError::Unimplemented) => self.has_events = false,
                    Err(error) => return Ok(format!("events: {}", error.into_text())),
                },
                question = self.client.questions.recv(), if self.answers.len() < MAX_CALLS => {
                    match question.ok_or(Closed)? {
                        Question::Names(id) => self.answer(id).await?,
                        Question::Exit(id) => self.find_exit(id),
                    }
                }
                Some(answer) = self.answers.join_next() => match answer {
                    Ok(Answer::List(Err(reason))) => {
                        return Ok(format!("list of containers: {reason}"));
                    }
                    Ok(answer) => self.take_answer(answer).await?,
                    // A task that panicked or was cancelled leaves its question open.
                    Err(error) => return Ok(error.to_string()),
                },
                // It shows as well whether the runtime is still there.
                _ = check.tick() => self.list(),
            }
        }
    }

    fn about(&self) -> About<'_> {
        About {
            runtime: self.runtime,
            chosen: &self.client.config.chosen,
        }
    }

    async fn learn_pod(&mut self, pod: PodSandbox) -> Result<(), Closed> {
        let update = from_pod(&pod, &self.about());
        self.pods.put(pod.id.clone(), pod);
        self.client.learn(update).await
    }

    /// Follows the events in a task: the call itself may wait for the first of them.
    fn events(&mut self, tasks: &mut JoinSet<()>) -> mpsc::Receiver<Event> {
        let (sender, receiver) = mpsc::channel(64);
        if !self.calls.may_have_events() {
            return receiver;
        }
        self.has_events = true;
        let calls = self.calls.clone();
        tasks.spawn(async move {
            let mut stream = match calls.events().await {
                Ok(stream) => stream,
                Err(error) => {
                    // Nobody listens any more, or is told.
                    let _ = sender.send(Err(error)).await;
                    return;
                }
            };
            loop {
                let event = match stream.message().await {
                    Ok(Some(event)) => Ok(event),
                    Ok(None) => Err(CallError::Failed("the stream has ended".to_owned())),
                    Err(status) => Err(status.into()),
                };
                let last = event.is_err();
                if sender.send(event).await.is_err() || last {
                    return;
                }
            }
        });
        receiver
    }

    async fn take_event(&mut self, event: &ContainerEventResponse) -> Result<(), Closed> {
        let pod = event.pod_sandbox_status.clone().map(PodSandbox::from);
        if let Some(pod) = &pod {
            self.learn_pod(pod.clone()).await?;
        }
        for status in &event.containers_statuses {
            let update = from_status(status, pod.as_ref(), &self.about());
            self.client.learn(update).await?;
            let ended = event.container_event_type == CONTAINER_STOPPED_EVENT
                && status.id == event.container_id;
            if let Some(exit) = exit(status).filter(|_| ended) {
                let container_id = status.id.clone();
                let message = NameMessage::Exit { container_id, exit };
                self.client.send(message).await?;
            }
        }
        Ok(())
    }

    fn list(&mut self) {
        let calls = self.calls.clone();
        self.answers.spawn(async move {
            let both = async { Ok((calls.pods(None).await?, calls.containers(None).await?)) };
            Answer::List(both.await.map_err(CallError::into_text))
        });
    }

    async fn take_list(
        &mut self,
        pods: Vec<PodSandbox>,
        containers: Vec<Container>,
    ) -> Result<(), Closed> {
        let most = self.client.config.max_containers;
        let listed = pods.iter().map(|pod| &*pod.id);
        let listed = listed
            .chain(containers.iter().map(|one| &*one.id))
            .collect();
        self.client.memory.keep_only(&listed);
        for pod in pods.into_iter().take(most) {
            self.learn_pod(pod).await?;
        }
        for container in containers.into_iter().take(most) {
            let about = About {
                runtime: self.runtime,
                chosen: &self.client.config.chosen,
            };
            let pod = self.pods.get(&container.pod_sandbox_id);
            let Some(update) = from_container(&container, pod, &about) else {
                continue;
            };
            if !lacks_image_name(&update) {
                self.client.learn(Some(update)).await?;
            } else if self.client.memory.recall(&update.container_id).is_none() {
                let id = update.container_id.clone();
                self.client.learn(Some(update)).await?;
                if self.answers.len() < MAX_CALLS {
                    self.find(id);
                }
            }
        }
        // Only now, so that "not named yet" is said of nobody who is in the list.
        self.client.set_state(SourceState::Connected).await
    }

    /// Answers from memory, or asks the runtime in the background.
    async fn answer(&mut self, id: String) -> Result<(), Closed> {
        if let Some(id) = self.client.answer(id, &self.asked).await? {
            self.find(id);
        }
        Ok(())
    }

    fn find(&mut self, id: String) {
        self.asked.insert(id.clone());
        let (calls, runtime) = (self.calls.clone(), self.runtime);
        let chosen = Arc::clone(&self.client.config.chosen);
        self.answers.spawn(async move {
            let about = About {
                runtime,
                chosen: &chosen,
            };
            for wait in NOT_YET_MS {
                sleep(Duration::from_millis(wait)).await;
                match find(&calls, &id, &about).await {
                    Ok(None) => {}
                    Ok(found) => return Answer::Names(id, Ok(found)),
                    Err(error) => return Answer::Names(id, Err(error.into_text())),
                }
            }
            Answer::Names(id, Ok(None))
        });
    }

    fn find_exit(&mut self, id: String) {
        if self.has_events || !is_id(&id) {
            return;
        }
        let calls = self.calls.clone();
        self.answers.spawn(async move {
            for wait in NOT_ENDED_MS {
                sleep(Duration::from_millis(wait)).await;
                match calls.status(&id).await {
                    Ok(status) if status.id == id => {
                        if let Some(exit) = exit(&status) {
                            return Answer::Exit(id, exit);
                        }
                    }
                    // A pod's own container has no status, and one that is removed no more.
                    _ => break,
                }
            }
            Answer::Exit(id, ExitReport::default())
        });
    }

    async fn take_answer(&mut self, answer: Answer) -> Result<(), Closed> {
        match answer {
            Answer::List(Ok((pods, containers))) => self.take_list(pods, containers).await,
            Answer::List(Err(_)) => Ok(()),
            Answer::Exit(container_id, exit) => {
                let message = NameMessage::Exit { container_id, exit };
                self.client.send(message).await
            }
            Answer::Names(id, found) => {
                self.asked.remove(&id);
                match found {
                    Ok(Some(found)) => {
                        let (update, pod) = *found;
                        if let Some(pod) = pod {
                            self.learn_pod(pod).await?;
                        }
                        self.client.learn(Some(update)).await
                    }
                    Ok(None) => {
                        let reason = "the runtime behind cri does not know this container";
                        self.client.unknown(id, reason).await
                    }
                    Err(reason) => self.client.unknown(id, &format!("cri: {reason}")).await,
                }
            }
        }
    }
}

/// The container of that id, or the pod whose own container it is.
async fn find(calls: &Calls, id: &str, about: &About<'_>) -> Result<Option<Found>, CallError> {
    // Runtimes find by the beginnings of ids, too.
    let containers = calls.containers(Some(id)).await?;
    if let Some(container) = containers.into_iter().find(|one| one.id == id) {
        let pods = calls.pods(Some(&container.pod_sandbox_id)).await?;
        let pod = pods
            .into_iter()
            .find(|pod| pod.id == container.pod_sandbox_id);
        let mut update = from_container(&container, pod.as_ref(), about);
        if update.as_ref().is_some_and(lacks_image_name)
            && let Ok(status) = calls.status(id).await
            && status.id == id
        {
            update = from_status(&status, pod.as_ref(), about).or(update);
        }
        return Ok(update.map(|update| Box::new((update, pod))));
    }
    let pods = calls.pods(Some(id)).await?;
    let pod = pods.into_iter().find(|pod| pod.id == id);
    Ok(pod.and_then(|pod| Some(Box::new((from_pod(&pod, about)?, None)))))
}
