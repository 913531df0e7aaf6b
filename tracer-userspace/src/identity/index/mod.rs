//! Every cgroup that is or lately was: its path, its owner, who it is.
//!
//! Cgroups are known by their keys (hierarchy and id), and stay known for a while after they are
//! gone (tombstones), so that a late event can still be named. What a path says and what runtimes
//! say about a container is kept once per path, and shared by the hierarchies that have the path.
//!
//! Everything is bounded by [`IndexConfig`]; a look-up is one or two accesses to hash maps.

mod names;
mod paths;
#[cfg(test)]
mod pods;
#[cfg(test)]
mod properties;
mod subjects;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use self::paths::{PathId, Paths, normal};
use self::subjects::Subjects;
use super::names::{Source, SourceState};
use crate::model::identity::{CgroupKey, Identity, SharedIdentity};

/// Bounds of a [`CgroupIndex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexConfig {
    /// The hierarchy whose cgroups are reported as changes: a container has cgroups in several,
    /// but starts once.
    pub slot_hierarchy: u32,
    /// How long a removed cgroup stays known, in nanoseconds.
    pub keep_removed_ns: u64,
    /// Most removed cgroups that stay known; the oldest go first.
    pub max_removed: usize,
    /// Most live cgroups; others are refused and counted.
    pub max_cgroups: usize,
    /// Most containers without a cgroup whose names are kept.
    pub max_idle_names: usize,
}

impl IndexConfig {
    /// The usual bounds: removed ones for five minutes and 16,384 of them, 65,536 live ones.
    pub const fn new(slot_hierarchy: u32) -> Self {
        Self {
            slot_hierarchy,
            keep_removed_ns: 5 * 60 * 1_000_000_000,
            max_removed: 16_384,
            max_cgroups: 65_536,
            max_idle_names: 4_096,
        }
    }
}

/// What became of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeKind {
    /// It is new to the index. Its birth was seen if there is a time (`CLOCK_MONOTONIC`, in
    /// nanoseconds), else it was there before.
    Started {
        /// When it was made.
        born_ns: Option<u64>,
    },
    /// More, or something else, is known about it.
    Renamed,
    /// It was removed, and stays known for a while.
    Removed {
        /// How long it lived in nanoseconds, where its birth was seen.
        lifetime_ns: Option<u64>,
    },
    /// It is no longer known.
    Forgotten,
}

/// A change of an owner (a container, pod, unit, … but no nested cgroup) in the hierarchy of the
/// slots. [`Identity::level`](crate::model::identity::Identity::level) tells which it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The cgroup.
    pub key: CgroupKey,
    /// Who it is, or was.
    pub identity: SharedIdentity,
    /// What became of it.
    pub kind: ChangeKind,
}

struct Cgroup {
    path: PathId,
    parent_id: u64,
    /// 0 where the owner is not known (yet).
    owner_id: u64,
    born_ns: Option<u64>,
    removed_ns: Option<u64>,
}

/// The cgroups of all hierarchies.
pub struct CgroupIndex {
    config: IndexConfig,
    cgroups: HashMap<CgroupKey, Cgroup>,
    live: usize,
    refused: u64,
    /// The newest cgroup that has or had the path.
    by_path: HashMap<(u32, PathId), u64>,
    /// Cgroups below an owner, the owner itself not included.
    nested: HashMap<CgroupKey, HashSet<u64>>,
    /// Nested cgroups that were seen before their owners.
    orphans: HashSet<CgroupKey>,
    /// Removed ones, in order, with the time.
    removed: VecDeque<(u64, CgroupKey)>,
    /// Of those, the ones that were never inserted, with the time.
    removed_unseen: HashMap<CgroupKey, u64>,
    paths: Paths,
    containers: Subjects,
    pods: Subjects,
    sources: Vec<(Arc<Source>, SourceState)>,
}

impl CgroupIndex {
    /// An empty index.
    pub fn new(config: IndexConfig) -> Self {
        Self {
            config,
            cgroups: HashMap::new(),
            live: 0,
            refused: 0,
            by_path: HashMap::new(),
            nested: HashMap::new(),
            orphans: HashSet::new(),
            removed: VecDeque::new(),
            removed_unseen: HashMap::new(),
            paths: Paths::default(),
            containers: Subjects::new(config.max_idle_names),
            pods: Subjects::new(config.max_idle_names),
            sources: Vec::new(),
        }
    }

    /// A cgroup exists. `path` is the one within its hierarchy, `parent_id` is 0 for the root.
    /// `born_ns` is the monotonic time of its making, `None` where a walk has found it.
    ///
    /// A cgroup may be told twice (a walk and its own birth cross): it starts once.
    pub fn insert(
        &mut self,
        key: CgroupKey,
        parent_id: u64,
        path: &[u8],
        born_ns: Option<u64>,
    ) -> Option<Change> {
        let path = normal(path);
        if self.cgroups.contains_key(&key) {
            return self.insert_again(key, &path, born_ns);
        }
        let removed_ns = self.removed_unseen.remove(&key);
        if removed_ns.is_none() {
            if self.live >= self.config.max_cgroups {
                self.refused += 1;
                return None;
            }
            self.live += 1;
        }
        let path = self.use_path(&path);
        let owner_id = self.find_owner(key, parent_id, path);
        let cgroup = Cgroup {
            path,
            parent_id,
            owner_id,
            born_ns,
            removed_ns,
        };
        self.cgroups.insert(key, cgroup);
        self.link_owner(key, owner_id);
        let place = self.by_path.entry((key.hierarchy, path)).or_insert(key.id);
        if removed_ns.is_none() {
            *place = key.id;
        }
        if owner_id == key.id && !self.orphans.is_empty() {
            self.adopt_orphans(key, path);
        }
        // One that is gone already did not start: nobody was told of it, so nobody waits for it.
        match removed_ns {
            None => self.change(key, ChangeKind::Started { born_ns }),
            Some(_) => None,
        }
    }

    /// A cgroup was removed. Of one that is not known the removal is remembered, as a walk may be
    /// about to insert it.
    pub fn removed(&mut self, key: CgroupKey, now_ns: u64) -> Option<Change> {
        let lifetime_ns = match self.cgroups.get_mut(&key) {
            Some(cgroup) if cgroup.removed_ns.is_some() => return None,
            Some(cgroup) => {
                cgroup.removed_ns = Some(now_ns);
                self.live -= 1;
                cgroup.born_ns.map(|born| now_ns.saturating_sub(born))
            }
            None => {
                if self.removed_unseen.insert(key, now_ns).is_none() {
                    self.removed.push_back((now_ns, key));
                }
                return None;
            }
        };
        self.removed.push_back((now_ns, key));
        self.change(key, ChangeKind::Removed { lifetime_ns })
    }

    /// Removes the cgroups of a hierarchy that a complete walk did not see, although they are
    /// older than its beginning: what a lost record leaves behind.
    pub fn removed_unless_seen(
        &mut self,
        hierarchy: u32,
        seen: &HashSet<u64>,
        walk_began_ns: u64,
        now_ns: u64,
    ) -> Vec<Change> {
        let gone: Vec<CgroupKey> = self
            .cgroups
            .iter()
            .filter(|(key, cgroup)| {
                key.hierarchy == hierarchy
                    && cgroup.removed_ns.is_none()
                    && cgroup.born_ns.is_none_or(|born| born < walk_began_ns)
                    && !seen.contains(&key.id)
            })
            .map(|(&key, _)| key)
            .collect();
        gone.into_iter()
            .filter_map(|key| self.removed(key, now_ns))
            .collect()
    }

    /// Forgets removed cgroups that are old enough or too many. Call it at least every few
    /// seconds.
    pub fn expire(&mut self, now_ns: u64) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some(&(removed_ns, key)) = self.removed.front() {
            let old = now_ns.saturating_sub(removed_ns) >= self.config.keep_removed_ns;
            if !old && self.removed.len() <= self.config.max_removed {
                break;
            }
            self.removed.pop_front();
            self.removed_unseen.remove(&key);
            changes.extend(self.change(key, ChangeKind::Forgotten));
            self.forget(key);
        }
        changes
    }

    /// Who the cgroup is. A nested cgroup has its owner's level and names with its own path.
    pub fn identity(&self, key: CgroupKey) -> Option<SharedIdentity> {
        let cgroup = self.cgroups.get(&key)?;
        self.paths
            .get(cgroup.path)
            .map(|known| known.identity.clone())
    }

    /// The same container at the same path, as it is known now; `None` where nothing is known of it
    /// any more.
    pub fn as_known_now(&self, who: &Identity) -> Option<SharedIdentity> {
        let container = self.containers.get(who.container_id.as_deref()?)?;
        let known = (container.paths.iter()).filter_map(|&path| self.paths.get(path));
        known
            .map(|known| &known.identity)
            .find(|known| known.cgroup_path == who.cgroup_path)
            .cloned()
    }

    /// The newest cgroup that has the path in the hierarchy, or had it.
    pub fn by_path(&self, hierarchy: u32, path: &[u8]) -> Option<CgroupKey> {
        let path = self.paths.find(&normal(path))?;
        self.at_path(hierarchy, path)
    }

    /// The nearest cgroup, itself or above it, that is a container, a pod, a unit or stands for
    /// itself; in the same hierarchy. Itself where that is not known.
    pub fn owner(&self, key: CgroupKey) -> CgroupKey {
        match self.cgroups.get(&key) {
            Some(cgroup) if cgroup.owner_id != 0 => CgroupKey::new(key.hierarchy, cgroup.owner_id),
            _ => key,
        }
    }

    /// The parent in the same hierarchy; `None` at the root and for what is not known.
    pub fn parent(&self, key: CgroupKey) -> Option<CgroupKey> {
        let parent = self.cgroups.get(&key)?.parent_id;
        (parent != 0).then(|| CgroupKey::new(key.hierarchy, parent))
    }

    /// An owner and the cgroups nested in it, in the same hierarchy, the lately removed included:
    /// what has to be summed up for a container.
    pub fn members(&self, owner: CgroupKey) -> impl Iterator<Item = CgroupKey> + '_ {
        let nested = self.nested.get(&owner).into_iter().flatten();
        std::iter::once(owner).chain(nested.map(move |&id| CgroupKey::new(owner.hierarchy, id)))
    }

    /// The cgroup of another hierarchy that is the same to people: of the same path, or else of
    /// the same container.
    pub fn counterpart(&self, key: CgroupKey, hierarchy: u32) -> Option<CgroupKey> {
        let path = self.cgroups.get(&key)?.path;
        if let Some(found) = self.at_path(hierarchy, path) {
            return Some(found);
        }
        let identity = &self.paths.get(path)?.identity;
        let container = self.containers.get(identity.container_id.as_deref()?)?;
        let mut owners = container.paths.iter().filter(|&&path| {
            self.paths
                .get(path)
                .is_some_and(paths::KnownPath::owns_itself)
        });
        owners.find_map(|&path| self.at_path(hierarchy, path))
    }

    /// Whether the cgroup is known and not removed.
    pub fn is_live(&self, key: CgroupKey) -> bool {
        self.cgroups
            .get(&key)
            .is_some_and(|cgroup| cgroup.removed_ns.is_none())
    }

    /// Whether its birth was seen: what it has used, it has used since.
    pub fn is_born_in_run(&self, key: CgroupKey) -> bool {
        let cgroup = self.cgroups.get(&key);
        cgroup.is_some_and(|cgroup| cgroup.born_ns.is_some())
    }

    /// All owners of the slot hierarchy that live.
    pub fn live_owners(&self) -> impl Iterator<Item = (CgroupKey, SharedIdentity)> + '_ {
        self.live_owners_in(self.config.slot_hierarchy)
    }

    /// All owners of a hierarchy that live.
    pub fn live_owners_in(
        &self,
        hierarchy: u32,
    ) -> impl Iterator<Item = (CgroupKey, SharedIdentity)> + '_ {
        self.cgroups.iter().filter_map(move |(&key, cgroup)| {
            let owner = key.hierarchy == hierarchy && cgroup.owner_id == key.id;
            let known = self.paths.get(cgroup.path)?;
            (owner && cgroup.removed_ns.is_none()).then(|| (key, known.identity.clone()))
        })
    }

    /// Live cgroups of all hierarchies.
    pub fn live(&self) -> usize {
        self.live
    }

    /// Cgroups that were refused because there were too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
