//! The memory of all containers at an interval's end.

use std::collections::HashSet;

use super::{Findings, MOST_WATCHED, is_watched};
use crate::{
    identity::index::CgroupIndex,
    kernel::limit_memo::LimitMemo,
    model::{identity::CgroupKey, limits::MemorySample},
    pipeline::containers::Files,
};

impl Findings {
    /// Takes a sample of the memory of every container that has a limit. `active` are those that did
    /// something in the interval.
    pub fn sample(
        &mut self,
        index: &CgroupIndex,
        files: &Files,
        hierarchy: u32,
        active: &HashSet<CgroupKey>,
        now_ns: u64,
    ) {
        self.unwatched.clear();
        let Some(memory) = &files.memory else { return };
        let mut limits = LimitMemo::new(memory);
        for (key, container) in index.live_owners() {
            if key.hierarchy != hierarchy || !is_watched(container.level) {
                continue;
            }
            let room = self.watched.len() < MOST_WATCHED || self.watched.contains_key(&key);
            let path = &container.cgroup_path;
            let limit = limits.memory_limit(path);
            if limit.is_some() && !room {
                self.unwatched.insert(key);
            }
            let Some(limit) = limit.filter(|_| room) else {
                if let Some(watched) = self.watched.get_mut(&key) {
                    watched.memory_limit = None;
                }
                continue;
            };
            let watched = self.watched.entry(key).or_default();
            // Of one that did nothing and has as much as before it consists of the same.
            let last = watched.history.last().filter(|_| !active.contains(&key));
            let same = last
                .copied()
                .filter(|last| memory.memory_in_use(path.as_bytes()) == Some(last.current_bytes));
            if let Some(sample) = same.or_else(|| memory.memory_sample(path)) {
                watched.history.add(MemorySample {
                    at_ns: now_ns,
                    ..sample
                });
            }
            watched.container = container;
            watched.memory_limit = Some(limit);
        }
    }
}
