//! Watches containers for findings: their memory over time, what limits them, what their processes
//! tell; and puts to an OOM kill what the minutes before it say.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::containers::Files;
use crate::{
    analyse::findings::{
        Observation, Thresholds,
        history::MemoryHistory,
        noisy_neighbour,
        oom_verdict::{self, Reached},
        tracker::Tracker,
    },
    identity::index::CgroupIndex,
    kernel::process_memory,
    model::{
        finding::FindingEvent,
        identity::{CgroupKey, Level, SharedIdentity},
        limits::{CpuLimit, MemorySample},
        oom::{LargeProcess, OomContext, OomKillEvent, Verdict},
        runtime::ProcessFacts,
        stats::{ContainerStats, IntervalHistograms, SchedStats, ThrottleStats},
    },
    runtimes::Inspector,
};

/// Most containers whose memory is kept over time: 3 KiB each.
const MOST_WATCHED: usize = 2048;
/// Most processes of a container that are considered, and that are looked into.
const MOST_PROCESSES: usize = 256;
const MOST_INSPECTED: usize = 16;
/// A process is looked into again after this time at the latest.
const INSPECT_AGAIN: Duration = Duration::from_secs(30);
/// Where only memory is the reason, so many times later: a memory limit does not change often.
const CALM: u64 = 10;
/// Share of the memory limit from which on processes are looked into for it.
const LARGE: f64 = 0.4;
/// The largest processes that an OOM kill tells.
const LARGEST: usize = 5;
/// Processes whose memory is read at an OOM kill.
const MOST_SIZED: usize = 512;

/// Everything that is watched.
pub struct Findings {
    thresholds: Thresholds,
    /// Whether findings are wanted; memory over time is kept for OOM kills in any case.
    judges: bool,
    inspector: Inspector,
    watched: HashMap<CgroupKey, Watched>,
    inspect_again_ns: u64,
    /// Containers that the last interval found no room for.
    unwatched: HashSet<CgroupKey>,
    /// Intervals shorter than this, as the last one of a run, are judged by nobody.
    shortest_ns: u64,
}

#[derive(Default)]
struct Watched {
    container: SharedIdentity,
    history: MemoryHistory,
    memory_limit: Option<u64>,
    tracker: Tracker,
    processes: Vec<ProcessFacts>,
    inspected_at_ns: Option<u64>,
    /// Whether it had an interval of its own since the last look.
    judged: bool,
}

impl Findings {
    /// Nothing is known yet.
    pub fn new(thresholds: Thresholds, judges: bool, interval: Duration) -> Self {
        Self {
            thresholds,
            judges,
            inspector: Inspector::default(),
            watched: HashMap::new(),
            unwatched: HashSet::new(),
            shortest_ns: u64::try_from((interval / 2).as_nanos()).unwrap_or(u64::MAX),
            inspect_again_ns: u64::try_from((interval * 3).min(INSPECT_AGAIN).as_nanos())
                .unwrap_or(u64::MAX),
        }
    }

    /// Containers that there was no room for in the last interval.
    pub fn unwatched(&self) -> u64 {
        self.unwatched.len() as u64
    }

    /// Takes a sample of the memory of every container that has a limit.
    pub fn sample(&mut self, index: &CgroupIndex, files: &Files, hierarchy: u32, now_ns: u64) {
        self.unwatched.clear();
        let Some(memory) = &files.memory else { return };
        for (key, container) in index.live_owners() {
            if key.hierarchy != hierarchy || !is_watched(container.level) {
                continue;
            }
            let room = self.watched.len() < MOST_WATCHED || self.watched.contains_key(&key);
            let limit = memory.memory_limit(&container.cgroup_path);
            if limit.is_some() && !room {
                self.unwatched.insert(key);
            }
            let Some(limit) = limit.filter(|_| room) else {
                if let Some(watched) = self.watched.get_mut(&key) {
                    watched.memory_limit = None;
                }
                continue;
            };
            let Some(mut sample) = memory.memory_sample(&container.cgroup_path) else {
                continue;
            };
            sample.at_ns = now_ns;
            let watched = self.watched.entry(key).or_default();
            watched.container = container;
            watched.memory_limit = Some(limit);
            watched.history.add(sample);
        }
    }

    /// Judges what a container did in an interval.
    pub fn observe(
        &mut self,
        owner: CgroupKey,
        stats: &ContainerStats,
        index: &CgroupIndex,
        files: &Files,
        now_ns: u64,
    ) -> Vec<FindingEvent> {
        let too_short = stats.interval_ns < self.shortest_ns;
        if !self.judges || too_short || !is_watched(stats.container.level) {
            return Vec::new();
        }
        // What a container did last is told after its end, which ended its findings.
        if !index.is_live(owner) {
            return Vec::new();
        }
        let path = &stats.container.cgroup_path;
        let cpu_limit = files.cpu.as_ref().and_then(|files| files.cpu_limit(path));
        if !self.watched.contains_key(&owner) {
            // Without any limit only its neighbours can be what is wrong.
            let matters = cpu_limit.is_some() || waits_for_others(stats, &self.thresholds);
            if !matters {
                return Vec::new();
            }
            if self.watched.len() >= MOST_WATCHED {
                self.unwatched.insert(owner);
                return Vec::new();
            }
        }
        let watched = self.watched.entry(owner).or_default();
        watched.container = stats.container.clone();
        watched.judged = true;
        let since = watched.inspected_at_ns.map(|at| now_ns.saturating_sub(at));
        let patience = if is_at_its_limit(stats, cpu_limit.as_ref()) {
            Some(self.inspect_again_ns)
        } else if is_large(watched) || !watched.processes.is_empty() {
            // What is known of processes must not outlive them.
            Some(self.inspect_again_ns.saturating_mul(CALM))
        } else {
            None
        };
        if patience.is_some_and(|patience| since.is_none_or(|since| since >= patience)) {
            let pids = processes(owner, index, files);
            let busiest = self.inspector.busiest(pids, MOST_INSPECTED);
            let quota = cpu_limit.as_ref().map(|limit| limit.cpus);
            let facts = busiest
                .into_iter()
                .filter_map(|pid| self.inspector.inspect(pid, quota).ok());
            watched.processes = facts.collect();
            watched.inspected_at_ns = Some(now_ns);
        }
        if is_large(watched) {
            // Who holds it now; the rest of what they told changes seldom.
            for process in &mut watched.processes {
                let now = process_memory::of(process.pid);
                process.memory_held_bytes = now.map(|memory| memory.bytes);
            }
        }
        let observation = Observation {
            stats,
            cpu_limit: cpu_limit.as_ref(),
            memory_limit: watched.memory_limit,
            history: &watched.history,
            processes: &watched.processes,
        };
        let events = watched
            .tracker
            .observe(&observation, &self.thresholds, now_ns);
        let limited = cpu_limit.is_some() || watched.memory_limit.is_some();
        if !limited && watched.tracker.is_at_rest() {
            self.watched.remove(&owner);
        }
        events
    }

    /// Judges those that did nothing in the interval: their memory is there all the same, and what
    /// held of them may hold no more.
    pub fn observe_idle(
        &mut self,
        index: &CgroupIndex,
        files: &Files,
        interval_ns: u64,
        now_ns: u64,
    ) -> Vec<FindingEvent> {
        if !self.judges {
            return Vec::new();
        }
        let mut idle = Vec::new();
        for (key, watched) in &mut self.watched {
            let judged = std::mem::take(&mut watched.judged);
            let matters = watched.memory_limit.is_some() || !watched.tracker.is_at_rest();
            if !judged && matters && index.is_live(*key) {
                idle.push((*key, watched.container.clone()));
            }
        }
        let mut events = Vec::new();
        for (key, container) in idle {
            let nothing = ContainerStats {
                container,
                interval_ns,
                sched: SchedStats::default(),
                throttle: ThrottleStats::default(),
                memory: None,
                histograms: IntervalHistograms::default(),
                neighbours: Vec::new(),
            };
            events.extend(self.observe(key, &nothing, index, files, now_ns));
            if let Some(watched) = self.watched.get_mut(&key) {
                watched.judged = false;
            }
        }
        events
    }

    /// A container's cgroup is removed: what held of it ends. Its memory is kept until it is
    /// forgotten, for a kill that is told late.
    pub fn removed(&mut self, key: CgroupKey, now_ns: u64) -> Vec<FindingEvent> {
        self.watched.get_mut(&key).map_or_else(Vec::new, |watched| {
            let container = watched.container.clone();
            watched.tracker.end(&container, now_ns)
        })
    }

    /// A container is forgotten.
    pub fn forgotten(&mut self, key: CgroupKey) {
        self.watched.remove(&key);
    }

    /// The run is over: everything that holds ends.
    pub fn stop(&mut self, now_ns: u64) -> Vec<FindingEvent> {
        let mut keys: Vec<CgroupKey> = self.watched.keys().copied().collect();
        keys.sort_by_key(|key| (key.hierarchy, key.id));
        keys.into_iter()
            .flat_map(|key| self.removed(key, now_ns))
            .collect()
    }

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

/// Cgroups that stand for something that runs, and not for a group of such.
const fn is_watched(level: Level) -> bool {
    matches!(level, Level::Container | Level::Service | Level::Other)
}

/// Whether a container without a limit waits for others long enough to be watched.
fn waits_for_others(stats: &ContainerStats, thresholds: &Thresholds) -> bool {
    let observation = Observation {
        stats,
        cpu_limit: None,
        memory_limit: None,
        history: &MemoryHistory::default(),
        processes: &[],
    };
    noisy_neighbour::may_hold(&observation, thresholds)
}

/// Whether the CPU limit bites or may soon, so that a look into the processes is worth its cost.
fn is_at_its_limit(stats: &ContainerStats, limit: Option<&CpuLimit>) -> bool {
    let used = stats.sched.cpu_time_ns as f64 / stats.interval_ns.max(1) as f64;
    limit.is_some_and(|limit| used >= limit.cpus / 2.0)
        || stats.throttle.throttled_periods > 0
        || stats.throttle.frozen_ns.is_some_and(|ns| ns > 0)
}

/// Whether memory is used to a good part, so that what the processes know of the limit matters.
fn is_large(watched: &Watched) -> bool {
    let held = watched.history.last().map_or(0, MemorySample::held_bytes);
    let limit = watched.memory_limit;
    limit.is_some_and(|limit| held as f64 >= limit as f64 * LARGE)
}

/// Processes of a container, nested cgroups included.
fn processes(owner: CgroupKey, index: &CgroupIndex, files: &Files) -> Vec<u32> {
    let Some(files) = &files.cpu else {
        return Vec::new();
    };
    let mut pids = Vec::new();
    for member in index.members(owner) {
        let left = MOST_PROCESSES.saturating_sub(pids.len());
        if left == 0 {
            break;
        }
        if index.is_live(member)
            && let Some(identity) = index.identity(member)
        {
            pids.extend(files.processes(identity.cgroup_path.as_bytes(), left));
        }
    }
    pids
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
