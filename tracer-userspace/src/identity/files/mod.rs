//! Names from files that the runtimes leave: what there is where no socket can be asked.
//!
//! Read are the bundles of containerd (`config.json` with the annotations of its CRI), Docker's
//! `config.v2.json`, the list of containers in Podman's and CRI-O's storage, CRI-O's bundles, and the
//! names of kubelet's log files. A bundle is there before the container's cgroup is, so also one that
//! lives for moments has its name.

mod places;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use self::places::{in_memory, on_disk};
use super::client::is_id;
use super::client::memory::Memory;
use super::names::{NameMessage, NameSource, NameUpdate, Names, Source, SourceState};

/// `container.resolver`.
const RESOLVER: &str = "files";

/// Questions that may wait; more are refused.
const MAX_QUESTIONS: usize = 1_024;

/// Most containers whose names are remembered.
const MAX_CONTAINERS: usize = 4_096;

/// The reader that runs in the background; it ends when this is dropped.
pub struct FileNames {
    source: Arc<Source>,
    questions: mpsc::Sender<String>,
    task: JoinHandle<()>,
}

impl FileNames {
    /// Starts it on the current tokio runtime. `root` is where the host's files are.
    pub fn spawn(root: PathBuf, messages: mpsc::Sender<NameMessage>) -> Self {
        let (questions, receiver) = mpsc::channel(MAX_QUESTIONS);
        let source = Arc::new(Source {
            resolver: RESOLVER,
            runtimes: &[],
            pods_only: false,
            place: root.display().to_string(),
            tells_exits: false,
        });
        let task = tokio::spawn(run(root, Arc::clone(&source), receiver, messages));
        Self {
            source,
            questions,
            task,
        }
    }
}

impl NameSource for FileNames {
    fn source(&self) -> &Arc<Source> {
        &self.source
    }

    fn ask(&self, container_id: &str) -> bool {
        self.questions.try_send(container_id.to_owned()).is_ok()
    }

    fn ask_exit(&self, _container_id: &str) -> bool {
        false
    }
}

impl Drop for FileNames {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers until nobody asks or listens any more.
async fn run(
    root: PathBuf,
    source: Arc<Source>,
    mut questions: mpsc::Receiver<String>,
    messages: mpsc::Sender<NameMessage>,
) {
    let mut memory = Memory::new(MAX_CONTAINERS);
    let state = SourceState::Connected;
    let connected = NameMessage::State {
        source: Arc::clone(&source),
        state,
    };
    if messages.send(connected).await.is_err() {
        return;
    }
    while let Some(container_id) = questions.recv().await {
        let known = memory.recall(&container_id);
        let answer = match known {
            Some(known) => NameMessage::Names(known),
            None if memory.is_unknown(&container_id) => continue,
            None => {
                let found = if is_id(&container_id) {
                    look_up(&root, &container_id).await
                } else {
                    None
                };
                if let Some(mut names) = found {
                    names.resolver = Some(RESOLVER);
                    let update = NameUpdate {
                        container_id,
                        names,
                    };
                    memory.learn(&update);
                    NameMessage::Names(update)
                } else {
                    memory.learn_unknown(&container_id);
                    NameMessage::Unknown {
                        source: Arc::clone(&source),
                        container_id,
                        reason: "no file of a runtime names it".to_owned(),
                    }
                }
            }
        };
        if messages.send(answer).await.is_err() {
            return;
        }
    }
}

/// What is in memory is read at once: it is to be there before the first event goes out. A disk may
/// hang, and whoever reads the records must not.
async fn look_up(root: &Path, id: &str) -> Option<Names> {
    if let Some(names) = in_memory(root, id) {
        return Some(names);
    }
    let (root, id) = (root.to_owned(), id.to_owned());
    let found = spawn_blocking(move || on_disk(&root, &id));
    found.await.ok().flatten()
}
