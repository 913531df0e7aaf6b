//! Who made what made a pod: the Deployment of a ReplicaSet, the CronJob of a Job.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::task::JoinSet;
use tracing::debug;

use super::convert::Grandparent;
use super::http::{CallError, Caller};
use super::objects::{Object, OwnerReference, Pod};

/// Owners that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();
/// Most questions that are under way at a time.
const MOST_CALLS: usize = 4;
/// Most pods that wait for an answer; the others are told without it.
const MOST_WAITING: usize = 4_096;
/// Longest answer in bytes.
const MOST_BYTES: u64 = 2 << 20;

/// The answer about the owner of that uid.
pub(super) struct Answer(String, Result<Object, CallError>);

/// What is known of owners, and what is being asked.
pub(super) struct Owners {
    caller: Caller,
    limit: Duration,
    known: LruCache<String, Option<OwnerReference>>,
    /// Pods by the uid of the owner that is asked for.
    waiting: HashMap<String, Vec<Pod>>,
    pods_waiting: usize,
    /// What is to be asked next: uid and path.
    next: Vec<(String, String)>,
    calls: JoinSet<Answer>,
    /// The server has said that it does not tell; it is asked nothing until [`Self::try_again`].
    refused: bool,
}

impl Owners {
    pub fn new(caller: Caller, limit: Duration) -> Self {
        Self {
            caller,
            limit,
            known: LruCache::new(REMEMBERED),
            waiting: HashMap::new(),
            pods_waiting: 0,
            next: Vec::new(),
            calls: JoinSet::new(),
            refused: false,
        }
    }

    /// Who made the pod's owner. Where that is not known yet it is asked for, and the pod comes out
    /// of [`Self::answer`] when it is.
    pub fn of(&mut self, pod: &Pod) -> Grandparent<'_> {
        let Some((uid, path)) = question(pod) else {
            return Grandparent::Known(None);
        };
        if !self.known.contains(&uid) {
            self.ask(uid, path, pod);
            return Grandparent::Unknown;
        }
        Grandparent::Known(self.known.get(&uid).and_then(Option::as_ref))
    }

    /// Whether anything was refused up to now. From here on the server is asked again: a role may be
    /// granted at any time.
    pub fn try_again(&mut self) -> bool {
        std::mem::take(&mut self.refused)
    }

    fn ask(&mut self, uid: String, path: String, pod: &Pod) {
        if self.refused || self.pods_waiting >= MOST_WAITING {
            return;
        }
        self.pods_waiting += 1;
        if let Some(pods) = self.waiting.get_mut(&uid) {
            pods.push(pod.clone());
            return;
        }
        self.waiting.insert(uid.clone(), vec![pod.clone()]);
        self.next.push((uid, path));
        self.call();
    }

    fn call(&mut self) {
        while self.calls.len() < MOST_CALLS
            && let Some((uid, path)) = self.next.pop()
        {
            let (caller, limit) = (self.caller.clone(), self.limit);
            self.calls.spawn(async move {
                let answer = caller.get(&path, limit, MOST_BYTES).await;
                Answer(uid, answer)
            });
        }
    }

    /// The next answer; waits for ever where nothing is asked. It can be dropped and called again.
    pub async fn wait(&mut self) -> Option<Answer> {
        match self.calls.join_next().await {
            // A question that panicked is one without an answer.
            Some(answer) => answer.ok(),
            None => std::future::pending().await,
        }
    }

    /// Takes an answer; the pods that waited for it can be told anew.
    pub fn answer(&mut self, Answer(uid, answer): Answer) -> Vec<Pod> {
        let mut pods = self.waiting.remove(&uid).unwrap_or_default();
        self.pods_waiting -= pods.len();
        match answer {
            // Another object may have its name by now.
            Ok(object) if object.metadata.uid == uid => {
                self.known.put(uid, object.metadata.controller().cloned());
            }
            Ok(_) | Err(CallError::Status(404, _)) => {
                pods.clear();
            }
            Err(error) => {
                self.refused |= matches!(error, CallError::Status(401 | 403, _));
                debug!("the owner of an owner is not known: {}", error.into_text());
                pods.clear();
            }
        }
        if self.refused {
            self.next.clear();
            self.waiting.clear();
            self.pods_waiting = 0;
        }
        self.call();
        pods
    }
}

/// What to ask about a pod's owner, by its uid: its path. Only these two have owners by themselves.
fn question(pod: &Pod) -> Option<(String, String)> {
    let owner = pod.metadata.controller()?;
    let (api, plural) = match (&*owner.api_version, &*owner.kind) {
        ("apps/v1", "ReplicaSet") => ("apps/v1", "replicasets"),
        ("batch/v1", "Job") => ("batch/v1", "jobs"),
        _ => return None,
    };
    let plain = |text: &str| {
        let byte = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        !text.is_empty() && text.len() <= 253 && text.bytes().all(byte)
    };
    let (namespace, name) = (&pod.metadata.namespace, &owner.name);
    let safe = plain(namespace) && plain(name) && !owner.uid.is_empty();
    safe.then(|| {
        let path = format!("/apis/{api}/namespaces/{namespace}/{plural}/{name}");
        (owner.uid.clone(), path)
    })
}
