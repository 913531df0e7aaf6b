//! What is put to an OOM kill: leak or spike, and the largest processes.

use super::{Findings, Watched};
use crate::{
    analyse::findings::{
        history::MemoryHistory,
        oom_verdict::{self, Reached},
    },
    kernel::process_memory,
    model::oom::{LargeProcess, OomContext, OomKillEvent, Verdict},
    pipeline::containers::Files,
};

/// The largest processes that an OOM kill tells.
const LARGEST: usize = 5;
/// Processes whose memory is read at an OOM kill.
const MOST_SIZED: usize = 512;

impl Findings {
    /// What is put to an OOM kill: read at once, before the victim is gone.
    pub fn oom_context(&self, kill: &OomKillEvent, kill_ns: u64, files: &Files) -> OomContext {
        let path = &kill.container.cgroup_path;
        // One that was there before under the same path is remembered for a while.
        let of = |watched: &&Watched| watched.container.cgroup_path == *path;
        let latest = |watched: &&Watched| watched.history.last().map(|sample| sample.at_ns);
        let watched = self.watched.values().filter(of).max_by_key(latest);
        let empty = MemoryHistory::default();
        let history = watched.map_or(&empty, |watched| &watched.history);
        let limit = kill.limit.as_ref();
        let limited = limit.map_or(path, |limit| &limit.cgroup.cgroup_path);
        let others = format!("what else is in {limited}");
        let reached = limit.and_then(|limit| {
            let shared = if limited != path {
                Some(others.as_str())
            } else if limit.memory_and_swap {
                Some("swap")
            } else {
                None
            };
            let bytes = limit.limit_bytes?;
            Some(Reached { bytes, shared })
        });
        let mut verdict = oom_verdict::judge(history, kill_ns, reached, &self.thresholds);
        let shared = limit.filter(|_| verdict.verdict != Verdict::Leak);
        if let Some(advice) =
            shared.and_then(|limit| oom_verdict::advice_for_shared(limit, &kill.container))
        {
            verdict.recommendation = advice;
        }
        let pids = files
            .memory
            .as_ref()
            .map(|files| files.processes_below(limited, MOST_SIZED));
        OomContext {
            verdict,
            largest: largest(kill, pids.unwrap_or_default()),
        }
    }
}

/// The largest processes; of the victim the kernel has told what it had.
fn largest(kill: &OomKillEvent, pids: Vec<u32>) -> Vec<LargeProcess> {
    let memory = &kill.memory;
    let victim = LargeProcess {
        pid: kill.victim.pid,
        command: kill.victim.command.clone(),
        bytes: memory.anon_bytes + memory.shmem_bytes + memory.swap_bytes,
    };
    let mut all: Vec<LargeProcess> = pids
        .into_iter()
        .filter(|pid| *pid != victim.pid)
        .filter_map(process_memory::of)
        .filter(|process| process.bytes > 0)
        .collect();
    all.push(victim);
    all.sort_by(|one, other| other.bytes.cmp(&one.bytes).then(one.pid.cmp(&other.pid)));
    all.truncate(LARGEST);
    all
}
