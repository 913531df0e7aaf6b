//! What is run in a guest: passes over suites, with the better sources or with forced ones.

/// A pass over the suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Pass {
    /// The best source that each signal has on that kernel
    Auto,
    /// Programs at functions by kprobe
    Kprobe,
    /// Tracepoints alone
    Tracepoint,
    /// The kernel's own account of throttling, read once an interval
    CpuStat,
}

/// Signals with more than one source.
const WITH_SOURCES: [Forced; 2] = [
    Forced {
        signal: "oom_kill",
        option: "oom",
        suite: "oom",
        passes: &[Pass::Kprobe, Pass::Tracepoint],
    },
    Forced {
        signal: "cpu_throttle",
        option: "throttle",
        suite: "throttle",
        passes: &[Pass::Kprobe, Pass::Tracepoint, Pass::CpuStat],
    },
];

struct Forced {
    /// As the plan names it.
    signal: &'static str,
    /// As `--force-source` names it.
    option: &'static str,
    /// The suite that is about it.
    suite: &'static str,
    /// The sources that can be forced.
    passes: &'static [Pass],
}

/// Suites of the tests package that a guest can run: they need neither an engine nor a network.
pub const SUITES: [&str; 5] = ["fixtures", "oom", "throttle", "switches", "lifecycle"];

impl Pass {
    /// What is run if nothing else is asked for. The forced passes need `limitscope run
    /// --force-source`; a binary without it fails them.
    pub const DEFAULT: [Self; 1] = [Self::Auto];

    /// The name, which is that of the forced source too.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::CpuStat => "cpu_stat",
        }
    }

    fn forces(self) -> impl Iterator<Item = &'static Forced> {
        WITH_SOURCES
            .iter()
            .filter(move |forced| forced.passes.contains(&self))
    }

    /// Whether this pass forces the source of a signal, as the plan names it.
    pub fn forces_signal(self, signal: &str) -> bool {
        self.forces().any(|forced| forced.signal == signal)
    }

    /// Arguments that the tests give to `limitscope run` besides their own.
    pub fn arguments(self) -> Vec<String> {
        self.forces()
            .flat_map(|forced| {
                let source = format!("{}={}", forced.option, self.name());
                ["--force-source".to_owned(), source]
            })
            .collect()
    }

    /// The suites that say something new in this pass.
    pub fn suites(self) -> Vec<&'static str> {
        match self {
            Self::Auto => SUITES.to_vec(),
            _ => self.forces().map(|forced| forced.suite).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_pass_runs_what_it_forces() {
        assert!(Pass::Auto.arguments().is_empty());
        let arguments = Pass::Tracepoint.arguments().join(" ");
        assert_eq!(
            arguments,
            "--force-source oom=tracepoint --force-source throttle=tracepoint"
        );
        assert_eq!(Pass::CpuStat.suites(), ["throttle"]);
        for suite in Pass::Kprobe.suites() {
            assert!(SUITES.contains(&suite));
        }
    }
}
