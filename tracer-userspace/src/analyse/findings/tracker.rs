//! Beginnings and ends of findings: what holds in enough intervals in a row begins, what does not
//! hold in enough of them ends.

use std::collections::HashMap;

use super::{Observation, Part, RULES, Thresholds, Verdict};
use crate::model::{
    finding::{Finding, FindingEvent, FindingKind, FindingPhase},
    identity::SharedIdentity,
};

/// The findings of one container.
#[derive(Clone, Debug, Default)]
pub struct Tracker {
    states: HashMap<FindingKind, State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// Intervals in a row in which it held.
    held: u32,
    /// Intervals in a row in which it clearly did not.
    clear: u32,
    /// Since when, and as it was last seen.
    active: Option<(u64, Finding)>,
}

impl Tracker {
    /// Judges an interval that ended at `now_ns` by some of the rules, and tells what began and ended.
    pub fn observe(
        &mut self,
        part: Part,
        observation: &Observation<'_>,
        thresholds: &Thresholds,
        now_ns: u64,
    ) -> Vec<FindingEvent> {
        let container = &observation.stats.container;
        let mut events = Vec::new();
        let asks = part == Part::Processes;
        for rule in RULES.iter().filter(|rule| rule.asks == asks) {
            let verdict = (rule.judge)(observation, thresholds);
            if verdict == Verdict::Clear && !self.states.contains_key(&rule.kind) {
                continue;
            }
            let state = self.states.entry(rule.kind).or_default();
            match verdict {
                Verdict::Holds(finding) => {
                    state.held += 1;
                    state.clear = 0;
                    if let Some((_, last)) = &mut state.active {
                        *last = *finding;
                    } else if state.held >= rule.begin_after {
                        events.push(event(container, FindingPhase::Start, None, &finding));
                        state.active = Some((now_ns, *finding));
                    }
                }
                Verdict::Between => (state.held, state.clear) = (0, 0),
                Verdict::Clear => {
                    state.held = 0;
                    state.clear += 1;
                    if state.clear < rule.end_after && state.active.is_some() {
                        continue;
                    }
                    if let Some((since, finding)) = state.active.take() {
                        let lasted = Some(now_ns.saturating_sub(since));
                        events.push(event(container, FindingPhase::End, lasted, &finding));
                    }
                    self.states.remove(&rule.kind);
                }
            }
        }
        events
    }

    /// The container is gone, or the run is over: everything ends.
    pub fn end(&mut self, container: &SharedIdentity, now_ns: u64) -> Vec<FindingEvent> {
        let mut ended: Vec<_> = self
            .states
            .drain()
            .filter_map(|(_, state)| state.active)
            .map(|(since, finding)| {
                let lasted = Some(now_ns.saturating_sub(since));
                event(container, FindingPhase::End, lasted, &finding)
            })
            .collect();
        ended.sort_by_key(|event| event.finding.kind);
        ended
    }

    /// Whether nothing holds or is about to begin.
    pub fn is_at_rest(&self) -> bool {
        self.states.is_empty()
    }
}

fn event(
    container: &SharedIdentity,
    phase: FindingPhase,
    lasted_ns: Option<u64>,
    finding: &Finding,
) -> FindingEvent {
    FindingEvent {
        container: container.clone(),
        phase,
        lasted_ns,
        finding: finding.clone(),
    }
}
