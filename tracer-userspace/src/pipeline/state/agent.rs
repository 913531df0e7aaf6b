//! What the agent may do, and what it says about itself.

use tracer_common::counters;
use tracing::{info, warn};

use super::{Outputs, Pipeline};
use crate::{
    kernel::privileges::{self, Later},
    model::event::{AgentEvent, AgentPhase, EventBody, Lost},
    sinks::output::Closed,
};

impl Pipeline {
    /// Gives up every capability that the rest of the run can do without. To be called while there
    /// is one thread.
    pub fn give_up_capabilities(&mut self, later: &Later) {
        match privileges::give_up(later, || self.tracer.maps_answer()) {
            Ok(kept) => self.capabilities = kept,
            Err(error) => warn!("capabilities could not be given up: {error}"),
        }
        match &self.capabilities.names()[..] {
            [] => info!("no capability is held for the rest of the run"),
            names => info!("held for the rest of the run: {}", names.join(", ")),
        }
        match privileges::threads_with_more(self.capabilities) {
            0 => {}
            more => warn!("{more} threads hold capabilities that are not needed any more"),
        }
    }

    /// Writes an `agent` event.
    pub(super) fn agent(
        &mut self,
        phase: AgentPhase,
        now: u64,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        let cost = (phase != AgentPhase::Start).then(|| self.cost.reading(&self.tracer));
        let event = AgentEvent {
            phase,
            plan: self.plan.clone(),
            lost: self.lost(outputs),
            names: self.unnamed.counts(),
            capabilities: self.capabilities.names(),
            unwatched: self.findings.unwatched(),
            looks_awaited: self.findings.looks_awaited(now),
            cost,
            attached_after_ns: self.attached_after_ns,
        };
        outputs.emit(now, EventBody::Agent(Box::new(event)))
    }

    fn lost(&self, outputs: &Outputs) -> Lost {
        let count = |counter| self.tracer.counter(counter);
        Lost {
            ring: count(counters::LOST_RING_OOM)
                + count(counters::LOST_RING_THROTTLE)
                + count(counters::LOST_RING_CGROUP),
            slots: count(counters::LOST_SLOTS) + self.slots_refused + self.index.refused(),
            clock: count(counters::LOST_CLOCK),
            undecodable: self.undecodable,
            sink: outputs.lost(),
            maps: count(counters::LOST_MAP_FULL)
                + count(counters::LOST_THROTTLE_LIST)
                + count(counters::LOST_CPU),
            reads: count(counters::FAILED_READ),
            unseen_throttle_ns: self.containers.unseen_throttle_ns,
        }
    }
}
