//! Which cgroups count in which slot, and what each slot had counted when it was last read.

use std::collections::HashMap;

use anyhow::{Context, Result};
use tracer_common::{
    log_linear::BUCKETS,
    maps::{
        CpuState, HIST_FROZEN_TIME, HIST_ON_CPU_SLICE, HIST_RUN_QUEUE_WAIT,
        HIST_THROTTLED_INTERVAL, HISTOGRAMS, Histogram as Counts, SLOT_FLAG_CONTAINER,
        SLOT_UNKNOWN,
    },
    peaks,
};

use crate::{
    analyse::difference::{Totals, histogram_since},
    kernel::loader::Tracer,
    model::{
        identity::CgroupKey,
        stats::{IntervalHistograms, SchedStats, ThreadPeaks, ThrottleStats},
    },
};

/// What a slot did since it was last read.
#[derive(Clone, Debug)]
pub struct Activity {
    /// The cgroup that the slot was given to.
    pub cgroup: CgroupKey,
    /// Scheduling.
    pub sched: SchedStats,
    /// Throttling.
    pub throttle: ThrottleStats,
    /// Throttled time since the slot was given, in nanoseconds, for the audit.
    pub throttled_total_ns: u64,
    /// Histograms.
    pub histograms: IntervalHistograms,
}

impl Activity {
    /// Of a cgroup that did nothing but be throttled.
    pub fn of_throttling(cgroup: CgroupKey, throttle: ThrottleStats) -> Self {
        Self {
            cgroup,
            sched: SchedStats::default(),
            throttle,
            throttled_total_ns: 0,
            histograms: IntervalHistograms::default(),
        }
    }
}

/// One slot. What it had counted is kept when it is given to another cgroup: the programs never
/// reset anything.
#[derive(Default)]
struct Slot {
    /// The cgroup it was given to; `None` while it is free.
    cgroup: Option<CgroupKey>,
    /// Ids of the cgroups that count in it.
    ids: Vec<u64>,
    totals: Totals,
    /// Empty until the first value comes.
    histograms: Vec<Counts>,
    throttled_at_start_ns: u64,
    /// Threads that had run in even and in odd epochs.
    threads_ran: [u64; 2],
    /// Threads that ran in an epoch of which nothing has been told.
    untold_threads: u64,
}

/// All slots that were ever given.
pub struct SlotTable {
    hierarchy: u32,
    slots: HashMap<u32, Slot>,
    slot_of: HashMap<u64, u32>,
    /// Slots whose cgroups are gone, with the time from which they may be given anew.
    leaving: Vec<(u64, u32)>,
    /// What the map of neighbours had when it was last read.
    neighbours: HashMap<u64, u64>,
    /// What each CPU ran when the slots were last read.
    cpus: Vec<CpuState>,
}

/// How long one cgroup waited for another, in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitedFor {
    pub waiting: CgroupKey,
    /// `None` where it is no cgroup that has a slot.
    pub running: Option<CgroupKey>,
    pub ns: u64,
}

impl SlotTable {
    /// For the cgroups of one hierarchy. The slot of the unknown belongs to nobody.
    pub fn new(hierarchy: u32) -> Self {
        Self {
            hierarchy,
            slots: HashMap::new(),
            slot_of: HashMap::new(),
            leaving: Vec::new(),
            neighbours: HashMap::new(),
            cpus: Vec::new(),
        }
    }

    /// The programs gave the cgroup a slot when it was made.
    pub fn given(&mut self, tracer: &Tracer, id: u64, slot: u32) {
        let entry = self.slots.entry(slot).or_default();
        if entry.cgroup.is_none() {
            entry.cgroup = Some(CgroupKey::new(self.hierarchy, id));
            entry.throttled_at_start_ns = read_totals(tracer, slot).slot.throttled_ns;
        }
        if !entry.ids.contains(&id) {
            entry.ids.push(id);
        }
        self.slot_of.insert(id, slot);
    }

    /// Gives a slot to a cgroup that was there before the programs. `parent` is a container that it
    /// is nested in, whose slot it shares.
    pub fn give(&mut self, tracer: &mut Tracer, id: u64, container: Option<u64>) -> Result<()> {
        if self.slot_of.contains_key(&id) {
            return Ok(());
        }
        if let Ok(slot) = tracer.slot_of_cgroup.get(&id, 0) {
            // The programs were faster.
            self.given(tracer, id, slot);
            return Ok(());
        }
        let shared = container.and_then(|container| self.slot_of.get(&container).copied());
        let slot = if let Some(slot) = shared {
            slot
        } else {
            let slot = tracer.free_slots.pop(0).context("no slot is free")?;
            own(tracer, slot, id)?;
            slot
        };
        tracer
            .slot_of_cgroup
            .insert(id, slot, 0)
            .context("the map of slots is full")?;
        self.given(tracer, id, slot);
        Ok(())
    }

    /// Tasks of an autogroup have no cgroup of their own in the cpu hierarchy: id 0 is the root.
    pub fn share_root_with_autogroups(&self, tracer: &mut Tracer, root: u64) -> Result<()> {
        if let Some(slot) = self.slot_of.get(&root) {
            tracer
                .slot_of_cgroup
                .insert(0, *slot, 0)
                .context("the map of slots is full")?;
        }
        Ok(())
    }

    /// Cgroups made below this one from now on share its slot.
    pub fn mark_container(&self, tracer: &mut Tracer, id: u64) {
        if let Some(slot) = self.slot_of.get(&id) {
            let _ = tracer.slot_flags.set(*slot, SLOT_FLAG_CONTAINER, 0);
        }
    }

    /// The cgroup is gone. Its slot is read once more and given anew after `free_at_ns`.
    pub fn gone(&mut self, tracer: &mut Tracer, id: u64, free_at_ns: u64) {
        // Of one whose birth record was lost only the programs' map knows.
        let known = self.slot_of.remove(&id);
        let Some(slot) = known.or_else(|| tracer.slot_of_cgroup.get(&id, 0).ok()) else {
            return;
        };
        self.slots.entry(slot).or_default();
        let _ = tracer.slot_of_cgroup.remove(&id);
        if let Some(entry) = self.slots.get_mut(&slot) {
            entry.ids.retain(|other| *other != id);
            if entry.ids.is_empty() {
                self.leaving.push((free_at_ns, slot));
            }
        }
    }

    /// Gives back slots whose time has come; what they counted last has been read by then.
    pub fn free(&mut self, tracer: &mut Tracer, now_ns: u64) {
        let mut rest = Vec::new();
        for (at, slot) in self.leaving.drain(..) {
            if at > now_ns {
                rest.push((at, slot));
                continue;
            }
            let Some(entry) = self.slots.get_mut(&slot) else {
                continue;
            };
            if !entry.ids.is_empty() {
                continue;
            }
            if entry.cgroup.is_none() {
                // Nobody has read what it counted, for a cgroup that nobody knew: it is not the
                // next owner's.
                entry.totals = read_totals(tracer, slot);
                entry.threads_ran = entry.totals.slot.threads_ran;
            }
            entry.untold_threads = 0;
            clear_histograms(tracer, slot);
            entry.histograms = Vec::new();
            entry.cgroup = None;
            release_held(tracer, slot);
            let _ = tracer.slot_flags.set(slot, 0, 0);
            let _ = tracer.free_slots.push(slot, 0);
        }
        self.leaving = rest;
    }

    /// For whom slots waited since the last call.
    pub fn read_neighbours(&mut self, tracer: &Tracer) -> Vec<WaitedFor> {
        // A key that is dropped while the map is gone through makes it begin anew: each counts once.
        let now: HashMap<u64, u64> = tracer.neighbours.iter().filter_map(Result::ok).collect();
        let mut all = Vec::new();
        let cgroup_of = |slot: u32| self.slots.get(&slot).and_then(|slot| slot.cgroup);
        for (&key, &sum) in &now {
            let before = self.neighbours.get(&key).copied().unwrap_or(0);
            // A pair that was dropped meanwhile has begun anew.
            let ns = sum.checked_sub(before).unwrap_or(sum);
            let (waiting, running) = ((key >> 32) as u32, key as u32);
            if ns > 0
                && let Some(waiting) = cgroup_of(waiting)
            {
                all.push(WaitedFor {
                    waiting,
                    running: cgroup_of(running),
                    ns,
                });
            }
        }
        self.neighbours = now;
        all
    }

    /// Slots in use.
    pub fn used(&self) -> usize {
        self.slots
            .values()
            .filter(|slot| slot.cgroup.is_some())
            .count()
    }

    /// Threads of each slot that have been on their CPU since the last reading, which the programs
    /// count as they leave.
    fn staying(&mut self, tracer: &Tracer) -> HashMap<u32, u64> {
        let now: Vec<_> = (0..tracer.cpus).map(|cpu| tracer.cpu_state(cpu)).collect();
        let mut staying = HashMap::new();
        for (now, before) in now.iter().zip(&self.cpus) {
            let of_turn = |state: &CpuState| (state.slot, state.pid, state.exec_start_ns);
            if now.pid != 0 && of_turn(now) == of_turn(before) {
                *staying.entry(now.slot).or_default() += 1;
            }
        }
        self.cpus = now;
        staying
    }

    /// Reads every slot and hands what changed to `take`.
    pub fn read(&mut self, tracer: &Tracer, mut take: impl FnMut(Activity)) {
        let staying = self.staying(tracer);
        for (&number, slot) in &mut self.slots {
            let Some(cgroup) = slot.cgroup else { continue };
            let totals = read_totals(tracer, number);
            // The other one counts the epoch that has begun.
            let parity = tracer.ended_epoch() as usize & 1;
            let ran = totals.slot.threads_ran[parity];
            slot.untold_threads += ran.saturating_sub(slot.threads_ran[parity]);
            slot.threads_ran[parity] = ran;
            if totals.cpus == slot.totals.cpus && !throttling_changed(&totals, &slot.totals) {
                continue;
            }
            let mut sched = totals.sched_since(&slot.totals);
            let staying = staying.get(&number).copied().unwrap_or(0);
            sched.threads_ran = std::mem::take(&mut slot.untold_threads) + staying;
            let peaks = peaks::of(totals.slot.peaks[parity], tracer.ended_epoch());
            sched.peaks = peaks.map(|(running, runnable)| ThreadPeaks {
                running,
                runnable: (runnable > 0).then_some(runnable),
            });
            let throttle = totals.throttle_since(&slot.totals);
            slot.totals = totals;
            let mut histograms = IntervalHistograms::default();
            for (kind, into) in [
                (HIST_RUN_QUEUE_WAIT, &mut histograms.run_queue_wait),
                (HIST_ON_CPU_SLICE, &mut histograms.on_cpu_slice),
                (HIST_THROTTLED_INTERVAL, &mut histograms.throttled_interval),
                (HIST_FROZEN_TIME, &mut histograms.frozen_time),
            ] {
                let Ok(now) = tracer.histograms.get(&(number * HISTOGRAMS + kind), 0) else {
                    continue;
                };
                if slot.histograms.is_empty() {
                    slot.histograms = vec![[0; BUCKETS]; HISTOGRAMS as usize];
                }
                if let Some(before) = slot.histograms.get_mut(kind as usize)
                    && *before != now
                {
                    *into = histogram_since(&now, before);
                    *before = now;
                }
            }
            take(Activity {
                cgroup,
                sched,
                throttle,
                throttled_total_ns: totals
                    .slot
                    .throttled_ns
                    .saturating_sub(slot.throttled_at_start_ns),
                histograms,
            });
        }
    }
}

fn throttling_changed(now: &Totals, before: &Totals) -> bool {
    let (now, before) = (&now.slot, &before.slot);
    now.throttled_ns != before.throttled_ns
        || now.periods != before.periods
        || now.frozen_ns != before.frozen_ns
}

fn read_totals(tracer: &Tracer, slot: u32) -> Totals {
    let mut totals = Totals {
        slot: tracer.slot(slot),
        ..Totals::default()
    };
    for cpu in 0..tracer.cpus {
        totals.add_cpu(&tracer.slot_cpu(slot, cpu));
    }
    totals
}

/// Histograms begin anew with a slot's next owner: to keep what they had would take eight kilobytes for
/// each slot that was ever given.
fn clear_histograms(tracer: &mut Tracer, slot: u32) {
    for kind in 0..HISTOGRAMS {
        let index = slot * HISTOGRAMS + kind;
        let empty = [0; BUCKETS];
        if tracer
            .histograms
            .get(&index, 0)
            .is_ok_and(|now| now != empty)
        {
            // Nobody counts for a slot without cgroup.
            let _ = tracer.histograms.set(index, empty, 0);
        }
    }
}

/// The slot, in which nobody counts yet, is that of this cgroup and of what is nested in it.
fn own(tracer: &mut Tracer, slot: u32, id: u64) -> Result<()> {
    let mut counts = tracer.slot(slot);
    counts.own_cgroup = id;
    tracer
        .slot_counts
        .set(slot, counts, 0)
        .context("giving a slot its cgroup")
}

/// A slot that was held up when its cgroup went: what the programs still note of it is dropped, so
/// that the next owner does not inherit it.
fn release_held(tracer: &mut Tracer, slot: u32) {
    let mut counts = tracer.slot(slot);
    if counts.held == 0 || slot == SLOT_UNKNOWN {
        return;
    }
    let stale: Vec<u64> = tracer
        .open_throttles
        .iter()
        .filter_map(Result::ok)
        .filter(|(_, open)| {
            open.held
                .iter()
                .any(|held| held.leaf != 0 && held.slot == slot)
        })
        .map(|(queue, _)| queue)
        .collect();
    for queue in stale {
        let _ = tracer.open_throttles.remove(&queue);
    }
    counts.held = 0;
    // Nobody else writes the counts of a slot without cgroup.
    let _ = tracer.slot_counts.set(slot, counts, 0);
}
