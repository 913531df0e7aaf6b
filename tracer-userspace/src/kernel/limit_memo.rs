//! The limits of many cgroups at one moment: what holds above them is read once for all that are below.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
};

use super::{cgroup_files::ControllerFiles, cgroup_limits::Quota};
use crate::model::limits::CpuLimit;

/// Reads limits, and remembers those of cgroups that have others below them.
pub struct LimitMemo<'a> {
    files: &'a ControllerFiles,
    quotas: HashMap<String, Option<Quota>>,
    memory: HashMap<String, Option<u64>>,
}

impl<'a> LimitMemo<'a> {
    /// Nothing has been read.
    pub fn new(files: &'a ControllerFiles) -> Self {
        Self {
            files,
            quotas: HashMap::new(),
            memory: HashMap::new(),
        }
    }

    /// The smallest CPU limit of the cgroup at `path` and those above it; `None` where none of them
    /// has one.
    pub fn cpu_limit(&mut self, path: &str) -> Option<CpuLimit> {
        let own = self.files.quota(path);
        let limit = |level: &str, quota: Quota| CpuLimit {
            cpus: quota.cpus(),
            quota_us: quota.quota_us,
            period_us: quota.period_us,
            burst_us: quota.burst_us,
            own: level == path,
            own_cpus: own.map(Quota::cpus),
            cgroup: level.to_owned(),
        };
        let files = self.files;
        let above = above(path).filter_map(|level| {
            let quota = remembered(&mut self.quotas, level, |level| files.quota(level));
            Some(limit(level, quota?))
        });
        // Of equal ones the innermost.
        (own.map(|own| limit(path, own)).into_iter())
            .chain(above)
            .min_by(|one, other| one.cpus.total_cmp(&other.cpus))
    }

    /// The smallest memory limit in bytes of the cgroup at `path` and those above it.
    pub fn memory_limit(&mut self, path: &str) -> Option<u64> {
        let files = self.files;
        let above = above(path).filter_map(|level| {
            remembered(&mut self.memory, level, |level| {
                files.own_memory_limit(level)
            })
        });
        files.own_memory_limit(path).into_iter().chain(above).min()
    }
}

/// The paths of the cgroups above one.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let levels = Path::new(path).ancestors().skip(1);
    levels.filter_map(Path::to_str)
}

fn remembered<T: Copy>(
    memo: &mut HashMap<String, Option<T>>,
    level: &str,
    read: impl FnOnce(&str) -> Option<T>,
) -> Option<T> {
    match memo.entry(level.to_owned()) {
        Entry::Occupied(known) => *known.get(),
        Entry::Vacant(unknown) => *unknown.insert(read(level)),
    }
}
