//! Which source each signal is taken from on this machine, and everything that user space tells
//! the programs. Decided by what the kernel's BTF and the host have, never by a version.

mod choice;
mod force;
mod ladder;
mod needs;
mod source;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tracer_common::globals::{Signal, plan as globals};
use tracer_common::maps::MAX_CPUS;

use super::btf::{Btf, BtfError, optional};
use super::cgroup_mounts::CgroupVersion;
use super::host::HostFacts;
use super::kallsyms::{self, SymbolAddress};
use super::offsets::KernelTypes;
use crate::model::plan::{PlanSummary, SignalPlan};

pub use force::ForcedSource;
pub use needs::{OOM_KILL_PROCESS, UNTHROTTLE};
pub use source::{SignalChoice, Source};

/// What the user wants.
#[derive(Clone, Debug)]
pub struct PlanOptions {
    /// Signals to measure.
    pub signals: Vec<Signal>,
    /// Slots, the one of the unknown included.
    pub slots: u32,
    /// Throttled intervals shorter than this many nanoseconds are counted but not sent.
    pub throttle_min_ns: u64,
    /// Sources that must be taken, whatever else there is.
    pub forced: Vec<ForcedSource>,
}

/// How everything is measured on this machine.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Values of the `Global<u32>`.
    pub globals: Vec<(&'static str, u32)>,
    /// Values of the `Global<u64>`.
    pub wide_globals: Vec<(&'static str, u64)>,
    /// One for each signal, in the order of [`Signal::ALL`].
    pub signals: Vec<SignalChoice>,
    /// What BPF of this kernel lacks; nothing can be loaded where this is not empty.
    pub lacking: Vec<&'static str>,
    /// Whether the kernel counts the maps' memory against `RLIMIT_MEMLOCK` (before 5.11).
    pub memory_is_locked: bool,
    /// Where the kernel's per-CPU data is, by which a victim's memory is added up exactly.
    pub per_cpu_offset: SymbolAddress,
    /// Label of the hierarchy whose cgroups have slots.
    hierarchy: String,
}

impl Plan {
    /// Reads this machine's BTF and decides. The BTF is freed when this returns.
    pub fn for_this_machine(host: &HostFacts, options: &PlanOptions) -> Result<Self, BtfError> {
        // Reading the symbols takes longer than all the rest, so it goes beside it until the types
        // tell whether it is needed.
        let needed = AtomicBool::new(true);
        thread::scope(|scope| {
            let symbols = scope.spawn(|| kallsyms::per_cpu_offset(&needed));
            let types = Btf::from_sysfs().and_then(|btf| {
                let types = KernelTypes::resolve(&btf)?;
                Ok((btf, types))
            });
            let wanted = (types.as_ref()).is_ok_and(|(_, types)| types.rss_is_per_cpu());
            needed.store(wanted, Ordering::Relaxed);
            let (btf, types) = types?;
            Self::choose(&btf, &types, host, options, || {
                symbols.join().unwrap_or_else(|_| {
                    SymbolAddress::Unreadable("the thread that reads it stopped".to_owned())
                })
            })
        })
    }

    /// Decides. `per_cpu_offset` is asked only where it is needed. An error means damaged BTF.
    pub fn choose(
        btf: &Btf<'_>,
        types: &KernelTypes,
        host: &HostFacts,
        options: &PlanOptions,
        per_cpu_offset: impl FnOnce() -> SymbolAddress,
    ) -> Result<Self, BtfError> {
        let address = if !types.rss_is_per_cpu() {
            SymbolAddress::NotNeeded
        } else if host.possible_cpus > MAX_CPUS {
            // A sum over a part of the CPUs would be worse than the plain count.
            SymbolAddress::Unreadable(format!("more than {MAX_CPUS} CPUs are possible"))
        } else {
            per_cpu_offset()
        };
        let signals = choice::signals(btf, types, host, options, &address)?;
        let mut plan = Self {
            globals: types.globals.clone(),
            wide_globals: vec![
                (globals::PER_CPU_OFFSET, address.or_zero()),
                (globals::THROTTLE_MIN_NS, options.throttle_min_ns),
            ],
            signals,
            lacking: needs::lacking(btf)?,
            memory_is_locked: optional(btf.member("bpf_map", "memory.pages"))?.is_some(),
            per_cpu_offset: address,
            hierarchy: String::new(),
        };
        plan.set_globals(host, options);
        Ok(plan)
    }

    fn set_globals(&mut self, host: &HostFacts, options: &PlanOptions) {
        let slots = host.cgroups.slots();
        let by_task_group = slots.is_some_and(|slots| slots.version == CgroupVersion::V1);
        let memory = host.cgroups.with_controller("memory");
        let throttle = self.source(Signal::CpuThrottle);
        let uses = |program| self.programs().contains(&program);
        let flags = [
            (globals::SLOT_BY_TASK_GROUP, by_task_group),
            (globals::KILLS_ARE_SIGNALLED, uses("signal_generate")),
            (globals::CALLS_ARE_SEEN, uses("csd_function_entry")),
            (
                globals::THROTTLE_BY_FUNCTION,
                matches!(throttle, Source::Fexit | Source::Kretprobe),
            ),
            (
                globals::MEASURE_SWITCHES,
                self.source(Signal::ContextSwitch).is_some(),
            ),
            (
                globals::MEASURE_THROTTLE,
                throttle.is_some() && throttle != Source::CpuStat,
            ),
        ]
        .map(|(name, flag)| (name, u32::from(flag)));
        self.hierarchy = match slots {
            None => "none".to_owned(),
            Some(slots) if slots.version == CgroupVersion::V2 => "v2".to_owned(),
            Some(_) => "v1:cpu".to_owned(),
        };
        self.globals.extend(flags);
        self.globals.extend([
            (globals::SLOT_HIERARCHY, slots.map_or(0, |slots| slots.id)),
            (
                globals::MEMORY_HIERARCHY,
                memory.map_or(0, |memory| memory.id),
            ),
            (globals::CPUS, host.possible_cpus),
            (globals::SLOT_COUNT, options.slots),
        ]);
    }

    /// Source of a signal.
    pub fn source(&self, signal: Signal) -> Source {
        self.signals
            .iter()
            .find(|choice| choice.signal == signal)
            .map_or(Source::None, |choice| choice.source)
    }

    /// All programs to attach, each once, in the order in which to attach them: cgroups first, so
    /// that what the others see has a slot.
    pub fn programs(&self) -> Vec<&'static str> {
        let mut programs = Vec::new();
        for signal in [
            Signal::CgroupLifecycle,
            Signal::OomKill,
            Signal::CpuThrottle,
            Signal::ContextSwitch,
        ] {
            let own = self.signals.iter().filter(|choice| choice.signal == signal);
            for program in own.flat_map(|choice| &choice.programs) {
                if !programs.contains(program) {
                    programs.push(*program);
                }
            }
        }
        programs
    }

    /// The plan as `check` and `agent` events show it.
    pub fn summary(&self) -> PlanSummary {
        PlanSummary {
            signals: self.signals.iter().map(SignalPlan::from).collect(),
            cgroup_hierarchy: self.hierarchy.clone(),
        }
    }
}
