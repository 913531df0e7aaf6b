//! What is known during a run, and what each thing that happens does to it.

mod agent;
mod cgroups;
mod findings;
mod lives;

use std::collections::HashSet;

use rustix::time::ClockId;
use tracer_common::globals::Signal;
use tracing::debug;

use super::{
    compose::{self, clock_ns},
    containers::{Containers, Files},
    exits::Exits,
    findings::Findings,
    kills::Kills,
    outputs::Outputs,
    own_cost::OwnCost,
    restarts::RestartWatch,
    slots::SlotTable,
    unnamed::Unnamed,
    waiting::WaitingRoom,
};
use crate::{
    analyse::oom_domain::OomJudge,
    events::{Record, decode},
    identity::{
        index::{CgroupIndex, ChangeKind, IndexConfig},
        names::{NameMessage, SourceState},
        resolvers::Resolvers,
    },
    kernel::{
        capabilities::Capabilities,
        cgroup_files::ControllerFiles,
        cgroup_mounts::CgroupLayout,
        host::HostFacts,
        loader::Tracer,
        plan::{Plan, Source},
    },
    model::{
        event::{AgentPhase, EventBody, EventKind},
        identity::CgroupKey,
        plan::PlanSummary,
    },
    sinks::output::Closed,
};

/// How long after a cgroup's end its slot is given anew: the last threads have left by then, and
/// the interval's reading has what they did.
const SLOT_GRACE_NS: u64 = 2_000_000_000;

/// Unnamed containers that are asked for again in an interval: each costs looks into several files.
const ASKED_AGAIN: usize = 64;

/// The state of a run.
pub struct Pipeline {
    tracer: Tracer,
    slots: SlotTable,
    index: CgroupIndex,
    judge: OomJudge,
    containers: Containers,
    findings: Findings,
    restarts: RestartWatch,
    waiting: WaitingRoom,
    unnamed: Unnamed,
    exits: Exits,
    kills: Kills,
    /// Whether a victim's command line comes by itself.
    lines_come: bool,
    files: Files,
    layout: CgroupLayout,
    cost: OwnCost,
    plan: PlanSummary,
    /// Held for the rest of the run.
    capabilities: Capabilities,
    slot_hierarchy: u32,
    memory_hierarchy: u32,
    page_size: u64,
    interval_began_ns: u64,
    attached_after_ns: u64,
    undecodable: u64,
    /// Records of cgroups that were lost when all cgroups were last known.
    births_lost: u64,
    /// Existing cgroups that got no slot.
    slots_refused: u64,
    said_slots_full: bool,
    /// Where among the unnamed the next turn begins.
    asked_again: usize,
    /// Cgroups of the slot hierarchy that are gone and wait for the interval's reading.
    gone: Vec<CgroupKey>,
}

impl Pipeline {
    /// Nothing is known yet.
    pub fn new(
        tracer: Tracer,
        host: &HostFacts,
        plan: &Plan,
        slots: u32,
        findings: Findings,
        restarts: RestartWatch,
    ) -> Self {
        let slot_hierarchy = host.cgroups.slots().map_or(0, |hierarchy| hierarchy.id);
        let memory = host.cgroups.with_controller("memory");
        let files = Files {
            memory: memory.and_then(ControllerFiles::new),
            cpu: host.cgroups.slots().and_then(ControllerFiles::new),
            throttling: plan.source(Signal::CpuThrottle) == Source::CpuStat,
        };
        debug!(slots, slot_hierarchy, "tracing");
        Self {
            tracer,
            slots: SlotTable::new(slot_hierarchy),
            index: CgroupIndex::new(IndexConfig::new(slot_hierarchy)),
            judge: OomJudge::default(),
            containers: Containers::default(),
            findings,
            restarts,
            waiting: WaitingRoom::default(),
            unnamed: Unnamed::default(),
            exits: Exits::default(),
            kills: Kills::default(),
            lines_come: plan.programs().contains(&"signal_deliver"),
            files,
            layout: host.cgroups.clone(),
            cost: OwnCost::new(host.page_size),
            plan: plan.summary(),
            capabilities: host.capabilities,
            slot_hierarchy,
            memory_hierarchy: memory.map_or(0, |hierarchy| hierarchy.id),
            page_size: host.page_size,
            interval_began_ns: clock_ns(ClockId::Monotonic),
            attached_after_ns: 0,
            undecodable: 0,
            births_lost: 0,
            slots_refused: 0,
            said_slots_full: false,
            asked_again: 0,
            gone: Vec::new(),
        }
    }

    /// For attaching.
    pub const fn tracer_mut(&mut self) -> &mut Tracer {
        &mut self.tracer
    }

    /// A record from before the start: only births and deaths count.
    pub fn early_record(&mut self, bytes: &[u8]) {
        match decode(bytes) {
            Ok(Record::Cgroup(event)) => {
                let _ = self.cgroup(&event);
            }
            Ok(_) => {}
            Err(error) => self.cannot_decode(&error),
        }
    }

    fn cannot_decode(&mut self, error: &dyn std::error::Error) {
        self.undecodable += 1;
        debug!("{error}");
    }

    /// All hooks are attached.
    pub fn start(&mut self, outputs: &mut Outputs, started_ns: u64) -> Result<(), Closed> {
        let now = clock_ns(ClockId::Monotonic);
        self.attached_after_ns = now.saturating_sub(started_ns);
        // What happened while it was being set up belongs to no interval.
        self.tracer.end_epoch();
        self.slots.read(&self.tracer, |_| {});
        self.slots.read_neighbours(&self.tracer);
        self.containers.start(&self.index, &self.files);
        self.interval_began_ns = now;
        self.sample_memory(&HashSet::new(), now);
        self.agent(AgentPhase::Start, now, outputs)?;
        outputs.beat();
        outputs.flush()
    }

    /// Takes one record.
    pub fn record(
        &mut self,
        bytes: &[u8],
        outputs: &mut Outputs,
        resolvers: &Resolvers,
    ) -> Result<(), Closed> {
        let record = match decode(bytes) {
            Ok(record) => record,
            Err(error) => {
                self.cannot_decode(&error);
                return Ok(());
            }
        };
        match record {
            Record::Cgroup(event) => {
                let Some(change) = self.cgroup(&event) else {
                    return Ok(());
                };
                resolvers.ask(&change.identity);
                if matches!(change.kind, ChangeKind::Removed { .. }) {
                    resolvers.ask_exit(&change.identity);
                }
                self.changed(change, event.monotonic_ns, outputs)
            }
            Record::OomKill(kill) => {
                if self.judge.is_repeated(&kill) {
                    return Ok(());
                }
                let mut event = compose::oom_kill(
                    &kill,
                    &mut self.judge,
                    &self.index,
                    self.files.memory.as_ref(),
                    self.page_size,
                );
                self.put_context(&mut event, kill.monotonic_ns);
                resolvers.ask(&event.container);
                if let Some(id) = event.container.container_id.as_deref() {
                    self.exits.oom_seen(id, kill.monotonic_ns);
                }
                let now = clock_ns(ClockId::Monotonic);
                let at = kill.monotonic_ns;
                match (self.kills).admit(now, at, Box::new(event), self.lines_come) {
                    Some(event) => self.emit(at, EventBody::OomKill(event), outputs),
                    None => Ok(()),
                }
            }
            Record::OomCommandLine(line) => {
                self.kills.command_line(line);
                let now = clock_ns(ClockId::Monotonic);
                self.tell_kills(Some(now), outputs)
            }
            Record::Kill(kill) => {
                let of = |key| self.index.identity(self.index.owner(key));
                let container = kill.cgroup.and_then(of);
                if let Some(id) = container.as_ref().and_then(|c| c.container_id.as_deref()) {
                    self.exits.kill_sent(id, kill);
                }
                Ok(())
            }
            Record::Throttle(interval) => {
                self.containers.throttled(&interval, &self.index);
                if !outputs.wants(EventKind::CpuThrottle) {
                    return Ok(());
                }
                let event = compose::throttle(&interval, &self.index);
                self.emit(
                    interval.monotonic_ns,
                    EventBody::CpuThrottle(Box::new(event)),
                    outputs,
                )
            }
        }
    }

    /// A runtime has said something.
    pub fn name(&mut self, message: NameMessage, outputs: &mut Outputs) -> Result<(), Closed> {
        if let NameMessage::State { source, state } = &message {
            let (resolver, place) = (source.resolver, &source.place);
            match state {
                SourceState::Connected => debug!("names come from {resolver} at {place}"),
                SourceState::Absent => debug!("no names from {resolver}: {place} is not there"),
                SourceState::Unavailable(why) => debug!("no names from {resolver}: {why}"),
            }
        }
        let now = clock_ns(ClockId::Monotonic);
        if let NameMessage::Exit { container_id, exit } = message {
            self.exits.report(now, container_id, exit);
            return self.end_ready(outputs);
        }
        for change in self.index.apply(message) {
            self.changed(change, now, outputs)?;
        }
        Ok(())
    }

    /// An interval is over.
    pub fn interval(&mut self, outputs: &mut Outputs, resolvers: &Resolvers) -> Result<(), Closed> {
        self.recover_cgroups(outputs, Some(resolvers))?;
        let now = self.read_slots(outputs)?;
        self.ask_again(resolvers);
        for key in std::mem::take(&mut self.gone) {
            self.slots
                .gone(&mut self.tracer, key.id, now + SLOT_GRACE_NS);
        }
        self.slots.free(&mut self.tracer, now);
        let stable = self.restarts.interval(now);
        self.tell_findings(stable, now, outputs)?;
        for change in self.index.expire(now) {
            self.changed(change, now, outputs)?;
        }
        outputs.interval();
        self.agent(AgentPhase::Interval, now, outputs)
    }

    /// Asks for containers that nobody could name yet, e.g. while their runtime was away: all of them in
    /// turn, where there are many.
    fn ask_again(&mut self, resolvers: &Resolvers) {
        let mut unnamed: Vec<_> = (self.index.live_owners())
            .filter(|(_, identity)| identity.unresolved.is_some())
            .collect();
        unnamed.sort_unstable_by_key(|(key, _)| (key.hierarchy, key.id));
        let from = self.asked_again.checked_rem(unnamed.len()).unwrap_or(0);
        let turn = unnamed.iter().cycle().skip(from);
        for (_, identity) in turn.take(unnamed.len().min(ASKED_AGAIN)) {
            resolvers.ask(identity);
        }
        self.asked_again = from + ASKED_AGAIN;
    }

    /// Finds the cgroups whose records were lost.
    fn recover_cgroups(
        &mut self,
        outputs: &mut Outputs,
        resolvers: Option<&Resolvers>,
    ) -> Result<(), Closed> {
        let now = clock_ns(ClockId::Monotonic);
        for change in self.recover() {
            if let Some(resolvers) = resolvers {
                resolvers.ask(&change.identity);
            }
            self.changed(change, now, outputs)?;
        }
        Ok(())
    }

    fn read_slots(&mut self, outputs: &mut Outputs) -> Result<u64, Closed> {
        let now = clock_ns(ClockId::Monotonic);
        let interval_ns = now.saturating_sub(self.interval_began_ns);
        self.interval_began_ns = now;
        self.tracer.end_epoch();
        let all = self.containers.read(
            &mut self.slots,
            &self.tracer,
            &self.index,
            &self.files,
            interval_ns,
        );
        self.tell_stats(all, interval_ns, now, outputs)?;
        Ok(now)
    }

    /// The run is over.
    pub fn stop(&mut self, outputs: &mut Outputs) -> Result<(), Closed> {
        self.recover_cgroups(outputs, None)?;
        self.let_go(None, outputs)?;
        for (at, body) in self.waiting.expired(None) {
            self.put(at, body, outputs)?;
        }
        self.findings.stop_looking();
        let now = self.read_slots(outputs)?;
        let mut ended = self.findings.stop(now);
        ended.extend(self.restarts.stop(now));
        self.tell_findings(ended, now, outputs)?;
        for (at, body) in self.waiting.expired(None) {
            self.put(at, body, outputs)?;
        }
        outputs.interval();
        self.agent(AgentPhase::Stop, now, outputs)
    }
}
