//! The kubelet: its pods are asked for now and then, and when a container is unknown.

use std::collections::HashSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::convert::{Grandparent, names};
use super::http::{CallError, Caller};
use super::objects::PodList;
use crate::identity::client::{Client, Closed, Outcome, Question};
use crate::identity::names::SourceState;

/// Shortest time between two lists: the kubelet makes each anew.
const SHORTEST: Duration = Duration::from_millis(500);

/// One series of lists.
pub(super) struct Session<'a> {
    client: &'a mut Client,
    caller: &'a Caller,
    calls: JoinSet<Result<PodList, CallError>>,
    /// Containers that the next list is to name …
    asked: HashSet<String>,
    /// … and those that the list that is on its way is to.
    awaited: Vec<String>,
    last: Instant,
}

impl<'a> Session<'a> {
    pub async fn run(client: &'a mut Client, caller: &'a Caller) -> Result<Outcome, Closed> {
        let session = Self {
            client,
            caller,
            calls: JoinSet::new(),
            asked: HashSet::new(),
            awaited: Vec::new(),
            last: Instant::now(),
        };
        Box::pin(session.follow()).await
    }

    async fn follow(mut self) -> Result<Outcome, Closed> {
        let closed = self.client.messages.clone();
        let every = self.client.config.check_every;
        let mut answered = false;
        self.list();
        loop {
            let next = if self.asked.is_empty() {
                self.last + every
            } else {
                self.last + SHORTEST
            };
            tokio::select! {
                () = closed.closed() => return Err(Closed),
                () = sleep_until(next), if self.calls.is_empty() => self.list(),
                Some(answer) = self.calls.join_next() => match answer {
                    Ok(Ok(list)) => {
                        self.take(list).await?;
                        answered = true;
                    }
                    Ok(Err(error)) => {
                        let reason = format!("list of pods: {}", error.into_text());
                        return Ok(if answered {
                            Outcome::Lost(reason)
                        } else {
                            Outcome::Refused(reason)
                        });
                    }
                    Err(error) => return Ok(Outcome::Lost(error.to_string())),
                },
                question = self.client.questions.recv() => {
                    // How a container ended, its runtime tells.
                    if let Question::Names(id) = question.ok_or(Closed)?
                        && let Some(id) = self.client.answer(id, &self.asked).await?
                        && self.asked.len() < self.client.config.max_containers
                    {
                        self.asked.insert(id);
                    }
                }
            }
        }
    }

    fn list(&mut self) {
        let config = &self.client.config;
        let (limit, most) = (config.call_timeout * 3, config.max_answer_bytes);
        let caller = self.caller.clone();
        self.awaited.extend(self.asked.drain());
        self.last = Instant::now();
        self.calls
            .spawn(async move { caller.get("/pods", limit, most).await });
    }

    async fn take(&mut self, list: PodList) -> Result<(), Closed> {
        for pod in list.items.iter().take(self.client.config.max_containers) {
            let found = names(pod, Grandparent::Unknown, &self.client.config.chosen);
            let Some((of_pod, containers)) = found else {
                continue;
            };
            self.client.learn_pod(of_pod).await?;
            for container in containers {
                self.client.learn(Some(container)).await?;
            }
        }
        self.client.set_state(SourceState::Connected).await?;
        for id in std::mem::take(&mut self.awaited) {
            let reason = "kubelet knows no pod with this container (yet)";
            self.client.unknown(id, reason).await?;
        }
        Ok(())
    }
}
