//! A guest: a kernel of the matrix under emulation, and what it has to do.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    emulator::{self, Files, Heard, Machine},
    image,
    kernels::Kernel,
    passes::{PROGRAM, Pass},
    transcript::{Section, Transcript},
};

/// The second memory node has no CPU and little memory, which tests use up.
const ARGUMENTS: [&str; 10] = [
    "-cpu",
    emulator::CPU,
    "-m",
    "640M",
    "-object",
    "memory-backend-ram,id=most,size=512M",
    "-object",
    "memory-backend-ram,id=little,size=128M",
    "-numa",
    "node,memdev=little",
];

/// The CPUs of a guest that is about something else.
pub const CPUS: u32 = 2;

/// Where a guest has the programs of Go that were built for it.
const GO: &str = "go";

/// The time of a guest with many CPUs is counted in instructions, four nanoseconds for each, and what is
/// idle is skipped. They all take turns at one CPU here, and what is judged there is how much of a period
/// they need together: by this machine's clock that is anything.
const CLOCK: [&str; 2] = ["-icount", "shift=2,sleep=off"];

/// `rootfstype=ramfs`: pages of ramfs are page cache like a disk's, those of tmpfs, the other choice,
/// count as shared memory.
const COMMAND_LINE: &str = "rootfstype=ramfs rdinit=/init";

/// No test is silent for half of it.
const SILENCE: Duration = Duration::from_mins(2);

/// How a guest has its controllers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cgroups {
    V1,
    V2,
}

impl Cgroups {
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

/// A kernel and what is run on it.
pub struct Guest {
    pub kernel: Kernel,
    pub cgroups: Cgroups,
    pub cpus: u32,
    pub passes: Vec<Pass>,
    /// Whether the suite about capabilities is run.
    pub rights: bool,
    /// Only tests whose name has this in it.
    pub filter: Option<String>,
    /// Programs of Go that its tests run: name, file here.
    pub go: Vec<(String, PathBuf)>,
}

/// How it went.
pub struct Ended {
    pub transcript: Transcript,
    /// What was wrong with the guest itself.
    pub failure: Option<String>,
    pub wall: Duration,
    /// CPU time of the emulator.
    pub cpu: Duration,
}

impl Guest {
    pub fn name(&self) -> String {
        let name = format!("{} cgroup {}", self.kernel.label(), self.cgroups.name());
        match self.cpus {
            CPUS => name,
            cpus => format!("{name} with {cpus} CPUs"),
        }
    }

    /// Whether it has more CPUs than most, and the programs that need them.
    pub fn is_wide(&self) -> bool {
        self.passes.contains(&Pass::Wide)
    }

    fn machine(&self) -> Machine {
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.extend(["-smp".to_owned(), self.cpus.to_string()]);
        let node = format!("node,memdev=most,cpus=0-{}", self.cpus - 1);
        arguments.extend(["-numa".to_owned(), node]);
        if self.is_wide() {
            arguments.extend(CLOCK.map(str::to_owned));
        }
        Machine {
            arguments,
            command_line: COMMAND_LINE,
            silence: SILENCE,
        }
    }

    /// What its first process runs.
    fn plan(&self) -> String {
        let mut plan = format!("cgroup_{}\n", self.cgroups.name());
        for (variable, value) in [
            ("LIMITSCOPE_BIN", "/bin/limitscope"),
            ("LIMITSCOPE_WORKLOAD", "/bin/limitscope-workload"),
            ("LIMITSCOPE_TEST_DISK", "/var/tmp"),
            ("LIMITSCOPE_EMULATED", "1"),
        ] {
            let _ = writeln!(plan, "export {variable}={value}");
        }
        let _ = writeln!(plan, "export LIMITSCOPE_GUEST_CPUS={}", self.cpus);
        let _ = writeln!(plan, "export LIMITSCOPE_GO_PROGRAMS=/{GO}");
        for pass in &self.passes {
            let name = pass.name();
            if *pass == Pass::Auto {
                let _ = writeln!(plan, "section {name} check limitscope check --json");
            }
            let arguments = pass.arguments().join(" ");
            let _ = writeln!(plan, "export LIMITSCOPE_TEST_ARGS='{arguments}'");
            for part in pass.parts(self.rights) {
                let choice = part.choice(self.filter.as_deref());
                let _ = writeln!(
                    plan,
                    "section {name} {} /tests/{PROGRAM} --test-threads=1 --nocapture {choice}",
                    part.name
                );
            }
        }
        // For whoever reads the log of a failure.
        plan.push_str("section all messages dmesg\n");
        plan
    }

    fn tell(&self, section: &Section) {
        println!(
            "vm: {}: {} {} ended after {:.1} s",
            self.name(),
            section.pass,
            section.name,
            section.seconds
        );
    }

    /// Boots it and hears it out. One that hangs or dies has failed: what looked like a fault of the
    /// emulator has been one of ours before.
    pub fn run(&self, shared: &Path, folder: &Path, budget: Duration) -> Result<Ended> {
        let stem = self.name().replace(' ', "-");
        let begin = Instant::now();
        let place = |ending: &str| folder.join(format!("{stem}.{ending}"));
        let initrd = place("initrd");
        let programs = (self.go.iter()).map(|(name, file)| (format!("{GO}/{name}"), &**file));
        image::with_plan(shared, &self.plan(), programs, &initrd)?;
        let console = place("console");
        let machine = self.machine();
        let files = Files {
            machine: &machine,
            kernel: &self.kernel.image,
            initrd: &initrd,
            log: &place("log"),
            console: &console,
        };
        let Heard {
            transcript,
            overran,
            cpu,
        } = emulator::boot(&files, budget, |section| self.tell(section))?;
        fs::remove_file(&initrd)?;
        let failure = failure(&transcript, overran);
        Ok(Ended {
            failure: failure.map(|why| format!("{why}; {}", emulator::console(&console))),
            transcript,
            wall: begin.elapsed(),
            cpu,
        })
    }
}

/// What was wrong with a guest itself, if anything was.
pub fn failure(transcript: &Transcript, overran: bool) -> Option<String> {
    match transcript {
        Transcript {
            broken: Some(why), ..
        } => Some(why.clone()),
        Transcript { finished: true, .. } => None,
        Transcript { booted: None, .. } => Some("the kernel did not boot".to_owned()),
        _ if overran => Some("the guest said nothing any more".to_owned()),
        _ => Some("the guest ended too early".to_owned()),
    }
}

/// Whether a filter can be handed through a shell as it is.
pub fn check_filter(filter: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "_:".contains(c);
    if !filter.chars().all(plain) {
        bail!("a filter for guests has letters, digits, _ and : only: {filter:?}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_names_passes_and_suites() {
        let guest = Guest {
            kernel: Kernel {
                slot: 0,
                version: "5.10.262-1".to_owned(),
                image: PathBuf::new(),
            },
            cgroups: Cgroups::V1,
            cpus: CPUS,
            passes: vec![Pass::Auto, Pass::Tracepoint],
            rights: false,
            filter: Some("one".to_owned()),
            go: Vec::new(),
        };
        assert_eq!(guest.name(), "5.10.262 cgroup v1");
        let plan = guest.plan();
        assert!(plan.starts_with("cgroup_v1\n"));
        assert!(plan.contains("section auto check limitscope check --json\n"));
        let run =
            "section auto suites /tests/machine_matrix --test-threads=1 --nocapture one --skip ";
        assert!(plan.contains(run), "{plan}");
        let whole = Guest {
            filter: None,
            ..guest
        };
        let run = "section tracepoint suites /tests/machine_matrix --test-threads=1 --nocapture \
                   --exact oom::";
        assert!(whole.plan().contains(run), "{}", whole.plan());
        assert!(check_filter("a_b::c").is_ok() && check_filter("a b").is_err());
    }
}
