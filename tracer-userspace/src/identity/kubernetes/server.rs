//! The API server: the pods of one node are listed, then their changes are watched.

use std::collections::HashSet;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::time::{Instant, sleep_until};

use super::convert::names;
use super::http::{CallError, Caller, Lines};
use super::objects::{Pod, PodList, Status, WatchEvent, WatchKind};
use super::owners::Owners;
use crate::identity::client::{Client, Closed, Outcome, Question};
use crate::identity::names::SourceState;

/// How long the server is to keep a watch open, in seconds …
const WATCH_S: u64 = 240;
/// … and after what silence it is taken for dead. The server sends a bookmark about once a minute.
const SILENCE: Duration = Duration::from_secs(WATCH_S + 10);
/// A watch that is over sooner was none …
const SHORTEST: Duration = Duration::from_secs(1);
/// … and after so many in a row the server is left alone for a while: somebody in between closes them
/// all, and would be asked without a pause.
const MOST_SHORT: u32 = 3;
/// Longest event in bytes: objects have 1.5 MiB at most.
const MOST_EVENT: usize = 4 << 20;

/// One connection to the API server.
pub(super) struct Session<'a> {
    client: &'a mut Client,
    caller: &'a Caller,
    owners: Owners,
    /// The pods of the node, for a question's path.
    selector: String,
}

/// What became of a watch.
enum Watched {
    /// It was as long as it was to be: the next one begins at that version.
    Over(String),
    /// It began too long ago for the server, or owners may be told by now: everything is to be listed
    /// again.
    Expired,
}

impl<'a> Session<'a> {
    pub async fn run(
        client: &'a mut Client,
        caller: &'a Caller,
        node: &str,
    ) -> Result<Outcome, Closed> {
        let node = utf8_percent_encode(node, NON_ALPHANUMERIC);
        let session = Self {
            owners: Owners::new(caller.clone(), client.config.call_timeout),
            client,
            caller,
            selector: format!("fieldSelector=spec.nodeName%3D{node}"),
        };
        Box::pin(session.follow()).await
    }

    async fn follow(mut self) -> Result<Outcome, Closed> {
        let mut answered = false;
        let mut short = 0;
        loop {
            let mut version = match self.list().await {
                Ok(list) => {
                    let version = list.metadata.resource_version.clone();
                    self.take_list(list).await?;
                    version
                }
                Err(error) => {
                    let reason = format!("list of pods: {}", error.into_text());
                    return Ok(if answered {
                        Outcome::Lost(reason)
                    } else {
                        Outcome::Refused(reason)
                    });
                }
            };
            answered = true;
            loop {
                let began = Instant::now();
                let watched = self.watch(version).await?;
                let is_short = began.elapsed() < SHORTEST;
                short = if is_short { short + 1 } else { 0 };
                if watched.is_ok() && short > MOST_SHORT {
                    let reason = "watch of pods: each is over at once".to_owned();
                    return Ok(Outcome::Lost(reason));
                }
                match watched {
                    Ok(Watched::Over(next)) => version = next,
                    Ok(Watched::Expired) => break,
                    Err(error) => {
                        let reason = format!("watch of pods: {}", error.into_text());
                        return Ok(Outcome::Lost(reason));
                    }
                }
            }
        }
    }

    async fn list(&self) -> Result<PodList, CallError> {
        let config = &self.client.config;
        // Any version will do, which the server has in its memory.
        let path = format!("/api/v1/pods?{}&resourceVersion=0", self.selector);
        let limit = config.call_timeout * 3;
        self.caller.get(&path, limit, config.max_answer_bytes).await
    }

    async fn take_list(&mut self, list: PodList) -> Result<(), Closed> {
        for pod in list
            .items
            .into_iter()
            .take(self.client.config.max_containers)
        {
            self.take(&pod).await?;
        }
        // Only now, so that "not known" is said of nobody who is in the list.
        self.client.set_state(SourceState::Connected).await
    }

    /// Until the watch is over.
    async fn watch(&mut self, version: String) -> Result<Result<Watched, CallError>, Closed> {
        let path = format!(
            "/api/v1/pods?{}&watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_S}\
             &resourceVersion={}",
            self.selector,
            utf8_percent_encode(&version, NON_ALPHANUMERIC)
        );
        let limit = self.client.config.call_timeout;
        let mut lines = match self.caller.lines(&path, limit, MOST_EVENT).await {
            Ok(lines) => lines,
            Err(CallError::Status(410, _)) => return Ok(Ok(Watched::Expired)),
            Err(error) => return Ok(Err(error)),
        };
        self.read(&mut lines, version).await
    }

    async fn read(
        &mut self,
        lines: &mut Lines,
        mut version: String,
    ) -> Result<Result<Watched, CallError>, Closed> {
        let closed = self.client.messages.clone();
        let mut deadline = Instant::now() + SILENCE;
        loop {
            tokio::select! {
                () = closed.closed() => return Err(Closed),
                () = sleep_until(deadline) => {
                    let reason = format!("silent for {} s", SILENCE.as_secs());
                    return Ok(Err(CallError::Failed(reason)));
                }
                line = lines.next() => {
                    deadline = Instant::now() + SILENCE;
                    let event = match line {
                        Ok(Some(line)) => event(&line),
                        // Who was told without an owner's owner is asked for anew.
                        Ok(None) if self.owners.try_again() => return Ok(Ok(Watched::Expired)),
                        Ok(None) => return Ok(Ok(Watched::Over(version))),
                        Err(error) => Err(error),
                    };
                    match event {
                        Ok(Event::Pod(pod)) => {
                            version.clone_from(&pod.metadata.resource_version);
                            self.take(&pod).await?;
                        }
                        Ok(Event::Version(next)) => version = next,
                        Ok(Event::Expired) => return Ok(Ok(Watched::Expired)),
                        Err(error) => return Ok(Err(error)),
                    }
                }
                question = self.client.questions.recv() => {
                    // How a container ended, its runtime tells.
                    if let Question::Names(id) = question.ok_or(Closed)?
                        && let Some(id) = self.client.answer(id, &HashSet::new()).await?
                    {
                        let reason = "api_server knows no pod with this container (yet)";
                        self.client.unknown(id, reason).await?;
                    }
                }
                answer = self.owners.wait() => {
                    if let Some(answer) = answer {
                        for pod in self.owners.answer(answer) {
                            self.take(&pod).await?;
                        }
                    }
                }
            }
        }
    }

    async fn take(&mut self, pod: &Pod) -> Result<(), Closed> {
        let grandparent = self.owners.of(pod);
        let Some((of_pod, containers)) = names(pod, grandparent, &self.client.config.chosen) else {
            return Ok(());
        };
        self.client.learn_pod(of_pod).await?;
        for container in containers {
            self.client.learn(Some(container)).await?;
        }
        Ok(())
    }
}

/// What an event of a watch says.
enum Event {
    /// The pod is so now.
    Pod(Box<Pod>),
    /// Nothing but how far the watch has come.
    Version(String),
    /// The watch began too long ago.
    Expired,
}

fn event(line: &[u8]) -> Result<Event, CallError> {
    let senseless =
        |error: serde_json::Error| CallError::Failed(format!("an event makes no sense: {error}"));
    let kind: WatchKind = serde_json::from_slice(line).map_err(senseless)?;
    if kind.kind == "ERROR" {
        let status: WatchEvent<Status> = serde_json::from_slice(line).map_err(senseless)?;
        let Status { code, message } = status.object;
        return match code {
            410 => Ok(Event::Expired),
            _ => Err(CallError::Status(code, message)),
        };
    }
    let event: WatchEvent<Pod> = serde_json::from_slice(line).map_err(senseless)?;
    Ok(match &*kind.kind {
        // What is gone keeps its names; late events need them.
        "ADDED" | "MODIFIED" => Event::Pod(Box::new(event.object)),
        _ => Event::Version(event.object.metadata.resource_version),
    })
}
