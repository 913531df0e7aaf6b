//! What is wrong with containers, told beside what they did.

use std::{collections::HashSet, io};

use tokio::sync::mpsc::UnboundedSender;

use super::{Outputs, Pipeline};
use crate::{
    model::{
        event::EventBody, finding::FindingEvent, identity::CgroupKey, oom::OomKillEvent,
        stats::ContainerStats,
    },
    pipeline::findings::{Context, Look, Looks},
    sinks::output::Closed,
};

impl Pipeline {
    /// Makes the thread that looks into processes, where findings are wanted: with the capabilities
    /// of this moment.
    pub fn start_looking(&mut self, answers: UnboundedSender<Look>) -> io::Result<()> {
        if let Some(files) = self.files.cpu.clone()
            && self.findings.are_wanted()
        {
            self.findings.look_by(Looks::start(files, answers)?);
        }
        Ok(())
    }

    /// A look into a container's processes is done.
    pub fn looked(&mut self, look: Look, outputs: &mut Outputs) -> Result<(), Closed> {
        match self.findings.looked(look) {
            Some((ended_ns, found)) => self.tell_findings(found, ended_ns, outputs),
            None => Ok(()),
        }
    }

    /// Takes a sample of everybody's memory. `active` are those that did something.
    pub(super) fn sample_memory(&mut self, active: &HashSet<CgroupKey>, now: u64) {
        let hierarchy = self.slot_hierarchy;
        (self.findings).sample(&self.index, &self.files, hierarchy, active, now);
    }

    /// Writes what containers did, and what follows from it.
    pub(super) fn tell_stats(
        &mut self,
        all: Vec<(CgroupKey, ContainerStats)>,
        interval_ns: u64,
        now: u64,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        self.settle_findings(outputs)?;
        let active = all.iter().map(|(owner, _)| *owner).collect();
        self.sample_memory(&active, now);
        let files = self.files.cpu.as_ref();
        let mut context = Context::new(&self.index, files, outputs.filter(), &all, interval_ns);
        let findings = &mut self.findings;
        let found: Vec<Vec<FindingEvent>> = (all.iter())
            .map(|(owner, stats)| findings.observe(*owner, stats, &mut context, now))
            .collect();
        let idle = findings.observe_idle(&mut context, interval_ns, now);
        for ((_, stats), found) in all.into_iter().zip(found) {
            outputs.account(&stats, now);
            self.put(now, EventBody::ContainerStats(Box::new(stats)), outputs)?;
            self.tell_findings(found, now, outputs)?;
        }
        self.tell_findings(idle, now, outputs)
    }

    /// Writes what follows from intervals that still wait for a look.
    fn settle_findings(&mut self, outputs: &mut Outputs) -> Result<(), Closed> {
        self.findings.replace_hanging();
        let settled = self.findings.settle_all();
        settled
            .into_iter()
            .try_for_each(|(ended_ns, found)| self.tell_findings(found, ended_ns, outputs))
    }

    /// Writes findings that began or ended.
    pub(super) fn tell_findings(
        &mut self,
        found: Vec<FindingEvent>,
        now: u64,
        outputs: &mut Outputs,
    ) -> Result<(), Closed> {
        found
            .into_iter()
            .try_for_each(|event| self.emit(now, EventBody::Finding(Box::new(event)), outputs))
    }

    /// Puts to an OOM kill what was known before it. To be called at once: the victim's neighbours
    /// may be next.
    pub(super) fn put_context(&self, event: &mut OomKillEvent, kill_ns: u64) {
        let context = self.findings.oom_context(event, kill_ns, &self.files);
        event.context = Some(Box::new(context));
    }
}
