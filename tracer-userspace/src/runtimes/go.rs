//! Go programs: build info from the file, GOMAXPROCS and GOMEMLIMIT from the runtime's variables.

mod build_info;
mod code;
mod defaults;
mod functions;
mod stripped;

use std::{fs::File, sync::Arc};

use super::{
    elf::Elf,
    process::{Image, Process},
    view::View,
};
use crate::model::runtime::{Basis, Fact, GoBuild, Language, Parallelism, Runtime};

/// Versions whose `gcControllerState` has the limit at [`LIMIT_OFFSET`]: checked in the sources of
/// Go 1.19 to 1.27. Later ones may move it.
const LIMIT_VERSIONS: std::ops::RangeInclusive<u32> = 19..=27;
/// Offset of `memoryLimit` in `gcControllerState` (runtime/mgcpacer.go): behind a 32-bit number and
/// four bytes of padding, on machines of 32 bits too.
const LIMIT_OFFSET: u64 = 8;
/// What `math.MaxInt64` in the limit means: none.
const NO_LIMIT: u64 = i64::MAX as u64;
/// More than any machine has: a larger GOMAXPROCS was not read where it is.
const MOST_PROCS: u64 = 1 << 20;

/// What a program's file tells; the same for all processes that run it.
#[derive(Clone, Debug)]
pub struct GoProgram {
    version: String,
    /// One for all that is told of its processes.
    build: Arc<GoBuild>,
    /// Modules that are not listed.
    left_out: usize,
    gomaxprocs: Result<Place, String>,
    gc_controller: Result<Place, String>,
}

/// Where a variable of the runtime is.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Its address in the file.
    address: u64,
    /// Whether no symbol says so, but the runtime's code.
    by_code: bool,
}

impl Place {
    /// What is told with a value that was read there.
    fn note(self) -> String {
        if self.by_code {
            "found by the runtime's code, since its program is stripped of symbols".to_owned()
        } else {
            String::new()
        }
    }
}

/// Reads the file; `None` where Go did not make it.
pub fn program(elf: &Elf, file: &File) -> Option<GoProgram> {
    let (version, modules) = build_info::read(elf, file)?;
    let (build, left_out) = build_info::parse(&version, &modules);
    let by_symbol = |name: &str, least: u64| match elf.data_symbol(file, name) {
        Ok(Some((address, size))) if size >= least => Ok(Place {
            address,
            by_code: false,
        }),
        Ok(_) => Err(format!("its program has no symbol {name} that fits")),
        Err(error) => Err(format!("its symbols cannot be read: {error}")),
    };
    let (gomaxprocs, gc_controller) = if elf.has_symbols() {
        (
            by_symbol("runtime.gomaxprocs", 4),
            by_symbol("runtime.gcController", LIMIT_OFFSET + 8),
        )
    } else {
        let by_code = |address: Result<u64, String>| match address {
            Ok(address) => Ok(Place {
                address,
                by_code: true,
            }),
            Err(why) => Err(format!("its program is stripped of symbols, and {why}")),
        };
        let stripped::Variables {
            gomaxprocs,
            gc_controller,
        } = stripped::variables(elf, file, LIMIT_OFFSET);
        (by_code(gomaxprocs), by_code(gc_controller))
    };
    Some(GoProgram {
        gomaxprocs,
        gc_controller,
        version,
        build: Arc::new(build),
        left_out,
    })
}

impl GoProgram {
    /// What it was built of, as `GODEBUG` in a process's environment changes it.
    fn build_under(&self, debug: Option<&str>) -> Arc<GoBuild> {
        let container_aware = defaults::container_aware(&self.version, &self.build, debug);
        if container_aware == self.build.container_aware {
            return Arc::clone(&self.build);
        }
        Arc::new(GoBuild {
            container_aware,
            ..GoBuild::clone(&self.build)
        })
    }

    /// What is missing of what its file tells.
    pub fn missing(&self) -> Option<String> {
        let kept = self.build.dependencies.len();
        (self.left_out > 0).then(|| {
            format!(
                "its program names {} modules, of which the first {kept} are listed",
                kept + self.left_out
            )
        })
    }
}

/// What a process that runs the program tells. `image` was taken before anything was read of it.
pub fn look(
    program: &GoProgram,
    elf: &Elf,
    process: &Process,
    image: &Image,
    view: &View,
) -> Runtime {
    let memory = Reader::open(elf, process);
    let number = |place: &Result<Place, String>, offset: u64, size: usize| {
        let place = place.as_ref().map_err(Clone::clone)?;
        let reader = memory.as_ref().map_err(Clone::clone)?;
        let value = reader.number(place.address.wrapping_add(offset), size)?;
        Ok((value, place.note()))
    };
    let procs = number(&program.gomaxprocs, 0, 4).and_then(|(procs, note)| match procs {
        1..=MOST_PROCS => Ok((procs, note)),
        0 => Err("its runtime has not started yet".to_owned()),
        _ => Err(format!("runtime.gomaxprocs reads {procs}, which cannot be")),
    });
    let limit = match build_info::minor(&program.version) {
        Some(minor) if LIMIT_VERSIONS.contains(&minor) => {
            number(&program.gc_controller, LIMIT_OFFSET, 8)
        }
        _ => Err(format!(
            "the variables of {} are not known",
            program.version
        )),
    };
    // Only if all that was read is of one and the same program.
    let same = process.image().is_ok_and(|now| now == *image);
    let in_force = |read: Result<(u64, String), String>| {
        read.and_then(|value| {
            same.then_some(value)
                .ok_or_else(|| "it became another program while it was read".to_owned())
        })
    };
    let gomaxprocs = match in_force(procs) {
        Ok((value, note)) => Fact::Known {
            value,
            basis: Basis::RuntimeVariable,
            note,
        },
        Err(why) => defaults::gomaxprocs(
            &defaults::Inputs {
                version: &program.version,
                build: &program.build,
                variable: view.variable("GOMAXPROCS"),
                debug: view.variable("GODEBUG"),
                cpus_allowed: view.cpus_allowed,
                // It reads the limit of its own cgroup and of none above it (`FindCPU` in
                // internal/runtime/cgroup), and so does automaxprocs.
                quota_cpus: view.own_quota_cpus,
            },
            &why,
        ),
    };
    let memory_limit = match in_force(limit) {
        Ok((limit, note)) if limit <= NO_LIMIT => Fact::Known {
            value: Some(limit).filter(|limit| *limit < NO_LIMIT),
            basis: Basis::RuntimeVariable,
            note,
        },
        Ok((limit, _)) => Fact::Unknown(format!("the memory limit reads {limit}, which cannot be")),
        Err(why) => defaults::gomemlimit(&program.version, view.variable("GOMEMLIMIT"), &why),
    };
    Runtime {
        language: Language::Go,
        version: Some(program.version.clone()),
        pools: vec![Parallelism {
            setting: "GOMAXPROCS",
            threads: gomaxprocs,
            computes: true,
        }],
        memory_limit: Some(memory_limit),
        go: Some(program.build_under(view.variable("GODEBUG"))),
    }
}

/// Reads numbers at addresses of the program's file, in a process.
struct Reader<'a> {
    elf: &'a Elf,
    memory: super::process::Memory,
    bias: u64,
}

impl<'a> Reader<'a> {
    fn open(elf: &'a Elf, process: &Process) -> Result<Self, String> {
        let memory = process.memory().map_err(|error| error.to_string())?;
        let auxv = process.read("auxv").map_err(|error| error.to_string())?;
        let bias = elf
            .load_bias(&auxv)
            .ok_or("where its program is in its memory is not known")?;
        Ok(Self { elf, memory, bias })
    }

    fn number(&self, address: u64, size: usize) -> Result<u64, String> {
        let mut bytes = [0; 8];
        let bytes = &mut bytes[..size];
        self.memory
            .read(address.wrapping_add(self.bias), bytes)
            .map_err(|error| error.to_string())?;
        Ok(self.elf.number(bytes))
    }
}
