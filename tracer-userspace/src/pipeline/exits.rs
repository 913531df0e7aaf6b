//! Ends of containers that wait for what the runtime says of them.
//!
//! The kernel tells when a container's cgroup is gone; how its first process ended is told by the
//! runtime, a moment before or after. `container_exit` waits for that, for five seconds at most, where
//! a runtime that can tell it answers.

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::{
    events::SentKill,
    model::{
        event::Lifecycle,
        exit::{Exit, ExitReport, Killer, OomKilled},
        identity::{CgroupKey, SharedIdentity},
    },
};

/// Longest time that an end waits, in nanoseconds. Docker tells it 20 to 200 ms after the cgroup is
/// gone, containerd on a node without a CPU to spare took two seconds.
const PATIENCE_NS: u64 = 5_000_000_000;
/// Most ends that wait; further ones go out at once.
const MOST: usize = 4_096;
/// Most reports and kills that are remembered.
const REMEMBERED: NonZeroUsize = NonZeroUsize::new(1_024).unwrap();

/// A container's cgroup is gone.
pub struct Gone {
    /// The cgroup.
    pub key: CgroupKey,
    /// Who it was, as far as it was known then.
    pub container: SharedIdentity,
    /// When, by CLOCK_MONOTONIC in nanoseconds.
    pub monotonic_ns: u64,
    /// How long it lived.
    pub lifetime_ns: Option<u64>,
}

impl Gone {
    fn id(&self) -> Option<&str> {
        self.container.container_id.as_deref()
    }

    /// Whether something of that time is of this life of the container: another may have had its
    /// id, as `docker restart` keeps it.
    fn has_in_life(&self, at_ns: u64) -> bool {
        let lifetime = self.lifetime_ns.unwrap_or(self.monotonic_ns);
        at_ns >= self.monotonic_ns.saturating_sub(lifetime)
    }
}

struct Waiting {
    until_ns: u64,
    gone: Gone,
}

/// The last OOM kill in a container.
#[derive(Clone, Copy)]
struct Kill {
    at_ns: u64,
    /// Whether its line is out, with its number if it was wanted.
    told: Option<OomKilled>,
}

/// A SIGKILL to a process of a container.
struct Sent {
    at_ns: u64,
    to_first: bool,
    sender: Killer,
}

/// The ends that wait.
pub struct Exits {
    waiting: Vec<Waiting>,
    /// What runtimes said, with when it came.
    reports: LruCache<String, (u64, ExitReport)>,
    kills: LruCache<String, Kill>,
    /// SIGKILLs that somebody sent.
    sent: LruCache<String, Sent>,
}

impl Default for Exits {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            reports: LruCache::new(REMEMBERED),
            kills: LruCache::new(REMEMBERED),
            sent: LruCache::new(REMEMBERED),
        }
    }
}

impl Exits {
    /// Takes an end in. Those that are complete come out of [`Self::ready`].
    pub fn admit(&mut self, now_ns: u64, gone: Gone, report_may_come: bool) {
        let patience = if report_may_come && self.waiting.len() < MOST {
            PATIENCE_NS
        } else {
            0
        };
        let until_ns = now_ns + patience;
        self.waiting.push(Waiting { until_ns, gone });
    }

    /// A runtime has told how a container ended.
    pub fn report(&mut self, now_ns: u64, container_id: String, report: ExitReport) {
        self.reports.put(container_id, (now_ns, report));
    }

    /// The kernel OOM-killed a process of a container; the line that tells so is not out yet.
    pub fn oom_seen(&mut self, container_id: &str, at_ns: u64) {
        let kill = Kill { at_ns, told: None };
        self.kills.put(container_id.to_owned(), kill);
    }

    /// The line is out, with this number if it was wanted.
    pub fn oom_told(&mut self, container_id: &str, seq: Option<u64>) {
        if let Some(kill) = self.kills.get_mut(container_id) {
            kill.told = Some(OomKilled { seq });
        }
    }

    /// Somebody sent a process of a container SIGKILL. The last one counts, and before all others one
    /// to the first process of a PID namespace, with which the container ends.
    pub fn kill_sent(&mut self, container_id: &str, kill: SentKill) {
        let known = self.sent.peek(container_id);
        if known.is_some_and(|known| known.to_first && !kill.to_first) {
            return;
        }
        let sent = Sent {
            at_ns: kill.monotonic_ns,
            to_first: kill.to_first,
            sender: kill.sender,
        };
        self.sent.put(container_id.to_owned(), sent);
    }

    /// When the first one has waited long enough.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.waiting.iter().map(|waiting| waiting.until_ns).min()
    }

    /// The ends of which all is known, and those that have waited long enough (all without a time).
    pub fn ready(&mut self, now_ns: Option<u64>) -> Vec<(Gone, Lifecycle)> {
        let mut ready = Vec::new();
        let mut index = 0;
        while index < self.waiting.len() {
            let waiting = &self.waiting[index];
            let late = now_ns.is_none_or(|now| waiting.until_ns <= now);
            if late || self.is_complete(&waiting.gone) {
                let gone = self.waiting.remove(index).gone;
                let life = self.life(&gone);
                ready.push((gone, life));
            } else {
                index += 1;
            }
        }
        ready
    }

    fn kill_of(&self, gone: &Gone) -> Option<Kill> {
        let kill = self.kills.peek(gone.id()?).copied();
        kill.filter(|kill| gone.has_in_life(kill.at_ns))
    }

    /// Who killed it. What came after its cgroup was gone is of the next life, which may have the same
    /// id, and stays for that one's end.
    fn killer_of(&mut self, gone: &Gone) -> Option<Killer> {
        let id = gone.id()?;
        if self.sent.peek(id)?.at_ns > gone.monotonic_ns {
            return None;
        }
        let sent = self.sent.pop(id)?;
        gone.has_in_life(sent.at_ns).then_some(sent.sender)
    }

    fn is_complete(&self, gone: &Gone) -> bool {
        let report = gone.id().and_then(|id| self.reports.peek(id));
        let kill = self.kill_of(gone);
        report.is_some_and(|(at, _)| gone.has_in_life(*at))
            && kill.is_none_or(|kill| kill.told.is_some())
    }

    fn life(&mut self, gone: &Gone) -> Lifecycle {
        let kill = self
            .kill_of(gone)
            .map(|kill| kill.told.unwrap_or(OomKilled { seq: None }));
        let report = gone.id().and_then(|id| self.reports.pop(id));
        let report = report
            .filter(|(at, _)| gone.has_in_life(*at))
            .map(|(_, report)| report)
            .unwrap_or_default();
        let killer = self.killer_of(gone);
        Lifecycle {
            container: gone.container.clone(),
            lifetime_ns: gone.lifetime_ns,
            restart_count: report.restart_count,
            exit: Exit::judge(&report, kill, killer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{exit::ExitCause, identity::Identity};

    fn gone(at: u64) -> Gone {
        Gone {
            key: CgroupKey::new(1, 7),
            container: Arc::new(Identity {
                container_id: Some("a".to_owned()),
                ..Identity::default()
            }),
            monotonic_ns: at,
            lifetime_ns: Some(100),
        }
    }

    fn report(code: i32) -> ExitReport {
        ExitReport {
            code: Some(code),
            ..ExitReport::default()
        }
    }

    #[test]
    fn waits_for_the_report_and_no_longer_than_it_may() {
        let mut exits = Exits::default();
        exits.admit(1_000, gone(1_000), true);
        assert!(exits.ready(Some(1_001)).is_empty());
        assert_eq!(exits.next_deadline_ns(), Some(1_000 + PATIENCE_NS));
        exits.report(1_002, "b".to_owned(), report(1));
        assert!(exits.ready(Some(1_003)).is_empty());
        exits.report(1_004, "a".to_owned(), report(1));
        let life = exits.ready(Some(1_005)).pop().unwrap().1;
        assert_eq!(life.exit.unwrap().cause, ExitCause::Error);
        // Taken: the next end has a report of its own, or none.
        exits.admit(2_000, gone(2_000), true);
        let late = exits.ready(Some(2_000 + PATIENCE_NS)).pop().unwrap().1;
        assert_eq!(late.exit, None);
        exits.admit(3_000, gone(3_000), false);
        assert_eq!(exits.ready(Some(3_000)).len(), 1);
    }

    #[test]
    fn a_report_of_an_earlier_life_is_none() {
        let mut exits = Exits::default();
        exits.report(500, "a".to_owned(), report(0));
        exits.admit(1_000, gone(1_000), true);
        assert!(exits.ready(Some(1_001)).is_empty());
        // One that came before the cgroup was gone is of this life.
        exits.report(950, "a".to_owned(), report(2));
        assert_eq!(exits.ready(Some(1_001)).len(), 1);
    }

    #[test]
    fn an_oom_kill_is_told_before_the_end_that_it_caused() {
        let mut exits = Exits::default();
        exits.oom_seen("a", 950);
        exits.admit(1_000, gone(1_000), true);
        exits.report(1_001, "a".to_owned(), report(137));
        assert!(exits.ready(Some(1_002)).is_empty());
        exits.oom_told("a", Some(42));
        let exit = exits.ready(Some(1_003)).pop().unwrap().1.exit.unwrap();
        assert_eq!(exit.cause, ExitCause::OomKilled);
        assert_eq!(exit.oom_kill_seq, Some(42));
        // The next life was not.
        exits.admit(2_000, gone(2_000), true);
        exits.report(2_001, "a".to_owned(), report(137));
        let exit = exits.ready(Some(2_002)).pop().unwrap().1.exit.unwrap();
        assert_eq!((exit.cause, exit.oom_kill_seq), (ExitCause::Killed, None));
    }

    #[test]
    fn whoever_killed_the_first_process_is_named() {
        let sent = |at, to_first, pid| SentKill {
            monotonic_ns: at,
            cgroup: None,
            to_first,
            sender: Killer {
                pid,
                command: "reaper".to_owned(),
            },
        };
        let mut exits = Exits::default();
        let mut end = |kills: &[(u64, bool, u32)], at| {
            for &(at, to_first, pid) in kills {
                exits.kill_sent("a", sent(at, to_first, pid));
            }
            exits.admit(at, gone(at), true);
            exits.report(at, "a".to_owned(), report(137));
            let exit = exits.ready(Some(at)).pop().unwrap().1.exit.unwrap();
            exit.killer.map(|killer| killer.pid)
        };
        assert_eq!(end(&[(950, false, 1), (960, false, 2)], 1_000), Some(2));
        let kills = [(1_950, false, 1), (1_960, true, 2), (1_970, false, 3)];
        assert_eq!(end(&kills, 2_000), Some(2));
        assert_eq!(end(&[], 3_000), None);
        // Of a life before, which had the same id.
        assert_eq!(end(&[(3_800, true, 1)], 4_000), None);
        // Of the next life, which began before this one's end was told.
        assert_eq!(end(&[(5_050, true, 1)], 5_000), None);
        assert_eq!(end(&[], 5_100), Some(1));
    }
}
