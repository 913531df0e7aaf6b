//! OOM kills, held back for a moment until all of them is known.
//!
//! The victim's command line comes with a record of its own, when it takes its SIGKILL. And with
//! `memory.oom.group` the kernel kills every process of a cgroup, one right after the other. Their
//! events say how many they are, so the first waits for the last: until no further one has come for
//! [`QUIET_NS`].
//!
//! They go out in the order in which the kernel killed.

use std::collections::VecDeque;

use crate::{events::CommandLine, model::oom::OomKillEvent};

/// How long a kill waits for the victim's command line, in nanoseconds. A victim that sleeps in the
/// kernel or has no CPU takes its SIGKILL later.
pub const COMMAND_LINE_NS: u64 = 20_000_000;
/// How long after the last victim a group is taken for complete, in nanoseconds. The kernel logs each
/// victim before it goes on to the next, and a line takes 20 ms on a serial console of 115,200 baud.
pub const QUIET_NS: u64 = 30_000_000;
/// Most kills that are held back.
const MOST: usize = 65_536;

struct Held {
    /// Until when its group may get another victim.
    group_until_ns: u64,
    /// Until when its command line is waited for; 0 once it is there.
    line_until_ns: u64,
    monotonic_ns: u64,
    event: Box<OomKillEvent>,
}

impl Held {
    fn until_ns(&self) -> u64 {
        self.group_until_ns.max(self.line_until_ns)
    }
}

/// Kills under way.
#[derive(Default)]
pub struct Kills {
    held: VecDeque<Held>,
}

impl Kills {
    /// Takes a kill in; gives it back if there is nothing to wait for.
    pub fn admit(
        &mut self,
        now_ns: u64,
        monotonic_ns: u64,
        event: Box<OomKillEvent>,
        line_comes: bool,
    ) -> Option<Box<OomKillEvent>> {
        if self.held.len() >= MOST || !(event.group || line_comes) {
            return Some(event);
        }
        let mut group_until_ns = 0;
        if event.group {
            group_until_ns = now_ns + QUIET_NS;
            for held in &mut self.held {
                if held.event.group && held.event.trigger_thread == event.trigger_thread {
                    held.group_until_ns = group_until_ns;
                    held.event.victims = held.event.victims.max(event.victims);
                }
            }
        }
        self.held.push_back(Held {
            group_until_ns,
            line_until_ns: if line_comes {
                now_ns + COMMAND_LINE_NS
            } else {
                0
            },
            monotonic_ns,
            event,
        });
        None
    }

    /// A victim has told its command line.
    pub fn command_line(&mut self, line: CommandLine) {
        let of_it = |held: &&mut Held| held.line_until_ns != 0 && held.event.victim.pid == line.pid;
        if let Some(held) = self.held.iter_mut().find(of_it) {
            held.line_until_ns = 0;
            held.event.victim_command_line = line.text;
        }
    }

    /// When the first one goes out, whatever is missing.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.held.front().map(Held::until_ns)
    }

    /// The first ones, as long as all is known of them; or all of them.
    pub fn complete(&mut self, now_ns: Option<u64>) -> Vec<(u64, Box<OomKillEvent>)> {
        let is_complete = |held: &Held| now_ns.is_none_or(|now| held.until_ns() <= now);
        let count = self
            .held
            .iter()
            .take_while(|held| is_complete(held))
            .count();
        (self.held.drain(..count))
            .map(|held| (held.monotonic_ns, held.event))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::samples;

    fn victim(number: u32, thread: u32, group: bool) -> Box<OomKillEvent> {
        let mut event = samples::oom();
        event.group = group;
        event.victim.pid = number;
        event.victim_command_line = None;
        event.victim_number = number;
        event.victims = number;
        event.trigger_thread = thread;
        Box::new(event)
    }

    fn line(pid: u32, text: &str) -> CommandLine {
        CommandLine {
            pid,
            text: Some(text.to_owned()),
        }
    }

    #[test]
    fn every_victim_tells_how_many_there_are() {
        let mut kills = Kills::default();
        for number in 1..=3 {
            let event = victim(number, 7, true);
            assert!(kills.admit(u64::from(number), 0, event, false).is_none());
        }
        assert!(kills.admit(3, 0, victim(1, 8, true), false).is_none());
        assert!(
            kills.complete(Some(2 + QUIET_NS)).is_empty(),
            "the last was at 3"
        );
        let all = kills.complete(Some(3 + QUIET_NS));
        let victims: Vec<u32> = all.iter().map(|(_, event)| event.victims).collect();
        assert_eq!(victims, [3, 3, 3, 1]);
    }

    #[test]
    fn a_kill_waits_for_its_command_line_and_not_for_ever() {
        let mut kills = Kills::default();
        assert!(kills.admit(0, 0, victim(1, 7, false), false).is_some());
        for pid in 1..=3 {
            assert!(kills.admit(0, 0, victim(pid, 7, false), true).is_none());
        }
        kills.command_line(line(2, "a second one"));
        assert!(kills.complete(Some(1)).is_empty(), "the first is first");
        kills.command_line(line(4, "somebody else"));
        kills.command_line(line(1, "java -jar app.jar"));
        let told = kills.complete(Some(1));
        assert_eq!(told.len(), 2);
        let text = told[0].1.victim_command_line.as_deref();
        assert_eq!(text, Some("java -jar app.jar"));
        assert_eq!(kills.next_deadline_ns(), Some(COMMAND_LINE_NS));
        let rest = kills.complete(Some(COMMAND_LINE_NS));
        assert_eq!(rest.len(), 1);
        assert_eq!(rest[0].1.victim_command_line, None);
        // A group's waits for both.
        assert!(kills.admit(0, 0, victim(5, 7, true), true).is_none());
        kills.command_line(line(5, "x"));
        assert!(kills.complete(Some(1)).is_empty());
        assert_eq!(kills.complete(Some(QUIET_NS)).len(), 1);
    }
}
