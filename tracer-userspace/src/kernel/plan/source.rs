//! Sources of a signal, and how it is measured by the one that is chosen.

use tracer_common::globals::Signal;

use super::needs::Tracepoint;
use crate::kernel::btf::{Btf, BtfError};
use crate::model::plan::SignalPlan;

/// Where a signal comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Tracepoints alone.
    Tracepoint,
    /// Entry of a kernel function by fentry, besides tracepoints.
    Fentry,
    /// The same by a kprobe.
    Kprobe,
    /// Entry and exit of a kernel function by fentry and fexit, besides tracepoints.
    Fexit,
    /// The same by kprobe and kretprobe.
    Kretprobe,
    /// The cgroup's file `cpu.stat`, read in each interval.
    CpuStat,
    /// Nobody wants it.
    Off,
    /// It cannot be measured here.
    None,
}

impl Source {
    /// Name in the plan.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tracepoint => "tracepoint",
            Self::Fentry => "fentry",
            Self::Kprobe => "kprobe",
            Self::Fexit => "fexit",
            Self::Kretprobe => "kretprobe",
            Self::CpuStat => "cpu_stat",
            Self::Off => "off",
            Self::None => "none",
        }
    }

    /// Whether there is a source.
    pub const fn is_some(self) -> bool {
        !matches!(self, Self::Off | Self::None)
    }
}

/// How one signal is measured.
#[derive(Clone, Debug)]
pub struct SignalChoice {
    /// The signal.
    pub signal: Signal,
    /// Its source.
    pub source: Source,
    /// Whether a person asked for this source.
    pub forced: bool,
    /// Programs to attach for it.
    pub programs: Vec<&'static str>,
    /// Why a better source is not used, and what this means for the numbers.
    pub notes: Vec<String>,
    /// What is missing, where the source is [`Source::None`], each with how to get it.
    pub missing: Vec<String>,
}

impl From<&SignalChoice> for SignalPlan {
    fn from(choice: &SignalChoice) -> Self {
        Self {
            signal: choice.signal.name().to_owned(),
            source: choice.source.name().to_owned(),
            programs: choice.programs.iter().map(ToString::to_string).collect(),
            notes: choice
                .missing
                .iter()
                .chain(&choice.notes)
                .cloned()
                .collect(),
        }
    }
}

impl SignalChoice {
    /// Has them attached for it.
    pub fn attach(&mut self, tracepoints: &[Tracepoint]) {
        self.programs
            .extend(tracepoints.iter().map(|tracepoint| tracepoint.name));
    }

    /// What tracepoints that are needed lack.
    pub fn need(&mut self, btf: &Btf<'_>, tracepoints: &[Tracepoint]) -> Result<(), BtfError> {
        for tracepoint in tracepoints {
            self.missing.extend(tracepoint.problem(btf)?);
        }
        Ok(())
    }
}
