//! Watches the ends of containers for those that are restarted again and again.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::{
    analyse::findings::{
        Thresholds,
        restart_loop::{Restarts, subject},
    },
    model::{event::Lifecycle, finding::FindingEvent, identity::Identity},
};

/// Most containers whose short lives are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// The containers that ended lately.
pub struct RestartWatch {
    thresholds: Thresholds,
    /// Whether findings are wanted.
    judges: bool,
    lives: LruCache<String, Restarts>,
}

impl RestartWatch {
    /// Nothing has ended yet.
    pub fn new(thresholds: Thresholds, judges: bool) -> Self {
        Self {
            thresholds,
            judges,
            lives: LruCache::new(REMEMBERED),
        }
    }

    /// A container runs, as far as it is known now: in Kubernetes the name that ties it to its last
    /// life can come later than its start.
    pub fn started(&mut self, container: &Identity, at_ns: u64) {
        let known = subject(container).and_then(|subject| self.lives.get_mut(&subject));
        if let Some(restarts) = known {
            restarts.started(at_ns);
        }
    }

    /// A container has ended.
    pub fn ended(&mut self, life: &Lifecycle, at_ns: u64) -> Vec<FindingEvent> {
        let Some(subject) = subject(&life.container).filter(|_| self.judges) else {
            return Vec::new();
        };
        let mut events = Vec::new();
        if !self.lives.contains(&subject) {
            let evicted = self.lives.push(subject.clone(), Restarts::default());
            events.extend(evicted.and_then(|(_, mut oldest)| oldest.over(at_ns)));
        }
        if let Some(restarts) = self.lives.get_mut(&subject) {
            events.extend(restarts.ended(life, at_ns, &self.thresholds));
        }
        events
    }

    /// Those that have been up for long enough, or do not come back, are in no loop any more.
    pub fn interval(&mut self, now_ns: u64) -> Vec<FindingEvent> {
        let over: Vec<String> = self
            .lives
            .iter()
            .filter(|(_, restarts)| restarts.is_over(now_ns, &self.thresholds))
            .map(|(subject, _)| subject.clone())
            .collect();
        over.into_iter()
            .filter_map(|subject| self.lives.pop(&subject)?.over(now_ns))
            .collect()
    }

    /// The run is over.
    pub fn stop(&mut self, now_ns: u64) -> Vec<FindingEvent> {
        let mut events = Vec::new();
        while let Some((_, mut restarts)) = self.lives.pop_lru() {
            events.extend(restarts.over(now_ns));
        }
        events
    }
}
