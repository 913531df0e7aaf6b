//! Loads the object, attaches its programs, and hands out its maps.
//!
//! Everything lives as long as [`Tracer`]: programs are attached by links that the kernel drops
//! with this process, so nothing stays behind after a SIGKILL. Nothing is pinned.

mod counts;

use std::{
    os::fd::{AsFd, AsRawFd},
    time::Instant,
};

use super::{
    mapped::MappedArray,
    plan::{OOM_KILL_PROCESS, UNTHROTTLE},
};
use aya::{
    Btf, Ebpf, EbpfLoader, Pod,
    maps::{Array, HashMap, Map, MapData, MapError, Queue, RingBuf},
    programs::{Program, ProgramError},
};
use thiserror::Error;
use tracer_common::{
    counters,
    maps::{
        self, CACHE_LINES, CpuState, Epoch, HISTOGRAMS, Histogram, OpenThrottle, Slot, SlotCpu,
    },
};

/// What can go wrong between the object and attached programs.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The object itself was refused.
    #[error("the BPF object was refused: {0}")]
    Object(#[source] Box<aya::EbpfError>),
    /// The kernel's type information is not usable.
    #[error("the kernel's BTF cannot be used: {0}")]
    Btf(#[from] aya::BtfError),
    /// A program is not in the object.
    #[error("the BPF object has no program `{0}`; was it built from other sources?")]
    NoProgram(String),
    /// A map is not in the object or of another type.
    #[error("the BPF object has no usable map `{0}`; was it built from other sources?")]
    NoMap(&'static str),
    /// The verifier or the kernel refused a program.
    #[error("the kernel refused to load the program `{name}`: {source}")]
    Load {
        /// Its name.
        name: String,
        /// What the kernel said, with the verifier's log.
        source: Box<ProgramError>,
    },
    /// A program could not be attached.
    #[error("the program `{name}` could not be attached: {source}")]
    Attach {
        /// Its name.
        name: String,
        /// What the kernel said.
        source: Box<ProgramError>,
    },
    /// A map could not be mapped into memory.
    #[error("the map `{name}` could not be mapped: {source}")]
    Mapping {
        /// Its name.
        name: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// A map could not be filled.
    #[error("the map `{name}` could not be written: {source}")]
    Map {
        /// Its name.
        name: &'static str,
        /// What the kernel said.
        source: Box<MapError>,
    },
}

/// What to load.
#[derive(Clone, Debug)]
pub struct LoadRequest<'a> {
    /// The object's bytes.
    pub object: &'a [u8],
    /// `Global<u32>` by name.
    pub globals: Vec<(&'static str, u32)>,
    /// `Global<u64>` by name.
    pub wide_globals: Vec<(&'static str, u64)>,
    /// Slots, the one of the unknown included.
    pub slots: u32,
    /// CPUs that this machine can have.
    pub cpus: u32,
}

/// A loaded object with its maps.
pub struct Tracer {
    ebpf: Ebpf,
    btf: Option<Btf>,
    /// Slots, the one of the unknown included.
    pub slots: u32,
    /// CPUs that the maps have room for.
    pub cpus: u32,
    /// Id of a cgroup to its slot.
    pub slot_of_cgroup: HashMap<MapData, u64, u32>,
    /// Slots that are free.
    pub free_slots: Queue<MapData, u32>,
    /// What user space says of each slot.
    pub slot_flags: Array<MapData, u32>,
    slot_cpus: MappedArray<SlotCpu>,
    /// The programs refer to the map by its descriptor until they are loaded.
    _slot_cpus_map: Array<MapData, SlotCpu>,
    slots_mapped: MappedArray<Slot>,
    /// Counts of each slot, to be written; they are read by [`Tracer::slot`].
    pub slot_counts: Array<MapData, Slot>,
    /// Histograms of each slot.
    pub histograms: Array<MapData, Histogram>,
    /// What the programs count of themselves.
    counters: Array<MapData, [u64; counters::COUNTERS as usize]>,
    /// What each CPU runs.
    cpu_states: Array<MapData, CpuState>,
    epochs: Array<MapData, Epoch>,
    epoch: u32,
    /// Run queues that are throttled now.
    pub open_throttles: HashMap<MapData, u64, OpenThrottle>,
    /// How long slots waited for each other, see [`tracer_common::maps::neighbour_key`].
    pub neighbours: HashMap<MapData, u64, u64>,
}

impl Tracer {
    /// Makes the maps and prepares the programs; nothing is attached yet.
    pub fn load(request: &LoadRequest<'_>) -> Result<Self, LoadError> {
        let btf = Btf::from_sys_fs()?;
        let mut loader = EbpfLoader::new();
        loader.btf(Some(&btf));
        for (name, value) in &request.globals {
            loader.override_global(name, value, true);
        }
        for (name, value) in &request.wide_globals {
            loader.override_global(name, value, true);
        }
        let (slots, cpus) = (request.slots, request.cpus);
        for (name, entries) in [
            (maps::SLOT_OF_CGROUP, slots.saturating_mul(2)),
            (maps::FREE_SLOTS, slots),
            (maps::SLOT_FLAGS, slots),
            (maps::SLOTS, slots),
            (maps::FROZEN, slots),
            (maps::HISTOGRAMS_MAP, slots.saturating_mul(HISTOGRAMS)),
            (maps::SLOT_CPUS, slots.saturating_mul(cpus)),
            (maps::CPU_STATES, cpus),
            (maps::RUN_HISTORIES, cpus),
            (
                maps::NEIGHBOURS,
                maps::lru_entries(maps::NEIGHBOUR_ENTRIES, cpus),
            ),
            (
                maps::LAST_THROTTLES,
                maps::lru_entries(maps::HASH_ENTRIES, cpus),
            ),
            (maps::SLOT_CACHE, cpus.saturating_mul(CACHE_LINES)),
        ] {
            loader.map_max_entries(name, entries);
        }
        let mut ebpf = loader
            .load(request.object)
            .map_err(|error| LoadError::Object(Box::new(error)))?;
        let mut free_slots: Queue<MapData, u32> = take(&mut ebpf, maps::FREE_SLOTS)?;
        // Slot 0 is the one of the unknown.
        for slot in 1..slots {
            free_slots.push(slot, 0).map_err(|source| LoadError::Map {
                name: maps::FREE_SLOTS,
                source: Box::new(source),
            })?;
        }
        let (slot_cpus_map, slot_cpus) = take_mapped(&mut ebpf, maps::SLOT_CPUS)?;
        let (slot_counts, slots_mapped) = take_mapped(&mut ebpf, maps::SLOTS)?;
        Ok(Self {
            slot_of_cgroup: take(&mut ebpf, maps::SLOT_OF_CGROUP)?,
            free_slots,
            slot_flags: take(&mut ebpf, maps::SLOT_FLAGS)?,
            _slot_cpus_map: slot_cpus_map,
            slot_cpus,
            slots_mapped,
            slot_counts,
            histograms: take(&mut ebpf, maps::HISTOGRAMS_MAP)?,
            counters: take(&mut ebpf, maps::COUNTERS_MAP)?,
            cpu_states: take(&mut ebpf, maps::CPU_STATES)?,
            epochs: take(&mut ebpf, maps::EPOCH)?,
            epoch: 0,
            open_throttles: take(&mut ebpf, maps::OPEN_THROTTLES)?,
            neighbours: take(&mut ebpf, maps::NEIGHBOURS)?,
            ebpf,
            btf: Some(btf),
            slots,
            cpus,
        })
    }

    /// Takes a ring buffer out, to be read elsewhere.
    pub fn take_ring(&mut self, name: &'static str) -> Result<RingBuf<MapData>, LoadError> {
        take(&mut self.ebpf, name)
    }

    /// Loads and attaches programs by name. A program of a tracepoint is called like it; see
    /// `FUNCTIONS` for the others.
    pub fn attach(&mut self, names: &[&str]) -> Result<(), LoadError> {
        let btf = match self.btf.take() {
            Some(btf) => btf,
            None => Btf::from_sys_fs()?,
        };
        let result = names
            .iter()
            .try_for_each(|name| attach(&mut self.ebpf, name, &btf));
        self.btf = Some(btf);
        result
    }

    /// Loads programs by name without attaching them, and tells what that took.
    pub fn load_only(&mut self, names: &[&str]) -> Result<Vec<ProgramLoad>, LoadError> {
        let btf = Btf::from_sys_fs()?;
        let mut loads = Vec::with_capacity(names.len());
        for &name in names {
            let begin = Instant::now();
            load(&mut self.ebpf, name, &btf)?;
            let load_ns = begin.elapsed().as_nanos() as u64;
            let verified = self.program_cost(name).map(|it| it.verified_instructions);
            loads.push(ProgramLoad {
                name: name.to_owned(),
                verified_instructions: verified.filter(|count| *count > 0),
                load_ns,
            });
        }
        Ok(loads)
    }

    /// Reads a map, to see whether the kernel lets this thread.
    pub fn maps_answer(&self) -> std::io::Result<()> {
        self.counters
            .get(&0, 0)
            .map(drop)
            .map_err(std::io::Error::other)
    }

    /// Gives back the memory that only attaching needs.
    pub fn finish_attaching(&mut self) {
        self.btf = None;
        // The types of a kernel take some 20 MiB while they are read; the allocator would keep it.
        // SAFETY: the call has no precondition.
        #[cfg(target_env = "gnu")]
        unsafe {
            libc::malloc_trim(0);
        }
    }

    /// What the kernel counted for one program; `None` where it is not loaded.
    pub fn program_cost(&self, name: &str) -> Option<ProgramCost> {
        let program = self.ebpf.program(name)?;
        let fd = program.fd().ok()?.as_fd().as_raw_fd();
        let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
        Some(ProgramCost::parse(&text))
    }
}

/// A program's run time as the kernel counts it (`kernel.bpf_stats_enabled`), from its `fdinfo`
/// (`bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramCost {
    /// Nanoseconds.
    pub run_time_ns: u64,
    /// Runs.
    pub run_count: u64,
    /// Runs that the kernel left out because the program was already running on that CPU.
    pub recursion_misses: u64,
    /// Instructions that the verifier went through; 0 before 5.16.
    pub verified_instructions: u64,
}

impl ProgramCost {
    fn parse(fdinfo: &str) -> Self {
        let field = |name: &str| {
            fdinfo
                .lines()
                .filter_map(|line| line.split_once(':'))
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.trim().parse().ok())
                .unwrap_or(0)
        };
        Self {
            run_time_ns: field("run_time_ns"),
            run_count: field("run_cnt"),
            recursion_misses: field("recursion_misses"),
            verified_instructions: field("verified_insns"),
        }
    }
}

/// Programs that hook a kernel function, and which.
const FUNCTIONS: [(&str, &str); 6] = [
    ("oom_kill_entry", OOM_KILL_PROCESS),
    ("oom_kill_kprobe", OOM_KILL_PROCESS),
    ("unthrottle_entry", UNTHROTTLE),
    ("unthrottle_exit", UNTHROTTLE),
    ("unthrottle_kprobe", UNTHROTTLE),
    ("unthrottle_kretprobe", UNTHROTTLE),
];

fn function(program: &str) -> Result<&'static str, LoadError> {
    FUNCTIONS
        .iter()
        .find(|(name, _)| *name == program)
        .map(|(_, function)| *function)
        .ok_or_else(|| LoadError::NoProgram(program.to_owned()))
}

/// What loading one program took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramLoad {
    /// Its name.
    pub name: String,
    /// Instructions that the verifier went through; `None` where the kernel does not tell (before
    /// 5.16).
    pub verified_instructions: Option<u64>,
    /// Time of the call, verification and compilation, in nanoseconds.
    pub load_ns: u64,
}

fn load<'a>(ebpf: &'a mut Ebpf, name: &str, btf: &Btf) -> Result<&'a mut Program, LoadError> {
    let missing = || LoadError::NoProgram(name.to_owned());
    let program = ebpf.program_mut(name).ok_or_else(missing)?;
    let loaded = match program {
        Program::BtfTracePoint(program) => program.load(name, btf),
        Program::FEntry(program) => program.load(function(name)?, btf),
        Program::FExit(program) => program.load(function(name)?, btf),
        Program::KProbe(program) => program.load(),
        _ => return Err(missing()),
    };
    loaded.map_err(|source| LoadError::Load {
        name: name.to_owned(),
        source: Box::new(source),
    })?;
    Ok(program)
}

fn attach(ebpf: &mut Ebpf, name: &str, btf: &Btf) -> Result<(), LoadError> {
    let attached = match load(ebpf, name, btf)? {
        Program::BtfTracePoint(program) => program.attach().map(drop),
        Program::FEntry(program) => program.attach().map(drop),
        Program::FExit(program) => program.attach().map(drop),
        Program::KProbe(program) => program.attach(function(name)?, 0).map(drop),
        _ => return Err(LoadError::NoProgram(name.to_owned())),
    };
    attached.map_err(|source| LoadError::Attach {
        name: name.to_owned(),
        source: Box::new(source),
    })
}

/// Takes a map out of the object as the type it should have.
fn take<T: TryFrom<Map, Error = MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<T, LoadError> {
    let map = ebpf.take_map(name).ok_or(LoadError::NoMap(name))?;
    T::try_from(map).map_err(|_| LoadError::NoMap(name))
}

/// Takes an array that is read in place.
fn take_mapped<V: Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<(Array<MapData, V>, MappedArray<V>), LoadError> {
    let Some(Map::Array(data)) = ebpf.take_map(name) else {
        return Err(LoadError::NoMap(name));
    };
    let mapped = MappedArray::new(&data).map_err(|source| LoadError::Mapping { name, source })?;
    let array = Array::try_from(Map::Array(data)).map_err(|_| LoadError::NoMap(name))?;
    Ok((array, mapped))
}

#[cfg(test)]
mod tests;
