//! Loads the programs of a plan, without attaching any, and gives up capabilities as `run` does.

use crate::kernel::capabilities::Capabilities;
use crate::kernel::host::HostFacts;
use crate::kernel::loader::{LoadRequest, ProgramLoad, Tracer};
use crate::kernel::object;
use crate::kernel::plan::Plan;
use crate::kernel::privileges::{Later, give_up};
use crate::kernel::problems::{self, Problem};

/// Instructions that the verifier goes through at most (`BPF_COMPLEXITY_LIMIT_INSNS`,
/// `include/linux/bpf.h`, since 5.2).
pub const VERIFIER_LIMIT: u64 = 1_000_000;
/// From here on a program is near it: another compiler or kernel may take it over.
const NEAR_LIMIT: u64 = VERIFIER_LIMIT * 7 / 10;

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Each program, in the order of loading.
    pub programs: Vec<ProgramLoad>,
    /// What `run` would hold after attaching; `None` where it could not give up anything.
    pub kept: Option<Capabilities>,
}

impl Trial {
    /// Makes the maps, loads the programs and gives up capabilities, for good. Maps and programs
    /// are gone when this returns.
    pub fn of(plan: &Plan, host: &HostFacts, slots: u32, later: &Later) -> Result<Self, Problem> {
        let request = LoadRequest {
            object: object::embedded().unwrap_or_default(),
            globals: plan.globals.clone(),
            wide_globals: plan.wide_globals.clone(),
            slots,
            cpus: host.possible_cpus,
        };
        let mut tracer = Tracer::load(&request).map_err(|error| problems::refused(&error))?;
        let programs = tracer
            .load_only(&plan.programs())
            .map_err(|error| problems::refused(&error))?;
        let kept = give_up(later, || tracer.maps_answer()).ok();
        Ok(Self { programs, kept })
    }

    /// The program that keeps the verifier busiest, with its count.
    pub fn largest(&self) -> Option<(&str, u64)> {
        self.programs
            .iter()
            .filter_map(|program| Some((program.name.as_str(), program.verified_instructions?)))
            .max_by_key(|(_, count)| *count)
    }

    /// A line for each program that is near the verifier's limit.
    pub fn warnings(&self) -> Vec<String> {
        self.programs
            .iter()
            .filter_map(|program| {
                let count = program
                    .verified_instructions
                    .filter(|it| *it >= NEAR_LIMIT)?;
                Some(format!(
                    "the verifier goes through {count} instructions for {}, of {VERIFIER_LIMIT} at \
                     most: please report it, with the kernel's release and its distribution",
                    program.name
                ))
            })
            .collect()
    }
}
