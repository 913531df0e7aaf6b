//! Watches containers for findings: their memory over time, what limits them, what their processes
//! tell; and puts to an OOM kill what the minutes before it say.

mod at_a_kill;
mod looks;
mod samples;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use crate::{
    analyse::findings::{
        Observation, Thresholds, history::MemoryHistory, noisy_neighbour, tracker::Tracker,
    },
    identity::index::CgroupIndex,
    kernel::{limit_memo::LimitMemo, process_memory},
    model::{
        finding::FindingEvent,
        identity::{CgroupKey, Level, SharedIdentity},
        limits::{CpuLimit, MemorySample},
        runtime::ProcessFacts,
        stats::{ContainerStats, IntervalHistograms, SchedStats, ThrottleStats},
    },
};
use looks::Request;
pub use looks::{Look, Looks};

/// Most containers whose memory is kept over time: 3 KiB each.
const MOST_WATCHED: usize = 2048;
/// A process is looked into again after this time at the latest.
const INSPECT_AGAIN: Duration = Duration::from_secs(30);
/// Where only memory is the reason, so many times later: a memory limit does not change often.
const CALM: u64 = 10;
/// Share of the memory limit from which on processes are looked into for it.
const LARGE: f64 = 0.4;

/// Everything that is watched.
pub struct Findings {
    thresholds: Thresholds,
    /// Whether findings are wanted; memory over time is kept for OOM kills in any case.
    judges: bool,
    /// Where looks into processes are asked for; `None` before the run has begun and at its end.
    looks: Option<Looks>,
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
    /// Whether it had a CPU limit when it last did something.
    has_cpu_limit: bool,
    tracker: Tracker,
    /// What its processes told last; `None` before somebody looked.
    processes: Option<Vec<ProcessFacts>>,
    asked_at_ns: Option<u64>,
    /// Whether the last look that was asked for is still to come.
    awaited: bool,
    /// The interval that is judged when the look comes that it needs.
    put_off: Option<Box<PutOff>>,
    /// Whether it had an interval of its own since the last look.
    judged: bool,
}

/// An interval that is to be judged.
#[derive(Clone, Copy)]
struct Interval<'a> {
    stats: &'a ContainerStats,
    cpu_limit: Option<&'a CpuLimit>,
    ended_ns: u64,
}

/// The same, kept until it is.
struct PutOff {
    stats: ContainerStats,
    cpu_limit: Option<CpuLimit>,
    ended_ns: u64,
}

impl PutOff {
    const fn interval(&self) -> Interval<'_> {
        Interval {
            stats: &self.stats,
            cpu_limit: self.cpu_limit.as_ref(),
            ended_ns: self.ended_ns,
        }
    }
}

impl Findings {
    /// Nothing is known yet.
    pub fn new(thresholds: Thresholds, judges: bool, interval: Duration) -> Self {
        Self {
            thresholds,
            judges,
            looks: None,
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

    /// Judges what a container did in an interval.
    pub fn observe(
        &mut self,
        owner: CgroupKey,
        stats: &ContainerStats,
        index: &CgroupIndex,
        limits: &mut Option<LimitMemo<'_>>,
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
        let idle =
            stats.sched == SchedStats::default() && stats.throttle == ThrottleStats::default();
        let path = &stats.container.cgroup_path;
        let mut cpu_limit = || limits.as_mut()?.cpu_limit(path);
        // Which there is matters only to those that use CPU time.
        let known = if idle { None } else { cpu_limit() };
        if !self.watched.contains_key(&owner) {
            // Without any limit only its neighbours can be what is wrong.
            let matters = known.is_some() || waits_for_others(stats, &self.thresholds);
            if !matters {
                return Vec::new();
            }
            if self.watched.len() >= MOST_WATCHED {
                self.unwatched.insert(owner);
                return Vec::new();
            }
        }
        let mut events = self.settle(owner);
        let watched = self.watched.entry(owner).or_default();
        watched.container = stats.container.clone();
        watched.judged = true;
        if !idle {
            watched.has_cpu_limit = known.is_some();
        }
        let interval = Interval {
            stats,
            cpu_limit: known.as_ref(),
            ended_ns: now_ns,
        };
        if watched.wants_look(interval, self.inspect_again_ns)
            && let Some(looks) = &self.looks
            && let limit = if idle { cpu_limit() } else { known.clone() }
            && looks.ask(watched.request(owner, limit, index))
        {
            watched.asked_at_ns = Some(now_ns);
            watched.awaited = true;
            watched.put_off = Some(Box::new(PutOff {
                stats: stats.clone(),
                cpu_limit: known,
                ended_ns: now_ns,
            }));
        } else {
            events.extend(self.judge(owner, interval));
        }
        events
    }

    /// A look has come: what waited for it is judged. Returns when that interval ended, too.
    pub fn looked(&mut self, look: Look) -> Option<(u64, Vec<FindingEvent>)> {
        // One that is gone needs none.
        let watched = self.watched.get_mut(&look.key)?;
        watched.awaited = false;
        if look.processes.is_some() {
            watched.processes = look.processes;
        }
        let put_off = watched.put_off.take()?;
        Some((put_off.ended_ns, self.judge(look.key, put_off.interval())))
    }

    /// Judges what waits for a look, by what is known without it.
    fn settle(&mut self, owner: CgroupKey) -> Vec<FindingEvent> {
        let watched = self.watched.get_mut(&owner);
        let put_off = watched.and_then(|watched| watched.put_off.take());
        put_off.map_or_else(Vec::new, |put_off| self.judge(owner, put_off.interval()))
    }

    fn judge(&mut self, owner: CgroupKey, interval: Interval<'_>) -> Vec<FindingEvent> {
        let Some(watched) = self.watched.get_mut(&owner) else {
            return Vec::new();
        };
        if watched.is_large() {
            // Who holds it now; the rest of what they told changes seldom.
            for process in watched.processes.iter_mut().flatten() {
                let now = process_memory::of(process.pid);
                process.memory_held_bytes = now.map(|memory| memory.bytes);
            }
        }
        let observation = Observation {
            stats: interval.stats,
            cpu_limit: interval.cpu_limit,
            memory_limit: watched.memory_limit,
            history: &watched.history,
            processes: watched.processes.as_deref(),
        };
        let events = (watched.tracker).observe(&observation, &self.thresholds, interval.ended_ns);
        let limited = watched.has_cpu_limit || watched.memory_limit.is_some();
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
        limits: &mut Option<LimitMemo<'_>>,
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
            events.extend(self.observe(key, &nothing, index, limits, now_ns));
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
            watched.put_off = None;
            watched.tracker.end(&container, now_ns)
        })
    }

    /// A container is forgotten.
    pub fn forgotten(&mut self, key: CgroupKey) {
        self.watched.remove(&key);
    }

    /// Whether they are, and not only what an OOM kill takes.
    pub const fn are_wanted(&self) -> bool {
        self.judges
    }

    /// Looks into processes are asked for there from now on.
    pub fn look_by(&mut self, looks: Looks) {
        self.looks = Some(looks);
    }

    /// The run is about to end: nothing is put off any more, and what was is judged.
    pub fn stop_looking(&mut self) -> Vec<FindingEvent> {
        self.looks = None;
        let keys: Vec<CgroupKey> = self.watched.keys().copied().collect();
        keys.into_iter().flat_map(|key| self.settle(key)).collect()
    }

    /// Containers for which looks into their processes are still to come.
    pub fn looks_awaited(&self) -> u64 {
        let awaited = self.watched.values().filter(|watched| watched.awaited);
        awaited.count() as u64
    }

    /// The run is over: everything that holds ends.
    pub fn stop(&mut self, now_ns: u64) -> Vec<FindingEvent> {
        let mut keys: Vec<CgroupKey> = self.watched.keys().copied().collect();
        keys.sort_by_key(|key| (key.hierarchy, key.id));
        keys.into_iter()
            .flat_map(|key| self.removed(key, now_ns))
            .collect()
    }
}

impl Watched {
    /// Whether it is time for a look into its processes.
    fn wants_look(&self, interval: Interval<'_>, again_ns: u64) -> bool {
        let known = self.processes.as_ref().is_some_and(|all| !all.is_empty());
        let patience = if is_at_its_limit(interval.stats, interval.cpu_limit) {
            again_ns
        } else if self.is_large() || known {
            // What is known of processes must not outlive them.
            again_ns.saturating_mul(CALM)
        } else {
            return false;
        };
        let since = |at| interval.ended_ns.saturating_sub(at);
        !self.awaited && self.asked_at_ns.is_none_or(|at| since(at) >= patience)
    }

    fn request(&self, owner: CgroupKey, limit: Option<CpuLimit>, index: &CgroupIndex) -> Request {
        // Nested cgroups included.
        let cgroups = (index.members(owner))
            .filter(|member| index.is_live(*member))
            .filter_map(|member| Some(index.identity(member)?.cgroup_path.clone()));
        Request {
            key: owner,
            cgroups: cgroups.collect(),
            cpu_limit: limit,
            first: self.processes.is_none(),
        }
    }

    /// Whether memory is used to a good part, so that what the processes know of the limit matters.
    fn is_large(&self) -> bool {
        let held = self.history.last().map_or(0, MemorySample::held_bytes);
        let limit = self.memory_limit;
        limit.is_some_and(|limit| held as f64 >= limit as f64 * LARGE)
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
        processes: None,
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
