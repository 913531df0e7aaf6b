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
    /// What all of them did, in the order of their paths.
    all: &'a [(CgroupKey, ContainerStats)],
    interval_ns: u64,
    filter: Option<&'a ContainerFilter>,
}

impl<'a> Context<'a> {
    /// `all` is what all of them did, in the order of their paths.
    pub fn new(
        index: &'a CgroupIndex,
        files: Option<&'a ControllerFiles>,
        filter: Option<&'a ContainerFilter>,
        all: &'a [(CgroupKey, ContainerStats)],
        interval_ns: u64,
    ) -> Self {
        Self {
            index,
            limits: files.map(LimitMemo::new),
            all,
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
        let is_before = |(_, stats): &(_, ContainerStats)| stats.container.cgroup_path < above;
        let begin = self.all.partition_point(is_before);
        let ns: u64 = (self.all[begin..].iter())
            .take_while(|(_, stats)| stats.container.cgroup_path.starts_with(&above))
            .map(|(_, stats)| stats.sched.cpu_time_ns)
            .sum();
        Some(ns as f64 / self.interval_ns.max(1) as f64)
    }

    /// Whether somebody wants to know about a container.
    pub fn wants(&self, container: &Identity) -> bool {
        self.filter.is_none_or(|filter| filter.matches(container))
    }
}
