//! Births and ends of containers, and the events that wait for more to be known.

use std::{sync::Arc, time::Duration};

use rustix::time::ClockId;
use tokio::time::Instant;

use super::Pipeline;
use crate::{
    identity::index::{Change, ChangeKind},
    model::{
        event::{EventBody, EventKind, Lifecycle},
        identity::Level,
    },
    pipeline::{compose::clock_ns, exits::Gone, outputs::Outputs, waiting},
    sinks::output::Closed,
};

impl Pipeline {
    /// Tells what became of a container.
    pub(super) fn changed(
        &mut self,
        change: Change,
        monotonic_ns: u64,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        let container = change.identity;
        if matches!(change.kind, ChangeKind::Removed { .. }) {
            let ended = self.findings.removed(change.key, monotonic_ns);
            self.tell_findings(ended, monotonic_ns, outputs)?;
        }
        let runs = matches!(
            change.kind,
            ChangeKind::Started { born_ns: Some(_) } | ChangeKind::Renamed
        );
        if runs && container.level == Level::Container && self.index.is_live(change.key) {
            self.restarts.started(&container, monotonic_ns);
        }
        match change.kind {
            // A reason is no name: another source may still have one.
            ChangeKind::Renamed
                if container.container_name.is_none() && self.index.name_may_come(&container) =>
            {
                Ok(())
            }
            ChangeKind::Renamed => {
                for (at, body) in self.waiting.named(&container) {
                    self.put(at, body, outputs)?;
                }
                if let Some(event) = self.unnamed.named(&container) {
                    let lines = event.lines;
                    let before = outputs.seq();
                    self.put(monotonic_ns, EventBody::ContainerNamed(event), outputs)?;
                    if outputs.seq() > before {
                        self.unnamed.completed(lines);
                    }
                }
                self.end_ready(outputs)
            }
            ChangeKind::Forgotten => {
                self.containers.gone(change.key);
                self.findings.forgotten(change.key);
                Ok(())
            }
            ChangeKind::Started { born_ns: Some(_) } if container.level == Level::Container => {
                let life = Lifecycle {
                    restart_count: container.restart_count,
                    container,
                    lifetime_ns: None,
                    exit: None,
                };
                self.emit(monotonic_ns, EventBody::ContainerStart(life), outputs)
            }
            ChangeKind::Removed { lifetime_ns } if container.level == Level::Container => {
                let now = clock_ns(ClockId::Monotonic);
                let wanted =
                    [EventKind::ContainerExit, EventKind::Finding].map(|kind| outputs.wants(kind));
                let report_may_come =
                    self.index.exit_may_come(&container) && wanted.contains(&true);
                let gone = Gone {
                    key: change.key,
                    container,
                    monotonic_ns,
                    lifetime_ns,
                };
                self.exits.admit(now, gone, report_may_come);
                self.end(Some(now), outputs)
            }
            ChangeKind::Started { .. } | ChangeKind::Removed { .. } => Ok(()),
        }
    }

    /// Writes an event, or lets it wait for a name.
    pub(super) fn emit(
        &mut self,
        monotonic_ns: u64,
        mut body: EventBody,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        let now = clock_ns(ClockId::Monotonic);
        // The name came after the event was put together: a kill was held back, a finding has begun
        // long ago. It would complete this line no more.
        let unnamed = waiting::container(&body).filter(|who| waiting::is_nameless(who));
        if let Some(named) = unnamed.and_then(|who| self.index.as_known_now(who)) {
            waiting::rename(&mut body, &named);
        }
        let name_may_come =
            waiting::container(&body).is_some_and(|who| self.index.name_may_come(who));
        match self.waiting.admit(now, monotonic_ns, body, name_may_come) {
            Some(body) => {
                self.put(monotonic_ns, body, outputs)?;
                self.end_ready(outputs)
            }
            None => Ok(()),
        }
    }

    /// Writes an event, and notes which line tells of an OOM kill and which lacks a name.
    pub(super) fn put(
        &mut self,
        monotonic_ns: u64,
        body: EventBody,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        let killed = match &body {
            EventBody::OomKill(event) => event.container.container_id.clone(),
            _ => None,
        };
        let container = waiting::container(&body).map(Arc::clone);
        let before = outputs.seq();
        outputs.emit(monotonic_ns, body)?;
        if let Some(container) = container.filter(|_| outputs.seq() > before) {
            self.unnamed.told(&container, outputs.seq());
        }
        if let Some(id) = killed {
            let seq = outputs.seq();
            self.exits.oom_told(&id, (seq > before).then_some(seq));
        }
        Ok(())
    }

    /// Tells the ends of containers of which all is known now.
    pub(super) fn end_ready(&mut self, outputs: &mut Outputs) -> Result<(), Closed> {
        if self.exits.next_deadline_ns().is_none() {
            return Ok(());
        }
        self.end(Some(clock_ns(ClockId::Monotonic)), outputs)
    }

    /// The same, and of those that have waited long enough (all without a time).
    pub(super) fn end(&mut self, now_ns: Option<u64>, outputs: &mut Outputs) -> Result<(), Closed> {
        for (gone, mut life) in self.exits.ready(now_ns) {
            // Its name may have come since.
            if let Some(container) = self.index.identity(gone.key) {
                life.container = container;
            }
            let at = gone.monotonic_ns;
            // By the count that came with the end: what was known before says nothing of it.
            let found = self.restarts.ended(&life, at);
            life.restart_count = life.restart_count.or(life.container.restart_count);
            self.emit(at, EventBody::ContainerExit(life), outputs)?;
            self.tell_findings(found, at, outputs)?;
        }
        Ok(())
    }

    /// When the first waiting event goes out without a name.
    pub fn next_deadline(&self) -> Option<Instant> {
        let at = [
            self.waiting.next_deadline_ns(),
            self.kills.next_deadline_ns(),
            self.exits.next_deadline_ns(),
        ]
        .into_iter()
        .flatten()
        .min()?;
        let now = clock_ns(ClockId::Monotonic);
        Some(Instant::now() + Duration::from_nanos(at.saturating_sub(now)))
    }

    /// Lets go what has waited long enough.
    pub fn stop_waiting(&mut self, outputs: &mut Outputs) -> Result<(), Closed> {
        let now = clock_ns(ClockId::Monotonic);
        self.let_go(Some(now), outputs)
    }

    /// Tells the OOM kills of which all is known, or all of them.
    pub(super) fn tell_kills(
        &mut self,
        now_ns: Option<u64>,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        for (at, event) in self.kills.complete(now_ns) {
            self.emit(at, EventBody::OomKill(event), outputs)?;
        }
        Ok(())
    }

    pub(super) fn let_go(
        &mut self,
        now_ns: Option<u64>,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        self.tell_kills(now_ns, outputs)?;
        for (at, body) in self.waiting.expired(now_ns) {
            self.put(at, body, outputs)?;
        }
        self.end(now_ns, outputs)
    }
}
