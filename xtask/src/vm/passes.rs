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
}

/// Signals with more than one source, as `--force-source` names them, and the suite about each.
const WITH_SOURCES: [(&str, &str); 2] = [("oom", "oom"), ("throttle", "throttle")];

/// Suites of the tests package that a guest can run: they need neither an engine nor a network.
pub const SUITES: [&str; 5] = ["fixtures", "oom", "throttle", "switches", "lifecycle"];

impl Pass {
    /// What is run if nothing else is asked for. The forced passes need `limitscope run
    /// --force-source`; a binary without it fails them.
    pub const DEFAULT: [Self; 1] = [Self::Auto];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
        }
    }

    /// Arguments that the tests give to `limitscope run` besides their own.
    pub fn arguments(self) -> Vec<String> {
        if self == Self::Auto {
            return Vec::new();
        }
        WITH_SOURCES
            .iter()
            .flat_map(|(signal, _)| {
                let forced = format!("{signal}={}", self.name());
                ["--force-source".to_owned(), forced]
            })
            .collect()
    }

    /// The suites that say something new in this pass.
    pub fn suites(self) -> Vec<&'static str> {
        match self {
            Self::Auto => SUITES.to_vec(),
            _ => WITH_SOURCES.iter().map(|(_, suite)| *suite).collect(),
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
        for suite in Pass::Kprobe.suites() {
            assert!(SUITES.contains(&suite));
        }
    }
}
