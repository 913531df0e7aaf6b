//! `struct cgroup` (`include/linux/cgroup-defs.h`).

use tracer_common::header::CgroupKey;

use crate::{
    globals::{
        CGROUP_KN, CGROUP_LEVEL, CGROUP_ROOT, CGROUP_ROOT_HIERARCHY, CGROUP_SELF, CSS_CGROUP,
        CSS_PARENT, KERNFS_NODE_ID, present,
    },
    read::checked,
};

/// `struct cgroup *`
#[derive(Clone, Copy)]
pub struct Cgroup(pub u64);

impl Cgroup {
    /// Its id: the inode of its directory. 0 for none.
    #[inline(always)]
    pub fn id(self) -> u64 {
        if self.0 == 0 {
            return 0;
        }
        let node: u64 = checked::read(self.0, CGROUP_KN.load());
        checked::read(node, KERNFS_NODE_ID.load())
    }

    /// Id of its hierarchy, 0 for v2.
    #[inline(always)]
    pub fn hierarchy(self) -> u32 {
        let root: u64 = checked::read(self.0, CGROUP_ROOT.load());
        checked::read(root, CGROUP_ROOT_HIERARCHY.load())
    }

    /// Hierarchy and id.
    #[inline(always)]
    pub fn key(self) -> CgroupKey {
        if self.0 == 0 {
            CgroupKey::default()
        } else {
            CgroupKey::new(self.hierarchy(), self.id())
        }
    }

    /// Depth; the root is 0.
    #[inline(always)]
    pub fn level(self) -> u32 {
        if present(&CGROUP_LEVEL) {
            checked::read(self.0, CGROUP_LEVEL.load())
        } else {
            0
        }
    }

    /// Its parent; none for a root.
    #[inline(always)]
    pub fn parent(self) -> Self {
        let css: u64 = checked::read(self.0, CGROUP_SELF.load() + CSS_PARENT.load());
        if css == 0 {
            return Self(0);
        }
        Self(checked::read(css, CSS_CGROUP.load()))
    }
}
