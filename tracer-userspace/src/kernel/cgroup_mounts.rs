//! Which cgroup hierarchies there are, where they are mounted, and which one has the slots.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::mount_table::Mount;

#[cfg(test)]
mod tests;

/// Id of a hierarchy's root cgroup: the first that kernfs gives out (`fs/kernfs/dir.c`,
/// `kernfs_create_root`). A mount that begins elsewhere has another inode.
const ROOT_INODE: u64 = 1;

/// Version of a hierarchy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One of possibly many, with fixed controllers.
    V1,
    /// The unified one.
    V2,
}

impl CgroupVersion {
    /// Name for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// A mount of a hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupMount {
    /// Where.
    pub path: PathBuf,
    /// The cgroup that is mounted, as this cgroup namespace sees it.
    pub root: PathBuf,
    /// Whether it shows the whole hierarchy. If not, cgroups outside of it have no directory here.
    pub whole: bool,
}

/// One hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// `cgroup_root.hierarchy_id`; 0 is the unified one.
    pub id: u32,
    /// Its version.
    pub version: CgroupVersion,
    /// Its controllers; of the unified one those that the mount shows.
    pub controllers: Vec<String>,
    /// Name of a v1 hierarchy that has one, e.g. `systemd`.
    pub name: Option<String>,
    /// The best mount of it; `None` where none can be seen from here.
    pub mount: Option<CgroupMount>,
}

/// All hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupLayout {
    /// By id, the unified one first.
    pub hierarchies: Vec<Hierarchy>,
}

/// What a mount's directory says.
struct Look {
    device: (u32, u32),
    inode: u64,
    /// Contents of `cgroup.controllers`, which only v2 has.
    controllers: Option<String>,
}

impl CgroupLayout {
    /// Puts together what the mount table and `/proc/self/cgroup` say.
    pub fn inspect(mounts: &[Mount], self_cgroup: &[u8], cgroup_root: Option<&Path>) -> Self {
        Self::build(mounts, self_cgroup, cgroup_root, &|path| {
            let meta = fs::metadata(path).ok()?;
            Some(Look {
                device: (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev())),
                inode: meta.ino(),
                controllers: fs::read_to_string(path.join("cgroup.controllers")).ok(),
            })
        })
    }

    fn build(
        mounts: &[Mount],
        self_cgroup: &[u8],
        cgroup_root: Option<&Path>,
        look: &dyn Fn(&Path) -> Option<Look>,
    ) -> Self {
        let mut hierarchies: Vec<_> = self_cgroup
            .split(|byte| *byte == b'\n')
            .filter_map(Hierarchy::parse)
            .collect();
        hierarchies.sort_by_key(|hierarchy| hierarchy.id);
        for hierarchy in &mut hierarchies {
            hierarchy.find_mount(mounts, cgroup_root, look);
        }
        Self { hierarchies }
    }

    /// The unified hierarchy, where the kernel has it in use.
    pub fn unified(&self) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.version == CgroupVersion::V2)
    }

    /// The hierarchy that has `controller`. The kernel has each controller in one hierarchy at a
    /// time; what no v1 hierarchy has, the unified one has, unless its root shows otherwise.
    pub fn with_controller(&self, controller: &str) -> Option<&Hierarchy> {
        self.v1_with(controller).or_else(|| {
            self.unified().filter(|unified| {
                unified.has(controller) || !unified.mount.as_ref().is_some_and(|mount| mount.whole)
            })
        })
    }

    /// The hierarchy whose cgroups have slots: the one of the cpu controller where it is a v1 one
    /// and mounted, else the unified one.
    pub fn slots(&self) -> Option<&Hierarchy> {
        let v1 = self.v1_with("cpu");
        v1.filter(|hierarchy| hierarchy.mount.is_some())
            .or_else(|| self.unified().filter(|unified| unified.mount.is_some()))
            .or(v1)
            .or_else(|| self.unified())
    }

    fn v1_with(&self, controller: &str) -> Option<&Hierarchy> {
        self.hierarchies
            .iter()
            .find(|hierarchy| hierarchy.version == CgroupVersion::V1 && hierarchy.has(controller))
    }
}

impl Hierarchy {
    /// A line of `/proc/self/cgroup`: `4:memory:/path`, `9:name=systemd:/`, `0::/`.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let id: u32 = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
        let controllers = std::str::from_utf8(fields.next()?).ok()?;
        fields.next()?;
        let (names, controllers): (Vec<_>, Vec<_>) = controllers
            .split(',')
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
            .partition(|text| text.starts_with("name="));
        Some(Self {
            id,
            version: if id == 0 {
                CgroupVersion::V2
            } else {
                CgroupVersion::V1
            },
            controllers,
            name: names
                .first()
                .and_then(|text| text.strip_prefix("name="))
                .map(str::to_owned),
            mount: None,
        })
    }

    /// Whether it has `controller`.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|own| own == controller)
    }

    /// Short name: `v2`, `v1:cpu,cpuacct`, `v1:systemd`.
    pub fn label(&self) -> String {
        match (self.version, &self.name) {
            (CgroupVersion::V2, _) => "v2".to_owned(),
            (CgroupVersion::V1, Some(name)) if self.controllers.is_empty() => format!("v1:{name}"),
            (CgroupVersion::V1, _) => format!("v1:{}", self.controllers.join(",")),
        }
    }

    fn find_mount(
        &mut self,
        mounts: &[Mount],
        cgroup_root: Option<&Path>,
        look: &dyn Fn(&Path) -> Option<Look>,
    ) {
        let mut best: Option<(CgroupMount, Look)> = None;
        for mount in mounts.iter().filter(|mount| self.is_mounted_by(mount)) {
            let path = PathBuf::from(OsString::from_vec(mount.mount_point.clone()));
            if cgroup_root.is_some_and(|root| !path.starts_with(root)) {
                continue;
            }
            // A mount under another one cannot be reached: its path leads to the other.
            let Some(seen) = look(&path).filter(|seen| seen.device == mount.device) else {
                continue;
            };
            let candidate = CgroupMount {
                path,
                root: PathBuf::from(OsString::from_vec(mount.root.clone())),
                whole: seen.inode == ROOT_INODE,
            };
            if best
                .as_ref()
                .is_none_or(|(held, _)| candidate.rank() < held.rank())
            {
                best = Some((candidate, seen));
            }
        }
        if let Some((mount, seen)) = best {
            self.mount = Some(mount);
            if self.version == CgroupVersion::V2 {
                self.controllers = seen
                    .controllers
                    .unwrap_or_default()
                    .split_ascii_whitespace()
                    .map(str::to_owned)
                    .collect();
            }
        }
    }

    /// Whether `mount` shows this hierarchy.
    fn is_mounted_by(&self, mount: &Mount) -> bool {
        if self.version == CgroupVersion::V2 {
            return mount.fs_type == b"cgroup2";
        }
        let has = |wanted: &[u8]| mount.options().any(|option| option == wanted);
        mount.fs_type == b"cgroup"
            && self
                .controllers
                .iter()
                .all(|controller| has(controller.as_bytes()))
            && self
                .name
                .as_ref()
                .is_none_or(|name| has(format!("name={name}").as_bytes()))
            && !(self.controllers.is_empty() && self.name.is_none())
    }
}

impl CgroupMount {
    /// The lowest is the best: the whole hierarchy, then what calls itself the root, then the
    /// shortest path.
    fn rank(&self) -> (bool, bool, usize) {
        (
            !self.whole,
            self.root != Path::new("/"),
            self.path.as_os_str().len(),
        )
    }
}
