//! What a resolver has said lately.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::Duration;

use lru::LruCache;
use tokio::time::Instant;

use crate::identity::names::{NameUpdate, Names};

/// How long "not known" is believed. A container may be asked for while its runtime is making it, so
/// this is short.
pub(in crate::identity) const FORGET_UNKNOWN: Duration = Duration::from_secs(2);

/// Most containers that are remembered as not known.
const MAX_UNKNOWN: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// Names of containers, dead ones included, and ids that were not known.
pub(in crate::identity) struct Memory {
    names: LruCache<Box<str>, Names>,
    unknown: LruCache<Box<str>, Instant>,
}

impl Memory {
    pub fn new(max_containers: usize) -> Self {
        let most = NonZeroUsize::new(max_containers).unwrap_or(NonZeroUsize::MIN);
        Self {
            names: LruCache::new(most),
            unknown: LruCache::new(MAX_UNKNOWN),
        }
    }

    /// Notes names; false where they were known just so.
    pub fn learn(&mut self, update: &NameUpdate) -> bool {
        self.unknown.pop(update.container_id.as_str());
        if self.names.get(update.container_id.as_str()) == Some(&update.names) {
            return false;
        }
        let id = update.container_id.as_str().into();
        self.names.put(id, update.names.clone());
        true
    }

    /// Forgets all others, which their source has no more. Who was named keeps the name, which is not
    /// known from here.
    pub fn keep_only(&mut self, ids: &HashSet<&str>) {
        let gone = |id: &&str| !ids.contains(id);
        let gone: Vec<Box<str>> = (self.names.iter())
            .map(|(id, _)| &**id)
            .filter(gone)
            .map(Box::from)
            .collect();
        for id in gone {
            self.names.pop(&id);
        }
    }

    pub fn recall(&mut self, id: &str) -> Option<NameUpdate> {
        let names = self.names.get(id)?.clone();
        Some(NameUpdate {
            container_id: id.to_owned(),
            names,
        })
    }

    pub fn learn_unknown(&mut self, id: &str) {
        self.unknown.put(id.into(), Instant::now());
    }

    pub fn is_unknown(&mut self, id: &str) -> bool {
        let since = self.unknown.get(id);
        since.is_some_and(|since| since.elapsed() < FORGET_UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_whole_list_has_no_more_is_forgotten() {
        let mut memory = Memory::new(8);
        let named = |id: &str| NameUpdate {
            container_id: id.to_owned(),
            names: Names::default(),
        };
        for id in ["a", "b", "c"] {
            assert!(memory.learn(&named(id)));
        }
        memory.keep_only(&HashSet::from(["b", "d"]));
        let left = ["a", "b", "c"].map(|id| memory.recall(id).is_some());
        assert_eq!(left, [false, true, false]);
        assert!(!memory.learn(&named("b")), "it is known just so");
        assert!(memory.learn(&named("a")), "it is new again");
    }
}
