//! How cgroups hang together: paths, owners, and who is nested in whom.

use std::sync::Arc;

use tracer_common::records::CGROUP_PATH_MAX;

use super::paths::{PathId, compose};
use super::{CgroupIndex, Change, ChangeKind};
use crate::identity::path;
use crate::model::identity::{CgroupKey, Level};

impl CgroupIndex {
    /// The path's id, with one more user; a new path gets its identity.
    pub(super) fn use_path(&mut self, path: &[u8]) -> PathId {
        if let Some(id) = self.paths.share(path) {
            return id;
        }
        let parsed = path::parse(path);
        let owner_len = match parsed.level {
            // The root's owner is written without its slash.
            Level::Root => path.len(),
            _ => parsed.owner.len(),
        };
        let identity = compose(
            path,
            &parsed,
            self.names_of(&parsed),
            self.pod_of(&parsed),
            self.unresolved(&parsed),
        );
        let id = self.paths.add(path, owner_len, Arc::new(identity));
        if let Some(container_id) = parsed.container_id {
            self.containers.link(container_id, id);
        }
        if let Some(uid) = &parsed.k8s_pod_uid {
            self.pods.link(uid, id);
        }
        id
    }

    fn release_path(&mut self, id: PathId) {
        let Some(gone) = self.paths.release(id) else {
            return;
        };
        let parsed = path::parse(&gone.path);
        if let Some(container_id) = parsed.container_id {
            self.containers.unlink(container_id, id);
        }
        if let Some(uid) = &parsed.k8s_pod_uid {
            self.pods.unlink(uid, id);
        }
    }

    /// A cgroup that is known was told again: only its birth or its path can be news.
    pub(super) fn insert_again(
        &mut self,
        key: CgroupKey,
        path: &[u8],
        born_ns: Option<u64>,
    ) -> Option<Change> {
        let cgroup = self.cgroups.get_mut(&key)?;
        cgroup.born_ns = cgroup.born_ns.or(born_ns);
        let (old, parent_id, old_owner) = (cgroup.path, cgroup.parent_id, cgroup.owner_id);
        let known = &self.paths.get(old)?.path;
        // Records cut their paths; what is known is the longer one.
        let cut = path.len() + 1 >= CGROUP_PATH_MAX && known.starts_with(path);
        if **known == *path || cut {
            return None;
        }
        // Renamed, which cgroup v1 allows (`cgroup1_rename`).
        let new = self.use_path(path);
        let owner_id = self.find_owner(key, parent_id, new);
        self.unlink_owner(key, old_owner);
        self.link_owner(key, owner_id);
        if self.by_path.get(&(key.hierarchy, old)) == Some(&key.id) {
            self.by_path.remove(&(key.hierarchy, old));
        }
        self.by_path.insert((key.hierarchy, new), key.id);
        if let Some(cgroup) = self.cgroups.get_mut(&key) {
            cgroup.path = new;
            cgroup.owner_id = owner_id;
        }
        self.release_path(old);
        self.change(key, ChangeKind::Renamed)
    }

    /// Id of the owner of a cgroup that is being inserted, 0 where it is not known.
    pub(super) fn find_owner(&self, key: CgroupKey, parent_id: u64, path: PathId) -> u64 {
        let Some(known) = self.paths.get(path) else {
            return 0;
        };
        if known.owns_itself() {
            return key.id;
        }
        let parent_key = CgroupKey::new(key.hierarchy, parent_id);
        if let Some(parent) = self.cgroups.get(&parent_key)
            && parent.owner_id != 0
            && let Some(parent_path) = self.paths.get(parent.path)
            && parent_path.owner() == known.owner()
        {
            return parent.owner_id;
        }
        self.paths
            .find(known.owner())
            .and_then(|owner| self.at_path(key.hierarchy, owner))
            // A removed one is an earlier bearer of the same name.
            .filter(|&owner| self.is_live(owner))
            .map_or(0, |owner| owner.id)
    }

    pub(super) fn link_owner(&mut self, key: CgroupKey, owner_id: u64) {
        if owner_id == 0 {
            self.orphans.insert(key);
        } else if owner_id != key.id {
            let owner = CgroupKey::new(key.hierarchy, owner_id);
            self.nested.entry(owner).or_default().insert(key.id);
        }
    }

    fn unlink_owner(&mut self, key: CgroupKey, owner_id: u64) {
        self.orphans.remove(&key);
        let owner = CgroupKey::new(key.hierarchy, owner_id);
        if let Some(nested) = self.nested.get_mut(&owner) {
            nested.remove(&key.id);
            if nested.is_empty() {
                self.nested.remove(&owner);
            }
        }
    }

    /// Gives an owner the nested cgroups that were seen before it: the birth of one crosses the
    /// walk that finds the owner.
    pub(super) fn adopt_orphans(&mut self, owner: CgroupKey, path: PathId) {
        let Some(owner_path) = self.paths.get(path).map(|known| Arc::clone(&known.path)) else {
            return;
        };
        let children: Vec<CgroupKey> = self
            .orphans
            .iter()
            .copied()
            .filter(|orphan| {
                let cgroup = self.cgroups.get(orphan);
                let known = cgroup.and_then(|cgroup| self.paths.get(cgroup.path));
                orphan.hierarchy == owner.hierarchy
                    && known.is_some_and(|known| *known.owner() == *owner_path)
            })
            .collect();
        for child in children {
            self.orphans.remove(&child);
            if let Some(cgroup) = self.cgroups.get_mut(&child) {
                cgroup.owner_id = owner.id;
            }
            self.link_owner(child, owner.id);
        }
    }

    /// A change to report: of an owner in the hierarchy of the slots.
    pub(super) fn change(&self, key: CgroupKey, kind: ChangeKind) -> Option<Change> {
        let cgroup = self.cgroups.get(&key)?;
        if key.hierarchy != self.config.slot_hierarchy || cgroup.owner_id != key.id {
            return None;
        }
        let identity = self.paths.get(cgroup.path)?.identity.clone();
        Some(Change {
            key,
            identity,
            kind,
        })
    }

    pub(super) fn at_path(&self, hierarchy: u32, path: PathId) -> Option<CgroupKey> {
        let id = self.by_path.get(&(hierarchy, path))?;
        Some(CgroupKey::new(hierarchy, *id))
    }

    /// Drops a removed cgroup and all that only it needed.
    pub(super) fn forget(&mut self, key: CgroupKey) {
        let Some(cgroup) = self.cgroups.remove(&key) else {
            return;
        };
        self.unlink_owner(key, cgroup.owner_id);
        self.nested.remove(&key);
        if self.at_path(key.hierarchy, cgroup.path) == Some(key) {
            self.by_path.remove(&(key.hierarchy, cgroup.path));
        }
        self.release_path(cgroup.path);
    }
}
