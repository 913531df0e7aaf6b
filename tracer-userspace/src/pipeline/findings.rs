//! Watches containers for findings: their memory over time, what limits them, what their processes
//! tell; and puts to an OOM kill what the minutes before it say.

mod at_a_kill;
mod context;
mod looks;
mod processes;
mod samples;
mod watched;

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use tracing::warn;

use crate::{
    analyse::findings::{Observation, Part, Thresholds, history::MemoryHistory, noisy_neighbour},
    model::{
        finding::FindingEvent,
        identity::{CgroupKey, Level},
        stats::{ContainerStats, IntervalHistograms, SchedStats, ThrottleStats},
    },
};
pub use context::Context;
pub use looks::{Look, Looks};
use watched::{Interval, PutOff, Watched};

/// Most containers whose memory is kept over time: 3 KiB each.
const MOST_WATCHED: usize = 2048;
/// A process is looked into again after this time at the latest.
const INSPECT_AGAIN: Duration = Duration::from_secs(30);

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
        context: &mut Context<'_>,
        now_ns: u64,
    ) -> Vec<FindingEvent> {
        let too_short = stats.interval_ns < self.shortest_ns;
        if !self.judges || too_short || !is_watched(stats.container.level) {
            return Vec::new();
        }
        // What a container did last is told after its end, which ended its findings.
        if !context.index.is_live(owner) {
            return Vec::new();
        }
        let idle =
            stats.sched == SchedStats::default() && stats.throttle == ThrottleStats::default();
        let path = &stats.container.cgroup_path;
        // Which there is matters only to those that use CPU time.
        let known = if idle { None } else { context.cpu_limit(path) };
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
        let watched = self.watched.entry(owner).or_default();
        watched.container = stats.container.clone();
        watched.judged = true;
        if !idle {
            watched.has_cpu_limit = known.is_some();
        }
        let interval = Interval {
            stats,
            cpu_limit: known.as_ref(),
            limit_cpus_used: known.as_ref().and_then(|limit| context.used_below(limit)),
            ended_ns: now_ns,
        };
        let mut events = self.judge(owner, Part::Kernel, interval);
        let Some(watched) = self.watched.get_mut(&owner) else {
            return events;
        };
        let wanted =
            context.wants(&stats.container) && watched.wants_look(interval, self.inspect_again_ns);
        if wanted && let Some(looks) = &self.looks {
            let limit = if idle {
                context.cpu_limit(path)
            } else {
                known.clone()
            };
            if looks.ask(watched.request(owner, limit, context.index)) {
                watched.asked_at_ns = Some(now_ns);
                watched.awaited = true;
                watched.put_off = Some(Box::new(PutOff {
                    stats: stats.clone(),
                    limit_cpus_used: interval.limit_cpus_used,
                    cpu_limit: known,
                    ended_ns: now_ns,
                }));
                return events;
            }
            warn!("processes are looked into no more: the thread that did so has ended");
            self.looks = None;
        }
        events.extend(self.judge(owner, Part::Processes, interval));
        events
    }

    /// A look has come: what waited for it is judged. Returns when that interval ended, too.
    pub fn looked(&mut self, look: Look) -> Option<(u64, Vec<FindingEvent>)> {
        // One that is gone needs none.
        let watched = self.watched.get_mut(&look.key)?;
        watched.awaited = false;
        match look.processes {
            Some(processes) => watched.processes.put(processes),
            // To be tried again.
            None => watched.asked_at_ns = None,
        }
        self.settle(look.key)
    }

    /// Judges by what is known without it all that still waits for a look: before the next interval has
    /// anything to say. Returns when each interval ended, too.
    pub fn settle_all(&mut self) -> Vec<(u64, Vec<FindingEvent>)> {
        let waiting =
            |(key, watched): (&CgroupKey, &Watched)| watched.put_off.is_some().then_some(*key);
        let mut keys: Vec<CgroupKey> = self.watched.iter().filter_map(waiting).collect();
        keys.sort_by_key(|key| (key.hierarchy, key.id));
        keys.into_iter()
            .filter_map(|key| self.settle(key))
            .collect()
    }

    fn settle(&mut self, owner: CgroupKey) -> Option<(u64, Vec<FindingEvent>)> {
        let put_off = self.watched.get_mut(&owner)?.put_off.take()?;
        let events = self.judge(owner, Part::Processes, put_off.interval());
        Some((put_off.ended_ns, events))
    }

    /// A look that does not end costs one container its looks, and not all of them theirs.
    pub fn replace_hanging(&mut self) {
        let hanging = self.looks.as_mut().and_then(Looks::replace_hanging);
        let Some(hanging) = hanging else { return };
        for (key, watched) in &mut self.watched {
            if *key == hanging {
                let path = &watched.container.cgroup_path;
                warn!("a look into the processes of {path} does not end: is a disk away?");
            } else if watched.awaited {
                watched.awaited = false;
                watched.asked_at_ns = None;
            }
        }
    }

    fn judge(&mut self, owner: CgroupKey, part: Part, interval: Interval<'_>) -> Vec<FindingEvent> {
        let Some(watched) = self.watched.get_mut(&owner) else {
            return Vec::new();
        };
        if part == Part::Processes {
            let memory = watched.is_large();
            if watched.processes.measure(memory) {
                // Others may have come in their place.
                watched.asked_at_ns = None;
            }
        }
        let observation = Observation {
            stats: interval.stats,
            cpu_limit: interval.cpu_limit,
            limit_cpus_used: interval.limit_cpus_used,
            memory_limit: watched.memory_limit,
            history: &watched.history,
            processes: watched.processes.facts(),
        };
        let ended_ns = interval.ended_ns;
        let events = (watched.tracker).observe(part, &observation, &self.thresholds, ended_ns);
        let limited = watched.has_cpu_limit || watched.memory_limit.is_some();
        if part == Part::Processes && !limited && watched.tracker.is_at_rest() {
            self.watched.remove(&owner);
        }
        events
    }

    /// Judges those that did nothing in the interval: their memory is there all the same, and what
    /// held of them may hold no more.
    pub fn observe_idle(
        &mut self,
        context: &mut Context<'_>,
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
            if !judged && matters && context.index.is_live(*key) {
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
            events.extend(self.observe(key, &nothing, context, now_ns));
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

    /// The run is about to end: nothing is put off any more.
    pub fn stop_looking(&mut self) {
        self.looks = None;
    }

    /// Containers for which looks into their processes are still to come that were asked for before the
    /// interval's end, `now_ns`.
    pub fn looks_awaited(&self, now_ns: u64) -> u64 {
        let is_late = |watched: &&Watched| {
            watched.awaited && watched.asked_at_ns.is_some_and(|at| at < now_ns)
        };
        self.watched.values().filter(is_late).count() as u64
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

/// Cgroups that stand for something that runs, and not for a group of such.
const fn is_watched(level: Level) -> bool {
    matches!(level, Level::Container | Level::Service | Level::Other)
}

/// Whether a container without a limit waits for others long enough to be watched.
fn waits_for_others(stats: &ContainerStats, thresholds: &Thresholds) -> bool {
    let observation = Observation {
        stats,
        cpu_limit: None,
        limit_cpus_used: None,
        memory_limit: None,
        history: &MemoryHistory::default(),
        processes: None,
    };
    noisy_neighbour::may_hold(&observation, thresholds)
}
