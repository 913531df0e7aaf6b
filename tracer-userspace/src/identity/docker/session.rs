//! One connection to Docker, from the first question until it is lost.

use std::collections::{HashMap, HashSet};
use std::io;
use std::num::NonZeroUsize;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{EventsOptions, InspectContainerOptions, ListContainersOptions};
use futures_util::StreamExt;
use lru::LruCache;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use super::connection::{client, describe};
use super::convert::{Ended, ended, exit_of, from_event, from_inspect, from_summary, killed};
use crate::identity::client::{
    Allowance, Client, ClientConfig, Closed, Outcome, Question, too_slow,
};
use crate::identity::names::{NameMessage, NameUpdate, SourceState};

/// Questions about single containers that are under way at a time.
const MAX_INSPECTIONS: usize = 4;

/// Inspections of ended containers that are under way at a time.
const MAX_ENDS: usize = 32;

/// Containers that may have been sent a SIGKILL and not have ended at a time.
const MOST_KILLED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Longest event in bytes: it has all labels of the container.
const MAX_EVENT_BYTES: u64 = 1 << 20;

enum Answer {
    /// What Docker says of the container; nothing where that is no use.
    Inspection(String, Result<Option<Box<NameUpdate>>, String>),
    /// A container has ended; what Docker says of it now, if anything.
    Ended(Ended, Option<Box<ContainerInspectResponse>>),
    /// Docker answers.
    Alive(Result<(), String>),
}

pub(super) struct Session<'c> {
    client: &'c mut Client,
    calls: Docker,
    answers: JoinSet<Answer>,
    asked: HashSet<String>,
    /// Containers that a SIGKILL was sent to and whose end was not told yet.
    killed: LruCache<String, ()>,
}

impl<'c> Session<'c> {
    pub async fn run(client: &'c mut Client, socket: &Path) -> Result<Outcome, Closed> {
        // When this goes, all connections do.
        let (_alive, watch) = watch::channel(());
        match Self::open(client, socket, &watch).await {
            Ok((session, stream, allowance)) => {
                let reason = Box::pin(session.follow(&stream, &allowance)).await?;
                Ok(Outcome::Lost(reason))
            }
            Err(Error::IOError { err }) if err.kind() == io::ErrorKind::NotFound => {
                Ok(Outcome::Absent)
            }
            Err(error) => Ok(Outcome::Refused(describe(&error))),
        }
    }

    async fn open(
        client: &'c mut Client,
        socket: &Path,
        alive: &watch::Receiver<()>,
    ) -> Result<(Self, Docker, Allowance), Error> {
        let config = &client.config;
        // The list is the slowest call; the others are timed one by one.
        let longest = config.call_timeout * 3;
        let most = config.max_answer_bytes;
        let calls = self::client(socket, longest, most, None, alive)?;
        let allowance = Allowance::new(MAX_EVENT_BYTES);
        let stream = self::client(socket, longest, most, Some(&allowance), alive)?;
        ping(&calls, config.call_timeout).await?;
        let session = Self {
            client,
            calls,
            answers: JoinSet::new(),
            asked: HashSet::new(),
            killed: LruCache::new(MOST_KILLED),
        };
        Ok((session, stream, allowance))
    }

    /// Until the connection is lost; returns why.
    async fn follow(mut self, stream: &Docker, allowance: &Allowance) -> Result<String, Closed> {
        let config = self.client.config.clone();
        let mut events = pin!(stream.events(Some(event_options(now()))));
        let calls = self.calls.clone();
        let mut list = pin!(list(&calls, &config));
        let mut listed = false;
        let mut check = interval_at(Instant::now() + config.check_every, config.check_every);
        check.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let closed = self.client.messages.clone();
        loop {
            tokio::select! {
                () = closed.closed() => return Err(Closed),
                answer = &mut list, if !listed => {
                    listed = true;
                    match answer {
                        Ok(containers) => self.take_list(containers).await?,
                        Err(reason) => return Ok(reason),
                    }
                }
                event = events.next() => match event {
                    Some(Ok(event)) => {
                        allowance.renew();
                        if let Some(id) = killed(&event) {
                            self.killed.put(id.to_owned(), ());
                        }
                        if let Some(mut ended) = ended(&event) {
                            ended.killed = self.killed.pop(&ended.container_id).is_some();
                            self.look_at_end(ended);
                        }
                        let update = from_event(event, &config.chosen);
                        self.client.learn(update).await?;
                    }
                    Some(Err(error)) => return Ok(format!("events: {}", describe(&error))),
                    None => return Ok("the stream of events has ended".to_owned()),
                },
                question = self.client.questions.recv(), if self.asked.len() < MAX_INSPECTIONS => {
                    // Ends are told by events.
                    if let Question::Names(id) = question.ok_or(Closed)? {
                        self.answer(id).await?;
                    }
                }
                Some(answer) = self.answers.join_next() => match answer {
                    Ok(Answer::Alive(Err(reason))) => return Ok(reason),
                    Ok(answer) => self.take_answer(answer).await?,
                    // A task that panicked or was cancelled leaves its question open.
                    Err(error) => return Ok(error.to_string()),
                },
                _ = check.tick() => self.check(config.call_timeout),
            }
        }
    }

    async fn take_list(&mut self, containers: Vec<NameUpdate>) -> Result<(), Closed> {
        for container in containers {
            self.client.learn(Some(container)).await?;
        }
        // Only now, so that "not named yet" is said of nobody who is in the list.
        self.client.set_state(SourceState::Connected).await
    }

    /// Answers from memory, or asks Docker in the background.
    async fn answer(&mut self, id: String) -> Result<(), Closed> {
        let Some(id) = self.client.answer(id, &self.asked).await? else {
            return Ok(());
        };
        self.asked.insert(id.clone());
        let (calls, limit) = (self.calls.clone(), self.client.config.call_timeout);
        let chosen = Arc::clone(&self.client.config.chosen);
        self.answers.spawn(async move {
            let question = calls.inspect_container(&id, None::<InspectContainerOptions>);
            match timeout(limit, question).await {
                Ok(Ok(found)) => {
                    // Docker finds containers by the beginnings of their ids and by names, too.
                    let same =
                        from_inspect(found, &chosen).filter(|update| update.container_id == id);
                    Answer::Inspection(id, Ok(same.map(Box::new)))
                }
                Ok(Err(Error::DockerResponseServerError {
                    status_code: 404, ..
                })) => Answer::Inspection(id, Ok(None)),
                Ok(Err(error)) => Answer::Inspection(id, Err(describe(&error))),
                Err(_) => Answer::Inspection(id, Err(too_slow(limit))),
            }
        });
        Ok(())
    }

    async fn take_answer(&mut self, answer: Answer) -> Result<(), Closed> {
        let resolver = self.client.source.resolver;
        match answer {
            Answer::Alive(_) => Ok(()),
            Answer::Ended(ended, inspection) => {
                let container_id = ended.container_id.clone();
                let mut exit = exit_of(&ended, inspection.map(|found| *found));
                exit.killed_by = ended.killed.then_some(resolver);
                let message = NameMessage::Exit { container_id, exit };
                self.client.send(message).await
            }
            Answer::Inspection(id, found) => {
                self.asked.remove(&id);
                match found {
                    Ok(Some(update)) => self.client.learn(Some(*update)).await,
                    Ok(None) => {
                        let reason = format!("{resolver} does not know this container");
                        self.client.unknown(id, &reason).await
                    }
                    Err(reason) => {
                        let reason = format!("{resolver}: {reason}");
                        self.client.unknown(id, &reason).await
                    }
                }
            }
        }
    }

    /// The event has the exit code; how often it was restarted has to be asked for.
    fn look_at_end(&mut self, ended: Ended) {
        let (calls, limit) = (self.calls.clone(), self.client.config.call_timeout);
        if self.answers.len() >= MAX_ENDS {
            self.answers
                .spawn(async move { Answer::Ended(ended, None) });
            return;
        }
        self.answers.spawn(async move {
            let none = None::<InspectContainerOptions>;
            let question = calls.inspect_container(&ended.container_id, none);
            let answer = timeout(limit, question).await;
            let inspection = answer.ok().and_then(Result::ok).map(Box::new);
            Answer::Ended(ended, inspection)
        });
    }

    /// A daemon that hangs leaves the stream of events as silent as one with nothing to tell.
    fn check(&mut self, limit: Duration) {
        let calls = self.calls.clone();
        self.answers.spawn(async move {
            let alive = ping(&calls, limit).await;
            Answer::Alive(alive.map_err(|error| describe(&error)))
        });
    }
}

async fn ping(calls: &Docker, limit: Duration) -> Result<(), Error> {
    match timeout(limit, calls.ping()).await {
        Ok(answer) => answer.map(|_| ()),
        Err(_) => Err(Error::RequestTimeoutError),
    }
}

async fn list(calls: &Docker, config: &ClientConfig) -> Result<Vec<NameUpdate>, String> {
    let options = ListContainersOptions {
        all: true,
        limit: i32::try_from(config.max_containers).ok(),
        ..ListContainersOptions::default()
    };
    let limit = config.call_timeout * 3;
    match timeout(limit, calls.list_containers(Some(options))).await {
        Ok(Ok(containers)) => Ok(containers
            .into_iter()
            .take(config.max_containers)
            .filter_map(|container| from_summary(container, &config.chosen))
            .collect()),
        Ok(Err(error)) => Err(format!("list of containers: {}", describe(&error))),
        Err(_) => Err(format!("list of containers: {}", too_slow(limit))),
    }
}

/// Events that change what containers are called, since a moment before the list is made: none
/// is lost between the two.
fn event_options(since: Duration) -> EventsOptions {
    let strings = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
    // Podman calls an end otherwise.
    let actions = [
        "create", "start", "rename", "kill", "die", "died", "destroy",
    ];
    EventsOptions {
        since: Some(format!("{}.{:09}", since.as_secs(), since.subsec_nanos())),
        until: None,
        filters: Some(HashMap::from([
            ("type".to_owned(), strings(&["container"])),
            ("event".to_owned(), strings(&actions)),
        ])),
    }
}

/// Since the epoch, by the clock that Docker on the same machine uses too.
fn now() -> Duration {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default()
}
