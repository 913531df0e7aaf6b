//! Which memory cgroup ran out: the judgement over what a kill's record tells.
//!
//! Where `oom_kill_process` was seen being entered, it says so itself (`oom_control.memcg`), with
//! the usage before anybody was killed. `oom:mark_victim` alone does not. Two things tell then:
//!
//! - A cgroup that runs out counts that in its own events before anybody is killed
//!   (`memcg_memory_event(MEMCG_OOM)` in `mem_cgroup_oom`, `mm/memcontrol.c`). The one of the victim's
//!   ancestors whose count has grown since it was last seen is it. A cgroup that was made while we
//!   looked on had 0.
//! - Its usage is at its limit.
//!
//! Where several levels are at their limits, as a container in a full pod, only the first tells
//! them apart.

use std::collections::HashMap;

use crate::{
    events::{Kill, KillControl, KillLevel},
    model::identity::CgroupKey,
};

/// Pages that may be missing to a limit that has just fired: another CPU can have given back what
/// it had charged in advance (`MEMCG_CHARGE_BATCH`, 64 pages, `include/linux/memcontrol.h`).
const SLACK_PAGES: u64 = 64;
/// Victims of one OOM follow each other within this time.
const SAME_OOM_NS: u64 = 10_000_000_000;
/// Cgroups whose counts are remembered, and tasks whose OOMs are.
const REMEMBERED: usize = 65_536;

/// The cgroup that ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// The cgroup.
    pub cgroup: CgroupKey,
    /// How many levels above the victim's own: 0 is its own.
    pub levels_up: usize,
    /// Its usage in pages when the first victim was marked.
    pub usage_pages: u64,
    /// Its limit in pages.
    pub limit_pages: Option<u64>,
    /// Whether it is the limit of memory and swap together.
    pub memory_and_swap: bool,
    /// How it is known.
    pub evidence: &'static str,
}

/// A kill, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// The cgroup that ran out; `None` where none did: the machine did.
    pub domain: Option<Domain>,
    /// Which victim of the same OOM it is, from 1.
    pub victim_number: u32,
}

/// What is remembered from kill to kill.
#[derive(Clone, Debug, Default)]
pub struct OomJudge {
    /// Count of `MEMCG_OOM` of a cgroup as last seen.
    seen: HashMap<CgroupKey, u64>,
    /// The OOM that a thread handles.
    under_way: HashMap<u32, UnderWay>,
    /// Processes that were killed lately, by id and start, with the time.
    killed: HashMap<(u32, u64), u64>,
    /// The same, where the entry of the OOM killer was seen.
    entered: HashMap<u32, Entered>,
}

#[derive(Clone, Copy, Debug)]
struct Entered {
    at_ns: u64,
    victims: u32,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    started_ns: u64,
    domain: Domain,
    events: Option<u64>,
    victims: u32,
}

impl OomJudge {
    /// A memory cgroup was made: it has not run out yet.
    pub fn born(&mut self, cgroup: CgroupKey) {
        if self.seen.len() < REMEMBERED {
            self.seen.insert(cgroup, 0);
        }
    }

    /// A memory cgroup is gone.
    pub fn gone(&mut self, cgroup: CgroupKey) {
        self.seen.remove(&cgroup);
    }

    /// Whether the process was told as killed already. The kernel marks the first victim of a group
    /// kill twice, and if its leader is gone by then another of its threads: nothing keeps that from
    /// being a second mark (`oom_kill_memcg_member`, `mm/oom_kill.c`).
    pub fn is_repeated(&mut self, kill: &Kill) -> bool {
        let Some(start) = kill.start_boottime_ns else {
            return false;
        };
        let now = kill.monotonic_ns;
        self.killed
            .retain(|_, at| now.saturating_sub(*at) < SAME_OOM_NS);
        self.killed.len() < REMEMBERED
            && self.killed.insert((kill.victim.pid, start), now).is_some()
    }

    /// Judges a kill.
    pub fn judge(&mut self, kill: &Kill) -> Judgement {
        let grown: Vec<bool> = kill
            .levels
            .iter()
            .map(|level| self.has_grown(level))
            .collect();
        if let Some(control) = &kill.control {
            return self.told(kill, control);
        }
        if let Some(joined) = self.join(kill, &grown) {
            return joined;
        }
        let domain = kill
            .levels
            .iter()
            .zip(&grown)
            .enumerate()
            .filter_map(|(index, (level, grown))| candidate(index, level, *grown))
            // The first of the best: `max_by_key` would take the last.
            .reduce(|best, other| if other.0 > best.0 { other } else { best })
            .map(|(_, domain)| domain);
        self.under_way
            .retain(|_, oom| kill.monotonic_ns.saturating_sub(oom.started_ns) < SAME_OOM_NS);
        match domain {
            Some(domain) if self.under_way.len() < REMEMBERED => {
                let events = kill
                    .levels
                    .get(domain.levels_up)
                    .and_then(|level| level.oom_events);
                let started_ns = kill.monotonic_ns;
                self.under_way.insert(
                    kill.trigger.thread,
                    UnderWay {
                        started_ns,
                        domain,
                        events,
                        victims: 1,
                    },
                );
            }
            _ => {
                self.under_way.remove(&kill.trigger.thread);
            }
        }
        Judgement {
            domain,
            victim_number: 1,
        }
    }

    /// The OOM killer's own word.
    fn told(&mut self, kill: &Kill, control: &KillControl) -> Judgement {
        self.entered
            .retain(|_, oom| kill.monotonic_ns.saturating_sub(oom.at_ns) < SAME_OOM_NS);
        let mut victim_number = 1;
        if self.entered.len() < REMEMBERED {
            let oom = self.entered.entry(kill.trigger.thread).or_insert(Entered {
                at_ns: control.entered_ns,
                victims: 0,
            });
            if oom.at_ns != control.entered_ns {
                *oom = Entered {
                    at_ns: control.entered_ns,
                    victims: 0,
                };
            }
            oom.victims += 1;
            victim_number = oom.victims;
        }
        Judgement {
            domain: control.domain.as_ref().map(|level| {
                let levels_up = kill
                    .levels
                    .iter()
                    .position(|own| own.cgroup == level.cgroup);
                domain(levels_up.unwrap_or(kill.levels.len()), level, "oom_control")
            }),
            victim_number,
        }
    }

    fn has_grown(&mut self, level: &KillLevel) -> bool {
        let Some(events) = level.oom_events else {
            return false;
        };
        if self.seen.len() >= REMEMBERED && !self.seen.contains_key(&level.cgroup) {
            return false;
        }
        self.seen
            .insert(level.cgroup, events)
            .is_some_and(|before| events > before)
    }

    /// A later victim of an OOM that the same thread handles: `memory.oom.group` kills several, and
    /// when the later ones are marked the first may have given memory back already.
    fn join(&mut self, kill: &Kill, grown: &[bool]) -> Option<Judgement> {
        let oom = self.under_way.get_mut(&kill.trigger.thread)?;
        if kill.monotonic_ns.saturating_sub(oom.started_ns) >= SAME_OOM_NS {
            return None;
        }
        let index = kill
            .levels
            .iter()
            .position(|level| level.cgroup == oom.domain.cgroup)?;
        let level = &kill.levels[index];
        let again = match (level.oom_events, oom.events) {
            (Some(now), Some(before)) => now != before,
            _ => grown.get(index).copied().unwrap_or(false),
        };
        // Without counts only a pause tells one OOM from the next; then each kill is its own.
        if again || level.oom_events.is_none() {
            return None;
        }
        oom.victims += 1;
        Some(Judgement {
            domain: Some(Domain {
                levels_up: index,
                ..oom.domain
            }),
            victim_number: oom.victims,
        })
    }
}

fn near(usage: u64, limit: u64) -> bool {
    usage.saturating_add(SLACK_PAGES) >= limit
}

/// Whether its limit of memory is reached, or has been but for what was charged in advance.
fn memory_near(level: &KillLevel) -> bool {
    level
        .limit_pages
        .is_some_and(|limit| near(level.usage_pages, limit))
}

/// Usage and limit of memory and swap together, where that is the limit that is reached.
fn memsw_near(level: &KillLevel) -> Option<(u64, u64)> {
    level
        .memsw_pages
        .filter(|(usage, limit)| !memory_near(level) && near(*usage, *limit))
}

/// Rank and domain of a level that may have run out.
fn candidate(levels_up: usize, level: &KillLevel, grown: bool) -> Option<(u8, Domain)> {
    let rank = match (grown, memory_near(level) || memsw_near(level).is_some()) {
        (true, true) => 3,
        (false, true) => 2,
        (true, false) => 1,
        (false, false) => return None,
    };
    let evidence = if grown { "memcg_event" } else { "usage" };
    Some((rank, domain(levels_up, level, evidence)))
}

fn domain(levels_up: usize, level: &KillLevel, evidence: &'static str) -> Domain {
    let memsw = memsw_near(level);
    let (usage_pages, limit_pages) = memsw
        .map_or((level.usage_pages, level.limit_pages), |(usage, limit)| {
            (usage, Some(limit))
        });
    Domain {
        cgroup: level.cgroup,
        levels_up,
        usage_pages,
        limit_pages,
        memory_and_swap: memsw.is_some(),
        evidence,
    }
}

#[cfg(test)]
mod tests;
