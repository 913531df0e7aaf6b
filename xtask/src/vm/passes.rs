//! What is run in a guest: passes over suites, with the better sources or with forced ones.

use std::fmt::Write as _;

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
    /// Guests with four and with eight CPUs, on one kernel
    Wide,
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

/// The program of the tests package that has all suites, each as a module.
pub const PROGRAM: &str = "machine_matrix";

/// Suites of the tests package that a guest runs: those with the kernel's own figures as referees.
/// They need neither an engine nor a network.
pub const SUITES: [&str; 8] = [
    "oom",
    "throttle",
    "switches",
    "lifecycle",
    "machine",
    RIGHTS,
    LOCKED,
    WIDE,
];

/// The suite about capabilities. What they are needed for has changed twice, so that it is run on
/// [`Slot::rights`](super::kernels::Slot) alone.
const RIGHTS: &str = "privileges";

/// The suite of [`Pass::Locked`].
const LOCKED: &str = "machine_locked";

/// The suite of [`Pass::Wide`]: what two CPUs are too few for.
const WIDE: &str = "machine_wide";

impl Pass {
    /// What is run if nothing else is asked for.
    pub const ALL: [Self; 5] = [
        Self::Auto,
        Self::Kprobe,
        Self::Tracepoint,
        Self::Locked,
        Self::Wide,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Kprobe => "kprobe",
            Self::Tracepoint => "tracepoint",
            Self::Locked => "locked",
            Self::Wide => "wide",
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

    /// Arguments that the tests give to `limitscope run` besides their own.
    pub fn arguments(self) -> Vec<String> {
        let forced = self.forces().flat_map(|(forced, source)| {
            let source = format!("{}={}", forced.option, source.name);
            ["--force-source".to_owned(), source]
        });
        (ROOM.iter().map(|&word| word.to_owned()))
            .chain(forced)
            .collect()
    }

    /// What says something new in this pass, by the process that runs it.
    pub fn parts(self, rights: bool) -> Vec<Part> {
        let part = |name, suites| Part { name, suites };
        let whole = |suite: &&'static str| (*suite, &[][..]);
        match self {
            Self::Auto => {
                let apart = [RIGHTS, LOCKED, WIDE];
                let together = SUITES.iter().filter(|suite| !apart.contains(suite));
                let mut parts = vec![part(TOGETHER, together.map(whole).collect())];
                if rights {
                    parts.push(part(RIGHTS, vec![whole(&RIGHTS)]));
                }
                parts
            }
            Self::Locked => vec![part(LOCKED, vec![whole(&LOCKED)])],
            Self::Wide => vec![part(WIDE, vec![whole(&WIDE)])],
            Self::Kprobe | Self::Tracepoint => {
                let forced = self.forces();
                let suites = forced.map(|(forced, source)| (forced.suite, source.tests));
                vec![part(TOGETHER, suites.collect())]
            }
        }
    }
}

/// The name of the part with most suites.
const TOGETHER: &str = "suites";

/// What one process runs: starting the program under test is what a test costs most under emulation,
/// and the tests of a process share it.
pub struct Part {
    pub name: &'static str,
    /// Each with the tests that are meant; none means all.
    pub suites: Vec<(&'static str, &'static [&'static str])>,
}

impl Part {
    /// Arguments that choose the tests: those with `filter` in their name, if there is one.
    pub fn choice(&self, filter: Option<&str>) -> String {
        let tests = (self.suites.iter())
            .flat_map(|(suite, tests)| tests.iter().map(move |test| format!("{suite}::{test}")));
        let tests: Vec<String> = tests.collect();
        if filter.is_none() && !tests.is_empty() {
            return format!("--exact {}", tests.join(" "));
        }
        let mut choice = filter.unwrap_or_default().to_owned();
        let ours = |suite: &&str| self.suites.iter().any(|(own, _)| own == suite);
        for suite in SUITES.iter().filter(|suite| !ours(suite)) {
            let _ = write!(choice, " --skip {suite}::");
        }
        choice
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forced_pass_runs_what_it_forces() {
        assert_eq!(Pass::Auto.arguments(), ROOM);
        let arguments = Pass::Kprobe.arguments()[ROOM.len()..].join(" ");
        assert_eq!(
            arguments,
            "--force-source oom=kprobe --force-source throttle=kretprobe"
        );
        assert_eq!(Pass::Auto.forced_source("oom_kill"), None);
        assert_eq!(
            Pass::Kprobe.forced_source("cpu_throttle"),
            Some("kretprobe")
        );
        let [part] = &Pass::Kprobe.parts(true)[..] else {
            panic!("more than one");
        };
        for (suite, tests) in &part.suites {
            assert!(SUITES.contains(suite) && !tests.is_empty());
        }
        let choice = part.choice(None);
        assert!(choice.starts_with("--exact oom::who"), "{choice}");
        assert!(choice.contains(" throttle::many_threads "), "{choice}");
        let choice = part.choice(Some("many"));
        assert!(choice.starts_with("many --skip switches:: "), "{choice}");
    }

    #[test]
    fn every_suite_is_run() {
        let mut suites: Vec<&str> = (Pass::ALL.iter())
            .flat_map(|pass| pass.parts(true))
            .flat_map(|part| part.suites)
            .map(|(suite, _)| suite)
            .collect();
        suites.sort_unstable();
        suites.dedup();
        assert_eq!(suites.len(), SUITES.len());
        let auto = Pass::Auto.parts(false);
        assert_eq!(auto.len(), 1);
        assert!(auto[0].choice(None).contains("--skip privileges::"));
        assert!(!auto[0].choice(None).contains("--skip machine:: "));
    }
}
