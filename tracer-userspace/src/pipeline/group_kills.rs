//! Victims of a group kill, held back until all are known.
//!
//! With `memory.oom.group` the kernel kills every process of a cgroup, one right after the other.
//! Their events say how many they are, so the first waits for the last: until no further one has
//! come for [`QUIET_NS`].

use crate::model::oom::OomKillEvent;

/// How long after the last victim the group is taken for complete, in nanoseconds.
pub const QUIET_NS: u64 = 5_000_000;
/// Most victims that are held back.
const MOST: usize = 65_536;

struct Held {
    until_ns: u64,
    monotonic_ns: u64,
    event: Box<OomKillEvent>,
}

/// Group kills under way.
#[derive(Default)]
pub struct GroupKills {
    held: Vec<Held>,
}

impl GroupKills {
    /// Takes a victim of a group kill in; gives any other back.
    pub fn admit(
        &mut self,
        now_ns: u64,
        monotonic_ns: u64,
        event: Box<OomKillEvent>,
    ) -> Option<Box<OomKillEvent>> {
        if !event.group || self.held.len() >= MOST {
            return Some(event);
        }
        let until_ns = now_ns + QUIET_NS;
        for held in &mut self.held {
            if held.event.trigger_thread == event.trigger_thread {
                held.until_ns = until_ns;
                held.event.victims = held.event.victims.max(event.victims);
            }
        }
        self.held.push(Held {
            until_ns,
            monotonic_ns,
            event,
        });
        None
    }

    /// When the first group is complete.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.held.iter().map(|held| held.until_ns).min()
    }

    /// The victims of complete groups, or all of them.
    pub fn complete(&mut self, now_ns: Option<u64>) -> Vec<(u64, Box<OomKillEvent>)> {
        self.held
            .extract_if(.., |held| now_ns.is_none_or(|now| held.until_ns <= now))
            .map(|held| (held.monotonic_ns, held.event))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::samples;

    fn victim(number: u32, thread: u32) -> Box<OomKillEvent> {
        let mut event = samples::oom();
        event.group = true;
        event.victim_number = number;
        event.victims = number;
        event.trigger_thread = thread;
        Box::new(event)
    }

    #[test]
    fn every_victim_tells_how_many_there_are() {
        let mut groups = GroupKills::default();
        for number in 1..=3 {
            assert!(
                groups
                    .admit(u64::from(number), 0, victim(number, 7))
                    .is_none()
            );
        }
        assert!(groups.admit(3, 0, victim(1, 8)).is_none());
        assert!(
            groups.complete(Some(2 + QUIET_NS)).is_empty(),
            "the last was at 3"
        );
        let all = groups.complete(Some(3 + QUIET_NS));
        let victims: Vec<u32> = all.iter().map(|(_, event)| event.victims).collect();
        assert_eq!(victims, [3, 3, 3, 1]);
    }

    #[test]
    fn a_single_kill_does_not_wait() {
        let mut event = victim(1, 7);
        event.group = false;
        assert!(GroupKills::default().admit(0, 0, event).is_some());
    }
}
