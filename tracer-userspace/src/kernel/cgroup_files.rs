//! Reads the files of a cgroup: memory, threads, the kernel's account of throttling.

use std::{
    ffi::OsStr,
    fs,
    io::{self, Read},
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::cgroup_mounts::{CgroupVersion, Hierarchy};
use crate::model::{oom::MemoryReading, stats::Burst};

/// What a file of a cgroup shows, where that is one record, as all have it but lists of processes and
/// threads: the kernel puts it together at the first read, which gives all of it where there is room
/// (`seq_read_iter`, `fs/seq_file.c`). Half the system calls of [`fs::read_to_string`].
pub(super) fn contents(file: &Path) -> io::Result<String> {
    let mut file = fs::File::open(file)?;
    let mut bytes = vec![0; ROOM];
    let mut used = 0;
    loop {
        match file.read(&mut bytes[used..])? {
            0 => break,
            read => used += read,
        }
        if used < bytes.len() {
            break;
        }
        bytes.resize(used * 2, 0);
    }
    bytes.truncate(used);
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Enough for `memory.stat`, which is the longest.
const ROOM: usize = 8192;

/// Where the files of one controller are.
#[derive(Clone, Debug)]
pub struct ControllerFiles {
    mount: PathBuf,
    /// Path of the cgroup that is mounted there.
    root: PathBuf,
    version: CgroupVersion,
    /// Its hierarchy.
    pub hierarchy: u32,
}

impl ControllerFiles {
    /// The files below a mounted hierarchy; `None` where it is not mounted.
    pub fn new(hierarchy: &Hierarchy) -> Option<Self> {
        let mount = hierarchy.mount.as_ref()?;
        Some(Self {
            mount: mount.path.clone(),
            root: mount.root.clone(),
            version: hierarchy.version,
            hierarchy: hierarchy.id,
        })
    }

    /// Whose interface it is.
    pub(super) const fn version(&self) -> CgroupVersion {
        self.version
    }

    /// Directory of the cgroup at `path` within the hierarchy; `None` outside of what is mounted.
    pub(super) fn directory(&self, path: &[u8]) -> Option<PathBuf> {
        let path = Path::new(OsStr::from_bytes(path));
        Some(self.mount.join(path.strip_prefix(&self.root).ok()?))
    }

    /// Bytes of memory in use; `None` where the file is not there (any more).
    pub fn memory_in_use(&self, path: &[u8]) -> Option<u64> {
        let name = match self.version {
            CgroupVersion::V2 => "memory.current",
            CgroupVersion::V1 => "memory.usage_in_bytes",
        };
        let text = contents(&self.directory(path)?.join(name)).ok()?;
        text.trim().parse().ok()
    }

    /// Memory in use and its limit; `None` where the files are not there (any more).
    pub fn memory(&self, path: &[u8]) -> Option<MemoryReading> {
        let directory = self.directory(path)?;
        let [current, limit, peak] = match self.version {
            CgroupVersion::V2 => ["memory.current", "memory.max", "memory.peak"],
            CgroupVersion::V1 => [
                "memory.usage_in_bytes",
                "memory.limit_in_bytes",
                "memory.max_usage_in_bytes",
            ],
        };
        let number = |name: &str| {
            contents(&directory.join(name))
                .ok()
                .and_then(|text| text.trim().parse().ok())
        };
        Some(MemoryReading {
            current_bytes: number(current)?,
            limit_bytes: number(limit).filter(|limit| *limit < UNLIMITED_V1),
            peak_bytes: number(peak),
        })
    }

    /// Whether all of the cgroup dies together (`memory.oom.group`, v2 alone).
    pub fn oom_group(&self, path: &[u8]) -> bool {
        let file = self
            .directory(path)
            .map(|directory| directory.join("memory.oom.group"));
        self.version == CgroupVersion::V2
            && file.is_some_and(|file| fs::read(file).is_ok_and(|text| text.starts_with(b"1")))
    }

    /// Throttling of the cgroup by the kernel's account. `None` where it cannot be read, and for the
    /// root, which has no quota.
    pub fn cpu_stat(&self, path: &[u8]) -> Option<CpuStat> {
        let text = contents(&self.directory(path)?.join("cpu.stat")).ok()?;
        let number = |name: &str| {
            text.lines()
                .filter_map(|line| line.split_once(' '))
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.parse::<u64>().ok())
        };
        Some(CpuStat {
            periods: number("nr_periods")?,
            throttled_periods: number("nr_throttled")?,
            throttled_ns: number("throttled_time")
                .or_else(|| number("throttled_usec")?.checked_mul(1_000))?,
            burst: number("nr_bursts").and_then(|periods| {
                let ns = number("burst_time");
                let ns = ns.or_else(|| number("burst_usec")?.checked_mul(1_000))?;
                Some(Burst { periods, ns })
            }),
        })
    }

    /// Threads in the cgroup itself, not in those below it.
    pub fn threads(&self, path: &[u8]) -> Option<u64> {
        let name = match self.version {
            CgroupVersion::V2 => "cgroup.threads",
            CgroupVersion::V1 => "tasks",
        };
        let text = fs::read(self.directory(path)?.join(name)).ok()?;
        Some(text.split_inclusive(|byte| *byte == b'\n').count() as u64)
    }
}

/// A cgroup's CPU quota since it was made (`cpu_cfs_stat_show` and `cpu_extra_stat_show`,
/// `kernel/sched/core.c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// Periods in which it had something to run.
    pub periods: u64,
    /// Those of them in which it was throttled.
    pub throttled_periods: u64,
    /// Throttled time in nanoseconds, summed over CPUs.
    pub throttled_ns: u64,
    /// What it used beyond the quota, out of what it had saved; `None` before 5.14.
    pub burst: Option<Burst>,
}

/// What cgroup v1 shows for "no limit": the largest multiple of the page size below 2^63
/// (`PAGE_COUNTER_MAX`, `include/linux/page_counter.h`); 64 KiB is the largest page.
pub(super) const UNLIMITED_V1: u64 = (i64::MAX as u64) & !0xffff;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::cgroup_mounts::CgroupMount;

    fn files(version: CgroupVersion, directory: &Path, root: &str) -> ControllerFiles {
        ControllerFiles::new(&Hierarchy {
            id: 3,
            version,
            controllers: Vec::new(),
            name: None,
            mount: Some(CgroupMount {
                path: directory.to_owned(),
                root: root.into(),
                whole: root == "/",
            }),
        })
        .unwrap()
    }

    #[test]
    fn v1_and_v2_are_read_alike() {
        let root = tempfile::tempdir().unwrap();
        let (one, two) = (root.path().join("one"), root.path().join("two"));
        for (directory, files) in [
            (
                &one,
                &[
                    ("memory.usage_in_bytes", "4096\n"),
                    ("memory.limit_in_bytes", "9223372036854771712\n"),
                    ("memory.max_usage_in_bytes", "8192\n"),
                    (
                        "cpu.stat",
                        "nr_periods 5\nnr_throttled 3\nthrottled_time 7000\nnr_bursts 2\nburst_time 4000\n",
                    ),
                    ("tasks", "1\n2\n"),
                ][..],
            ),
            (
                &two,
                &[
                    ("memory.current", "4096\n"),
                    ("memory.max", "8192\n"),
                    (
                        "cpu.stat",
                        "usage_usec 9\nnr_periods 5\nnr_throttled 3\nthrottled_usec 7\nnr_bursts 2\nburst_usec 4\n",
                    ),
                    ("cgroup.threads", "1\n"),
                ][..],
            ),
        ] {
            fs::create_dir(directory).unwrap();
            for (name, text) in files {
                fs::write(directory.join(name), text).unwrap();
            }
        }
        let v1 = files(CgroupVersion::V1, root.path(), "/");
        let v2 = files(CgroupVersion::V2, root.path(), "/docker");
        assert_eq!(
            v1.memory(b"/one"),
            Some(MemoryReading {
                current_bytes: 4096,
                limit_bytes: None,
                peak_bytes: Some(8192)
            })
        );
        assert_eq!(
            v2.memory(b"/docker/two"),
            Some(MemoryReading {
                current_bytes: 4096,
                limit_bytes: Some(8192),
                peak_bytes: None
            })
        );
        let stat = Some(CpuStat {
            periods: 5,
            throttled_periods: 3,
            throttled_ns: 7000,
            burst: Some(Burst {
                periods: 2,
                ns: 4000,
            }),
        });
        assert_eq!(
            (v1.cpu_stat(b"/one"), v2.cpu_stat(b"/docker/two")),
            (stat, stat)
        );
        assert_eq!(
            (v1.threads(b"/one"), v2.threads(b"/docker/two")),
            (Some(2), Some(1))
        );
        assert_eq!(v2.memory(b"/elsewhere"), None, "outside of what is mounted");
        assert_eq!(v1.memory(b"/gone"), None);
    }
}
