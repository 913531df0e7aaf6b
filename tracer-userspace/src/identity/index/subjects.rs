//! What sources said about containers (or pods), and which paths it goes to.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::paths::PathId;
use crate::identity::names::{Names, Source};

/// One container or pod.
#[derive(Default)]
pub(super) struct Subject {
    pub names: Option<Box<Names>>,
    /// Why it has no names: what sources said that were asked for just this one.
    pub reasons: Vec<(Arc<Source>, String)>,
    /// Paths of its cgroups, nested ones included.
    pub paths: HashSet<PathId>,
}

/// Containers or pods by their ids.
///
/// Those without cgroups are kept as well, since names may come before the cgroup and a stopped
/// container may start again; the longest without go first when there are too many.
pub(super) struct Subjects {
    // Boxed, as a hash map has nearly twice the room that it needs.
    by_id: HashMap<Box<str>, Box<Subject>>,
    idle: VecDeque<Box<str>>,
    max_idle: usize,
}

impl Subject {
    /// Takes in names; what better sources said stays.
    pub fn learn(&mut self, names: Names) {
        match &mut self.names {
            Some(known) => known.merge(names),
            None => self.names = Some(Box::new(names)),
        }
        self.reasons = Vec::new();
    }

    /// Takes in why a source has no names; the last word of each source counts.
    pub fn learn_reason(&mut self, source: Arc<Source>, reason: String) {
        // Names of one that its runtime has forgotten are still its names.
        if self.names.is_some() {
            return;
        }
        match self.reasons.iter_mut().find(|(who, _)| *who == source) {
            Some((_, old)) => *old = reason,
            None => self.reasons.push((source, reason)),
        }
    }

    pub fn reason_of(&self, source: &Source) -> Option<&str> {
        let mut reasons = self.reasons.iter();
        let (_, reason) = reasons.find(|(who, _)| **who == *source)?;
        Some(reason)
    }
}

impl Subjects {
    pub fn new(max_idle: usize) -> Self {
        Self {
            by_id: HashMap::new(),
            idle: VecDeque::new(),
            max_idle,
        }
    }

    pub fn get(&self, id: &str) -> Option<&Subject> {
        self.by_id.get(id).map(|one| &**one)
    }

    /// Paths of all subjects that have no names.
    pub fn unnamed_paths(&self) -> Vec<PathId> {
        let unnamed = self.by_id.values().filter(|one| one.names.is_none());
        unnamed.flat_map(|one| one.paths.iter().copied()).collect()
    }

    pub fn link(&mut self, id: &str, path: PathId) {
        if let Some(subject) = self.by_id.get_mut(id) {
            subject.paths.insert(path);
        } else {
            let subject = Subject {
                paths: HashSet::from([path]),
                ..Subject::default()
            };
            self.by_id.insert(id.into(), Box::new(subject));
        }
    }

    pub fn unlink(&mut self, id: &str, path: PathId) {
        let Some(subject) = self.by_id.get_mut(id) else {
            return;
        };
        subject.paths.remove(&path);
        if subject.paths.is_empty() {
            if subject.names.is_some() {
                self.retire(id);
            } else {
                self.by_id.remove(id);
            }
        }
    }

    /// Changes a subject; its paths are those whose identities may be others now.
    pub fn update(&mut self, id: &str, change: impl FnOnce(&mut Subject)) -> Vec<PathId> {
        if let Some(subject) = self.by_id.get_mut(id) {
            change(subject);
            return subject.paths.iter().copied().collect();
        }
        let mut subject = Subject::default();
        change(&mut subject);
        // A mere reason is worth nothing without a cgroup.
        if subject.names.is_some() {
            self.by_id.insert(id.into(), Box::new(subject));
            self.retire(id);
        }
        Vec::new()
    }

    /// Queues a subject without paths; whatever is in the queue for too long goes.
    fn retire(&mut self, id: &str) {
        self.idle.push_back(id.into());
        while self.idle.len() > self.max_idle {
            let Some(oldest) = self.idle.pop_front() else {
                break;
            };
            // It may have got a cgroup meanwhile.
            if self
                .by_id
                .get(&oldest)
                .is_some_and(|one| one.paths.is_empty())
            {
                self.by_id.remove(&oldest);
            }
        }
    }
}
