//! What a process tells of its language runtime: how many threads it means to run at once, and how
//! much memory it means to use. Each value says what it is based on.

use std::sync::Arc;

/// A language runtime or a library that runs threads of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Language {
    /// Go.
    Go,
    /// A Java virtual machine.
    Jvm,
    /// Node.js.
    Node,
    /// Python.
    Python,
    /// .NET.
    DotNet,
    /// OpenMP, or a linear algebra library with threads of its own.
    OpenMp,
    /// Tokio, of Rust.
    Tokio,
    /// Rayon, of Rust.
    Rayon,
}

impl Language {
    /// Name in the output; those of `process.runtime.name` where OpenTelemetry lists one.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Jvm => "jvm",
            Self::Node => "nodejs",
            Self::Python => "cpython",
            Self::DotNet => "dotnet",
            Self::OpenMp => "openmp",
            Self::Tokio => "tokio",
            Self::Rayon => "rayon",
        }
    }
}

/// What a value is based on, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Basis {
    /// The runtime's own variable, read in the process.
    RuntimeVariable,
    /// The names of its threads.
    ThreadNames,
    /// Its command line.
    CommandLine,
    /// Its environment at the start.
    Environment,
    /// What the runtime does without a setting.
    Defaults,
}

impl Basis {
    /// Name in the output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RuntimeVariable => "runtime_variable",
            Self::ThreadNames => "thread_names",
            Self::CommandLine => "command_line",
            Self::Environment => "environment",
            Self::Defaults => "defaults",
        }
    }

    /// Whether it is the value in force. All others tell what was asked for, or what is usual; the
    /// program may have changed it since.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::RuntimeVariable)
    }
}

/// A value, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// Known, or estimated; see [`Basis::is_exact`].
    Known {
        /// The value.
        value: T,
        /// What it is based on.
        basis: Basis,
        /// Why nothing better is known, or what the value follows from; empty where nothing is to
        /// be said.
        note: String,
    },
    /// Not known.
    Unknown(String),
}

impl<T> Fact<T> {
    /// A value with nothing to add.
    pub const fn known(value: T, basis: Basis) -> Self {
        Self::Known {
            value,
            basis,
            note: String::new(),
        }
    }

    /// The value, however it is known.
    pub const fn value(&self) -> Option<&T> {
        match self {
            Self::Known { value, .. } => Some(value),
            Self::Unknown(_) => None,
        }
    }

    /// Whether the value is the one in force.
    pub const fn is_exact(&self) -> bool {
        matches!(self, Self::Known { basis, .. } if basis.is_exact())
    }

    /// What the value is based on.
    pub const fn basis(&self) -> Option<Basis> {
        match self {
            Self::Known { basis, .. } => Some(*basis),
            Self::Unknown(_) => None,
        }
    }
}

/// A number of threads that a runtime runs at once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parallelism {
    /// The setting that decides it, as a user writes it: `GOMAXPROCS`, `-XX:ActiveProcessorCount`.
    pub setting: &'static str,
    /// How many.
    pub threads: Fact<u64>,
    /// Whether these threads compute: a pool that mostly waits is not measured against a CPU limit.
    pub computes: bool,
}

/// What a Go program was built of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoBuild {
    /// Path of the main package.
    pub path: Option<String>,
    /// Modules that it was built with: path and version.
    pub dependencies: Vec<(String, String)>,
    /// Settings of the build, as `go version -m` shows them.
    pub settings: Vec<(String, String)>,
    /// Whether `go.uber.org/automaxprocs` is among them, which sets GOMAXPROCS to the quota.
    pub automaxprocs: bool,
    /// Whether the runtime takes the CPU limit into account by itself: Go 1.25 or later, not
    /// switched off by `containermaxprocs=0`.
    pub container_aware: bool,
}

/// What one runtime of a process tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Runtime {
    /// Which one.
    pub language: Language,
    /// Its version, as it writes it.
    pub version: Option<String>,
    /// Its pools; the one that matters most first.
    pub pools: Vec<Parallelism>,
    /// Memory in bytes that it means to stay below; known and `None` means no limit.
    pub memory_limit: Option<Fact<Option<u64>>>,
    /// Of Go only.
    pub go: Option<Arc<GoBuild>>,
}

/// What is told by one process.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessFacts {
    /// Process id, as this process sees it.
    pub pid: u32,
    /// When it began, in clock ticks since boot, which tells it from others of its number.
    pub start_ticks: u64,
    /// The CPU time that it has used lately over that of its container's busiest process; `None` where
    /// nobody measured it, or none of them has used any.
    pub cpu_share: Option<f64>,
    /// Its command name.
    pub command: String,
    /// Its threads, at the reading.
    pub threads: u64,
    /// The CPUs that it may run on.
    pub cpus_allowed: Option<u64>,
    /// Its memory that cannot be given back, in bytes: resident anonymous and shared memory, and swap.
    pub memory_held_bytes: Option<u64>,
    /// Its runtimes; empty where none is known.
    pub runtimes: Vec<Runtime>,
    /// Why less is known than could be; empty where nothing is missing.
    pub missing: Vec<String>,
}
