//! Cgroups: those that are there, those that come and go, and their slots.

use std::collections::HashSet;

use rustix::time::ClockId;
use tracer_common::counters;
use tracing::{debug, warn};

use super::{Pipeline, clock_ns};
use crate::{
    events::{CgroupEvent, CgroupOperation},
    identity::{
        index::Change,
        walk::{Found, Walk},
    },
    kernel::cgroup_mounts::Hierarchy,
    model::identity::{CgroupKey, Level},
};

impl Pipeline {
    /// Takes in the cgroups that exist already.
    pub fn walk(&mut self) {
        for hierarchy in self.hierarchies() {
            let Some(mount) = &hierarchy.mount else {
                warn!(
                    "the cgroup hierarchy {} is not mounted here: cgroups that exist already have no \
                     names, and limits and usage are missing in the output",
                    hierarchy.label()
                );
                continue;
            };
            let root = mount.root.as_os_str().as_encoded_bytes();
            let mut walk = match Walk::new(&mount.path, root, hierarchy.id) {
                Ok(walk) => walk,
                Err(error) => {
                    warn!(
                        "cannot read the cgroups at {}: {error}",
                        mount.path.display()
                    );
                    continue;
                }
            };
            for found in walk.by_ref() {
                let _ = self.found(&found);
            }
            if let Some(error) = walk.first_error() {
                warn!("{} cgroups could not be read: {error}", walk.skipped());
            }
        }
    }

    /// The hierarchies whose cgroups matter, each once.
    fn hierarchies(&self) -> Vec<Hierarchy> {
        let mut all: Vec<Hierarchy> = Vec::new();
        let layout = &self.layout;
        for hierarchy in [layout.slots(), layout.with_controller("memory")] {
            if let Some(hierarchy) = hierarchy
                && all.iter().all(|other| other.id != hierarchy.id)
            {
                all.push(hierarchy.clone());
            }
        }
        all
    }

    /// A walk has come to a cgroup.
    fn found(&mut self, found: &Found) -> Option<Change> {
        let change = self
            .index
            .insert(found.key, found.parent_id, &found.path, None);
        if found.key.hierarchy == self.slot_hierarchy {
            self.give_slot(found.key, found.parent_id == 0);
        }
        change
    }

    /// Walks again where the ring had no room for the birth or the end of a cgroup. What was born
    /// unseen gets its names, and what went unseen gives its slot back.
    pub(super) fn recover(&mut self) -> Vec<Change> {
        let lost = self.tracer.counter(counters::LOST_RING_CGROUP);
        if lost == self.births_lost {
            return Vec::new();
        }
        debug!(lost, "records of cgroups were lost: walking again");
        self.births_lost = lost;
        let mut changes = Vec::new();
        for hierarchy in self.hierarchies() {
            let Some(mount) = &hierarchy.mount else {
                continue;
            };
            let began_ns = clock_ns(ClockId::Monotonic);
            // Only what has a slot before the walk can be missed by it because it is gone.
            let slotted = if hierarchy.id == self.slot_hierarchy {
                self.tracer.slot_of_cgroup.keys().flatten().collect()
            } else {
                Vec::new()
            };
            let root = mount.root.as_os_str().as_encoded_bytes();
            let Ok(mut walk) = Walk::new(&mount.path, root, hierarchy.id) else {
                continue;
            };
            let mut seen = HashSet::new();
            for found in walk.by_ref() {
                seen.insert(found.key.id);
                changes.extend(self.found(&found));
            }
            if !mount.whole || walk.first_error().is_some() {
                continue;
            }
            // Id 0 stands for what belongs to no cgroup.
            let gone = slotted.iter().filter(|id| **id != 0 && !seen.contains(id));
            self.gone
                .extend(gone.map(|id| CgroupKey::new(hierarchy.id, *id)));
            let now = clock_ns(ClockId::Monotonic);
            let removed = self
                .index
                .removed_unless_seen(hierarchy.id, &seen, began_ns, now);
            if hierarchy.id == self.memory_hierarchy {
                for change in &removed {
                    self.judge.gone(change.key);
                }
            }
            changes.extend(removed);
        }
        changes
    }

    fn give_slot(&mut self, key: CgroupKey, root: bool) {
        let owner = self.index.owner(key);
        let container = (owner != key && self.is_container(owner)).then_some(owner.id);
        if let Err(error) = self.slots.give(&mut self.tracer, key.id, container) {
            self.slots_refused += 1;
            self.say_slots_full(&error.to_string());
            return;
        }
        if root
            && let Err(error) = self
                .slots
                .share_root_with_autogroups(&mut self.tracer, key.id)
        {
            debug!("autogroups have no slot: {error}");
        }
        if self.is_container(key) {
            self.slots.mark_container(&mut self.tracer, key.id);
        }
    }

    fn say_slots_full(&mut self, why: &str) {
        if !self.said_slots_full {
            self.said_slots_full = true;
            warn!(
                "some cgroups get no counters of their own ({why}; {} in use): raise --max-cgroups",
                self.slots.used()
            );
        }
    }

    pub(super) fn is_container(&self, key: CgroupKey) -> bool {
        self.index
            .identity(key)
            .is_some_and(|who| who.level == Level::Container && self.index.owner(key) == key)
    }

    /// Takes in a birth or death.
    pub(super) fn cgroup(&mut self, event: &CgroupEvent) -> Option<Change> {
        let key = event.key;
        match event.operation {
            CgroupOperation::Made | CgroupOperation::Attached => {
                let born = (event.operation == CgroupOperation::Made).then_some(event.monotonic_ns);
                let change = self.index.insert(key, event.parent_id, &event.path, born);
                if let Some(slot) = event.slot {
                    self.slots.given(&self.tracer, key.id, slot);
                    if self.is_container(key) {
                        self.slots.mark_container(&mut self.tracer, key.id);
                    }
                } else if key.hierarchy == self.slot_hierarchy {
                    self.say_slots_full("no slot is free");
                }
                if key.hierarchy == self.memory_hierarchy {
                    self.judge.born(key);
                }
                change
            }
            CgroupOperation::Removed => self.index.removed(key, event.monotonic_ns),
            CgroupOperation::Released => {
                if key.hierarchy == self.slot_hierarchy {
                    self.gone.push(key);
                }
                if key.hierarchy == self.memory_hierarchy {
                    self.judge.gone(key);
                }
                self.index.removed(key, event.monotonic_ns)
            }
        }
    }
}
