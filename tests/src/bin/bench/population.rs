//! Many cgroups that look like Docker's containers, some of them with something running.

use anyhow::Result;
use limitscope_tests::{cgroup::Cgroup, workload::Workload};

/// Cgroups, and what runs in some; dropping it ends and removes all.
#[derive(Debug)]
pub struct Population {
    // In this order: processes end before their cgroups go.
    _busy: Vec<Workload>,
    /// One by container.
    pub containers: Vec<Cgroup>,
    _parents: Vec<Cgroup>,
}

impl Population {
    /// Makes `count` of them, and has one process wake 100 times a second in the first `busy`, for 50
    /// microseconds or so.
    pub fn new(count: usize, busy: usize) -> Result<Self> {
        let mut containers = Vec::new();
        let mut parents = Vec::new();
        if count > 0 {
            let top = Cgroup::new("bench-many")?;
            let docker = top.child("docker")?;
            for number in 0..count {
                containers.push(docker.child(&format!("{number:064x}"))?);
            }
            parents = vec![docker, top];
        }
        let mut workloads = Vec::new();
        for cgroup in &containers[..busy.min(count)] {
            let args = [
                "duty",
                "--busy-us",
                "50",
                "--idle-us",
                "10000",
                "--ms",
                "3600000",
            ];
            let mut workload = Workload::start_in(cgroup, &args)?;
            workload.go()?;
            workloads.push(workload);
        }
        Ok(Self {
            _busy: workloads,
            containers,
            _parents: parents,
        })
    }

    /// Gives each of them limits, of CPU time such that those with a process use half of theirs or more.
    pub fn limit(&self) -> Result<()> {
        for cgroup in &self.containers {
            cgroup.set_cpu_quota(Some(1_000), 100_000)?;
            cgroup.set_memory_limit(64 << 20)?;
        }
        Ok(())
    }
}
