//! What is around a container in an interval: its limits, and who else is below them.

use crate::{
    identity::index::CgroupIndex,
    kernel::{cgroup_files::ControllerFiles, limit_memo::LimitMemo},
    model::{
        identity::{CgroupKey, Identity},
        limits::CpuLimit,
        stats::ContainerStats,
    },
    pipeline::filter::ContainerFilter,
};

/// An interval of all containers.
pub struct Context<'a> {
    pub index: &'a CgroupIndex,
    limits: Option<LimitMemo<'a>>,
    /// By path, in order: CPU time in nanoseconds.
    used: Vec<(String, u64)>,
    interval_ns: u64,
    filter: Option<&'a ContainerFilter>,
}

impl<'a> Context<'a> {
    /// `all` is what all of them did.
    pub fn new(
        index: &'a CgroupIndex,
        files: Option<&'a ControllerFiles>,
        filter: Option<&'a ContainerFilter>,
        all: &[(CgroupKey, ContainerStats)],
        interval_ns: u64,
    ) -> Self {
        let path = |stats: &ContainerStats| stats.container.cgroup_path.clone();
        let mut used: Vec<(String, u64)> = (all.iter())
            .map(|(_, stats)| (path(stats), stats.sched.cpu_time_ns))
            .collect();
        used.sort_unstable();
        Self {
            index,
            limits: files.map(LimitMemo::new),
            used,
            interval_ns,
            filter,
        }
    }

    /// The smallest CPU limit of the cgroup at `path` and those above it.
    pub fn cpu_limit(&mut self, path: &str) -> Option<CpuLimit> {
        self.limits.as_mut()?.cpu_limit(path)
    }

    /// CPUs that all below the cgroup with a limit used; `None` where it is the container's own.
    pub fn used_below(&self, limit: &CpuLimit) -> Option<f64> {
        if limit.own {
            return None;
        }
        let above = format!("{}/", limit.cgroup.trim_end_matches('/'));
        let begin = self.used.partition_point(|(path, _)| *path < above);
        let below = self.used[begin..].iter();
        let ns: u64 = below
            .take_while(|(path, _)| path.starts_with(&above))
            .map(|(_, ns)| ns)
            .sum();
        Some(ns as f64 / self.interval_ns.max(1) as f64)
    }

    /// Whether somebody wants to know about a container.
    pub fn wants(&self, container: &Identity) -> bool {
        self.filter.is_none_or(|filter| filter.matches(container))
    }
}
