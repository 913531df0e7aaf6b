//! What limits a cgroup, what its memory consists of, and who is in it.

use std::fs;

use super::cgroup_files::{ControllerFiles, UNLIMITED_V1, contents};
use super::cgroup_mounts::CgroupVersion;
use super::limit_memo::LimitMemo;
use crate::model::limits::{CpuLimit, MemorySample};

/// Most cgroups below another one that are looked into.
const MOST_BELOW: usize = 256;

/// A quota of running time a period, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quota {
    pub quota_us: u64,
    pub period_us: u64,
    /// What may be saved up from period to period.
    pub burst_us: u64,
}

impl Quota {
    /// Quota divided by period.
    pub fn cpus(self) -> f64 {
        self.quota_us as f64 / self.period_us as f64
    }
}

impl ControllerFiles {
    /// The smallest CPU limit of the cgroup at `path` and those above it; `None` where none of them
    /// has one.
    pub fn cpu_limit(&self, path: &str) -> Option<CpuLimit> {
        LimitMemo::new(self).cpu_limit(path)
    }

    /// The smallest memory limit in bytes of the cgroup at `path` and those above it.
    pub fn memory_limit(&self, path: &str) -> Option<u64> {
        LimitMemo::new(self).memory_limit(path)
    }

    /// The quota of the cgroup itself.
    pub(super) fn quota(&self, path: &str) -> Option<Quota> {
        let directory = self.directory(path.as_bytes())?;
        let text = |name: &str| contents(&directory.join(name)).ok();
        let number = |name: &str| text(name)?.trim().parse::<u64>().ok();
        let (quota_us, period_us, burst) = match self.version() {
            CgroupVersion::V2 => {
                let both = text("cpu.max")?;
                let (quota, period) = both.trim().split_once(' ')?;
                let quota = quota.parse().ok()?;
                (quota, period.parse().ok()?, number("cpu.max.burst"))
            }
            // No quota is -1 there, which is no number of this kind.
            CgroupVersion::V1 => (
                number("cpu.cfs_quota_us")?,
                number("cpu.cfs_period_us")?,
                number("cpu.cfs_burst_us"),
            ),
        };
        (period_us > 0).then_some(Quota {
            quota_us,
            period_us,
            burst_us: burst.unwrap_or(0),
        })
    }

    /// The memory limit of the cgroup itself in bytes.
    pub(super) fn own_memory_limit(&self, path: &str) -> Option<u64> {
        let name = match self.version() {
            CgroupVersion::V2 => "memory.max",
            CgroupVersion::V1 => "memory.limit_in_bytes",
        };
        let file = self.directory(path.as_bytes())?.join(name);
        let limit = contents(&file).ok()?.trim().parse().ok();
        limit.filter(|limit| *limit < UNLIMITED_V1)
    }

    /// What the memory of the cgroup and those below it consists of now; `at_ns` is left 0.
    pub fn memory_sample(&self, path: &str) -> Option<MemorySample> {
        let directory = self.directory(path.as_bytes())?;
        let v2 = self.version() == CgroupVersion::V2;
        let number = |name: &str| -> Option<u64> {
            let text = contents(&directory.join(name)).ok()?;
            text.trim().parse().ok()
        };
        let current = number(if v2 {
            "memory.current"
        } else {
            "memory.usage_in_bytes"
        })?;
        let stat = contents(&directory.join("memory.stat")).ok()?;
        // In v1 the sums that include the cgroups below begin with `total_`.
        let prefix = if v2 { "" } else { "total_" };
        let of = |name: &str| {
            stat.lines().find_map(|line| {
                let (key, value) = line.strip_prefix(prefix)?.split_once(' ')?;
                (key == name).then(|| value.parse::<u64>().ok())?
            })
        };
        let file = of("active_file")?.saturating_add(of("inactive_file")?);
        Some(MemorySample {
            at_ns: 0,
            current_bytes: current,
            anon_bytes: of(if v2 { "anon" } else { "rss" })?,
            shmem_bytes: of("shmem").unwrap_or(0),
            file_bytes: file,
            slab_reclaimable_bytes: of("slab_reclaimable").unwrap_or(0),
            kernel_bytes: if v2 {
                of("kernel")
            } else {
                number("memory.kmem.usage_in_bytes")
            },
            page_tables_bytes: of("pagetables"),
        })
    }

    /// Processes in the cgroup and those below it, at most `most`.
    pub fn processes_below(&self, path: &str, most: usize) -> Vec<u32> {
        let mut pids = Vec::new();
        let mut left = vec![path.as_bytes().to_vec()];
        let mut looked_at = 0;
        while let Some(path) = left.pop()
            && pids.len() < most
            && looked_at < MOST_BELOW
        {
            looked_at += 1;
            pids.extend(self.processes(&path, most - pids.len()));
            let entries = self.directory(&path).and_then(|dir| fs::read_dir(dir).ok());
            for entry in entries.into_iter().flatten().filter_map(Result::ok) {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    let name = entry.file_name();
                    left.push([&path, &b"/"[..], name.as_encoded_bytes()].concat());
                }
            }
        }
        pids
    }

    /// Processes in the cgroup itself, at most `most`, by their ids in the PID namespace of this
    /// process; those that have none there are left out.
    pub fn processes(&self, path: &[u8], most: usize) -> Vec<u32> {
        let file = self
            .directory(path)
            .map(|directory| directory.join("cgroup.procs"));
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        text.unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid| *pid != 0)
            .take(most)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::kernel::cgroup_mounts::{CgroupMount, Hierarchy};

    fn files(version: CgroupVersion, directory: &Path) -> ControllerFiles {
        ControllerFiles::new(&Hierarchy {
            id: 1,
            version,
            controllers: Vec::new(),
            name: None,
            mount: Some(CgroupMount {
                path: directory.to_owned(),
                root: "/".into(),
                whole: true,
            }),
        })
        .unwrap()
    }

    fn write(directory: &Path, name: &str, text: &str) {
        let file = directory.join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn the_smallest_limit_above_counts() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "pod/cpu.max", "150000 100000\n");
        write(root.path(), "pod/one/cpu.max", "max 100000\n");
        write(root.path(), "pod/two/cpu.max", "10000 10000\n");
        write(root.path(), "pod/two/cpu.max.burst", "5000\n");
        let files = files(CgroupVersion::V2, root.path());
        let one = files.cpu_limit("/pod/one").unwrap();
        assert_eq!(
            (one.cpus, one.own, one.cgroup.as_str()),
            (1.5, false, "/pod")
        );
        assert_eq!(one.own_cpus, None);
        write(root.path(), "pod/three/cpu.max", "180000 100000\n");
        let three = files.cpu_limit("/pod/three").unwrap();
        assert_eq!(
            (three.cpus, three.own, three.own_cpus),
            (1.5, false, Some(1.8))
        );
        let two = files.cpu_limit("/pod/two").unwrap();
        assert_eq!((two.cpus, two.own, two.burst_us), (1.0, true, 5000));
        assert_eq!(files.cpu_limit("/other"), None);
    }

    #[test]
    fn memory_is_read_alike_in_both_versions() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), "v2/memory.current", "1000\n");
        let stat = "anon 300\nfile 600\nkernel 90\npagetables 20\nshmem 100\nactive_file 200\n\
                    inactive_file 300\nslab_reclaimable 10\n";
        write(root.path(), "v2/memory.stat", stat);
        write(root.path(), "v1/memory.usage_in_bytes", "1000\n");
        write(root.path(), "v1/memory.kmem.usage_in_bytes", "90\n");
        let stat = "rss 1\nactive_file 1\ntotal_rss 300\ntotal_shmem 100\ntotal_active_file 200\n\
                    total_inactive_file 300\n";
        write(root.path(), "v1/memory.stat", stat);
        let two = files(CgroupVersion::V2, root.path())
            .memory_sample("/v2")
            .unwrap();
        let one = files(CgroupVersion::V1, root.path())
            .memory_sample("/v1")
            .unwrap();
        assert_eq!(two.held_bytes(), 490);
        assert_eq!(one.held_bytes(), 500);
        assert_eq!(
            (two.anon_bytes, two.kernel_bytes),
            (one.anon_bytes, one.kernel_bytes)
        );
        assert_eq!(
            (two.page_tables_bytes, one.page_tables_bytes),
            (Some(20), None)
        );
    }
}
