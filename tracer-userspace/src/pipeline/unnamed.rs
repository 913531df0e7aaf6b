//! Lines that went out without the name of their container, until a name completes them.

use std::collections::VecDeque;
use std::num::NonZeroUsize;

use lru::LruCache;

use crate::model::{
    event::{NameCounts, NamedEvent},
    identity::{Identity, SharedIdentity},
};

/// Most containers that are remembered; of those that were silent longest the lines stay as they are.
const MOST_CONTAINERS: NonZeroUsize = NonZeroUsize::new(4_096).unwrap();
/// Most numbers of lines that are told of one.
const MOST_SEQS: usize = 256;

#[derive(Default)]
struct Lines {
    count: u64,
    seqs: VecDeque<u64>,
}

/// The containers without a name of which lines have told.
pub struct Unnamed {
    counts: NameCounts,
    by_id: LruCache<String, Lines>,
}

impl Default for Unnamed {
    fn default() -> Self {
        Self {
            counts: NameCounts::default(),
            by_id: LruCache::new(MOST_CONTAINERS),
        }
    }
}

impl Unnamed {
    /// A line has told of somebody.
    pub fn told(&mut self, identity: &Identity, seq: u64) {
        let Some(id) = &identity.container_id else {
            return;
        };
        self.counts.lines += 1;
        if identity.container_name.is_some() {
            return;
        }
        self.counts.unnamed += 1;
        let lines = self.by_id.get_or_insert_mut_ref(id, Lines::default);
        lines.count += 1;
        if lines.seqs.len() == MOST_SEQS {
            lines.seqs.pop_front();
        }
        lines.seqs.push_back(seq);
    }

    /// A container has other names than before: what is to be told, where lines lack them.
    pub fn named(&mut self, container: &SharedIdentity) -> Option<NamedEvent> {
        container.container_name.as_ref()?;
        let lines = self.by_id.pop(container.container_id.as_deref()?)?;
        Some(NamedEvent {
            container: container.clone(),
            lines: lines.count,
            seqs: lines.seqs.into(),
        })
    }

    /// So many lines are complete now.
    pub const fn completed(&mut self, lines: u64) {
        self.counts.completed += lines;
    }

    /// All counts.
    pub const fn counts(&self) -> NameCounts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn who(id: Option<&str>, name: Option<&str>) -> SharedIdentity {
        Arc::new(Identity {
            container_id: id.map(str::to_owned),
            container_name: name.map(str::to_owned),
            ..Identity::default()
        })
    }

    #[test]
    fn a_name_completes_the_lines_before_it_once() {
        let mut unnamed = Unnamed::default();
        unnamed.told(&who(None, None), 1);
        unnamed.told(&who(Some("a"), Some("web")), 2);
        unnamed.told(&who(Some("a"), None), 3);
        unnamed.told(&who(Some("b"), None), 4);
        unnamed.told(&who(Some("a"), None), 5);
        assert_eq!(unnamed.named(&who(Some("a"), None)), None);
        assert_eq!(unnamed.named(&who(Some("c"), Some("web"))), None);
        let named = unnamed.named(&who(Some("a"), Some("web"))).unwrap();
        assert_eq!((named.lines, &named.seqs[..]), (2, &[3, 5][..]));
        assert_eq!(unnamed.named(&who(Some("a"), Some("web"))), None);
        unnamed.completed(named.lines);
        let counts = NameCounts {
            lines: 4,
            unnamed: 3,
            completed: 2,
        };
        assert_eq!(unnamed.counts(), counts);
    }

    #[test]
    fn of_many_lines_the_last_are_told() {
        let mut unnamed = Unnamed::default();
        for seq in 0..1_000 {
            unnamed.told(&who(Some("a"), None), seq);
        }
        let named = unnamed.named(&who(Some("a"), Some("web"))).unwrap();
        assert_eq!((named.lines, named.seqs.len()), (1_000, MOST_SEQS));
        assert_eq!(named.seqs.last(), Some(&999));
    }
}
