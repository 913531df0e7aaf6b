//! What is run in a guest: passes over suites, with the better sources or with forced ones.

/// A pass over the suites.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Pass {
    /// The best source that each signal has on that kernel
    Auto,
    /// Programs at functions by kprobe and kretprobe
    Kprobe,
    /// Tracepoints alone
    Tracepoint,
    /// A kernel that is locked down, which it stays: the last
    Locked,
}

/// A signal with more than one source.
struct Forced {
    /// As the plan names it.
    signal: &'static str,
    /// As `--force-source` names it.
    option: &'static str,
    /// The suite that is about it.
    suite: &'static str,
    /// Its source in each pass that forces one.
    sources: &'static [Source],
}

/// A source that a pass forces.
struct Source {
    pass: Pass,
    name: &'static str,
    /// The tests of the suite that it is put to: those where it differs in what it sees.
    tests: &'static [&'static str],
}

/// Kills that need more than the victim's mark.
const KILLS: &[&str] = &[
    "who_shares_the_memory_dies_too_and_is_told",
    "two_limits_of_which_the_outer_fires",
    "a_storm_in_one_cgroup_is_counted_as_the_kernel_does",
    "a_group_kill_tells_every_victim",
];

/// `cpu_stat`, the last resort of throttling, is forced by a test of its own in every pass.
const FORCED: [Forced; 2] = [
    Forced {
        signal: "oom_kill",
        option: "oom",
        suite: "oom",
        sources: &[
            Source {
                pass: Pass::Kprobe,
                name: "kprobe",
                tests: KILLS,
            },
            Source {
                pass: Pass::Tracepoint,
                name: "tracepoint",
                tests: KILLS,
            },
        ],
    },
    Forced {
        signal: "cpu_throttle",
        option: "throttle",
        suite: "throttle",
        sources: &[
            Source {
                pass: Pass::Kprobe,
                name: "kretprobe",
                tests: &["many_threads", "a_quota_that_changes_while_it_holds"],
            },
            Source {
                pass: Pass::Tracepoint,
                name: "tracepoint",
                tests: &[
                    "many_threads",
                    "a_short_period",
                    "a_quota_that_changes_while_it_holds",
                ],
            },
        ],
    },
];

/// Room for fewer cgroups than usual, since making the maps takes seconds under emulation. No test
/// has as many at a time.
const ROOM: [&str; 2] = ["--max-cgroups", "256"];

/// What is about OOM kills alone needs no other programs: the verifier takes seconds for the one at
/// each switch under emulation, at every start. The other suites run with all of them.
const ONLY_OOM: [&str; 2] = ["--events", "oom_kill"];

/// Suites of the tests package that a guest runs: those with the kernel's own figures as referees.
/// They need neither an engine nor a network.
pub const SUITES: [&str; 7] = [
    "oom",
    "throttle",
    "switches",
    "lifecycle",
    "machine",
    RIGHTS,
    LOCKED,
];

/// The suite about capabilities. What they are needed for has changed twice, so that it is run on
/// [`Slot::rights`](super::kernels::Slot) alone.
const RIGHTS: &str = "privileges";

/// The suite of [`Pass::Locked`].
const LOCKED: &str = "machine_locked";

impl Pass {
    /// What is run if nothing else is asked for.
    pub const ALL: [Self; 4] = [Self::Auto, Self::Kprobe, Self::Tracepoint, Self::Locked];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Locked => "locked",
        }
    }

    /// What it forces, and the source to which.
    fn forces(self) -> impl Iterator<Item = (&'static Forced, &'static Source)> {
        FORCED.iter().filter_map(move |forced| {
            let source = forced.sources.iter().find(|source| source.pass == self);
            source.map(|source| (forced, source))
        })
    }

    /// The source that this pass forces for a signal, as the plan names it.
    pub fn forced_source(self, signal: &str) -> Option<&'static str> {
        self.forces()
            .find(|(forced, _)| forced.signal == signal)
            .map(|(_, source)| source.name)
    }

    /// Arguments that the tests of a suite give to `limitscope run` besides their own.
    pub fn arguments(self, suite: &str) -> Vec<String> {
        let forced = self.forces().flat_map(|(forced, source)| {
            let source = format!("{}={}", forced.option, source.name);
            ["--force-source".to_owned(), source]
        });
        let only: &[&str] = if suite == "oom" { &ONLY_OOM } else { &[] };
        (ROOM.iter().chain(only))
            .map(|&word| word.to_owned())
            .chain(forced)
            .collect()
    }

    /// The suites that say something new in this pass, and which tests of each; none means all.
    pub fn suites(self, rights: bool) -> Vec<(&'static str, &'static [&'static str])> {
        match self {
            Self::Auto => (SUITES.iter())
                .filter(|suite| rights || **suite != RIGHTS)
                .filter(|suite| **suite != LOCKED)
                .map(|suite| (*suite, &[][..]))
                .collect(),
            Self::Locked => vec![(LOCKED, &[])],
            Self::Kprobe | Self::Tracepoint => (self.forces())
                .map(|(forced, source)| (forced.suite, source.tests))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_pass_runs_what_it_forces() {
        assert_eq!(Pass::Auto.arguments("switches"), ROOM);
        let arguments = Pass::Kprobe.arguments("oom")[ROOM.len()..].join(" ");
        assert_eq!(
            arguments,
            "--events oom_kill --force-source oom=kprobe --force-source throttle=kretprobe"
        );
        assert_eq!(Pass::Auto.forced_source("oom_kill"), None);
        assert_eq!(
            Pass::Kprobe.forced_source("cpu_throttle"),
            Some("kretprobe")
        );
        for (suite, tests) in Pass::Kprobe.suites(true) {
            assert!(SUITES.contains(&suite) && !tests.is_empty());
        }
        let auto = Pass::Auto.suites(false);
        assert_eq!(auto.len() + 1, Pass::Auto.suites(true).len());
        assert_eq!(auto.len() + 2, SUITES.len());
    }
}
