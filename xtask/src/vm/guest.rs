//! A guest: a kernel of the matrix under emulation, and what it has to do.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::{
    image,
    kernels::Kernel,
    passes::Pass,
    transcript::{Section, Transcript},
};

pub const EMULATOR: &str = "qemu-system-x86_64";

/// No KVM: it is not everywhere, and figures of two kinds of machines could not be compared.
///
/// One thread takes turns at the CPUs: with a thread for each, QEMU 7.2 can miss that a kernel has
/// patched its own code, as it does whenever a program is attached, and both CPUs then take the
/// breakpoint of the patching for ever. `-cx16`: with it that version crashes kernels now and then.
/// Vectors of an old model are cheap to emulate: `max` takes half as much time again.
///
/// The second memory node has no CPU and little memory, which tests use up.
const MACHINE: [&str; 23] = [
    "-accel",
    "tcg,thread=single",
    "-cpu",
    "Nehalem,-cx16",
    "-smp",
    "2",
    "-m",
    "1152M",
    "-object",
    "memory-backend-ram,id=most,size=1G",
    "-numa",
    "node,memdev=most,cpus=0-1",
    "-object",
    "memory-backend-ram,id=little,size=128M",
    "-numa",
    "node,memdev=little",
    "-display",
    "none",
    "-nodefaults",
    "-net",
    "none",
    "-no-reboot",
    "-serial",
    // The first serial port's file follows.
];

/// `no_timer_check`: a guest that has to wait for a CPU would fail the kernel's test of its timer.
/// `rootfstype=ramfs`: pages of ramfs are page cache like a disk's, those of tmpfs, the other
/// choice, count as shared memory. The second half is what a guest can do without: checks of the
/// kernel's own and waits for them, a fifth of all CPU time.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check \
                            rootfstype=ramfs rdinit=/init \
                            init_on_alloc=0 hardened_usercopy=off kfence.sample_interval=0 \
                            rcupdate.rcu_expedited=1 cryptomgr.notests audit=0 nowatchdog";

/// A guest that says nothing for so long hangs: no test is silent for half of it.
const SILENCE: Duration = Duration::from_mins(2);

/// How often a guest is booted again.
const AGAIN: usize = 2;

/// Lines of the console that are shown when something went wrong.
const TAIL: usize = 20;

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
    pub passes: Vec<Pass>,
    /// Whether the suite about capabilities is run.
    pub rights: bool,
    /// Only tests whose name has this in it.
    pub filter: Option<String>,
}

/// How it went.
pub struct Ended {
    pub transcript: Transcript,
    /// What was wrong with the guest itself.
    pub failure: Option<String>,
    pub wall: Duration,
    /// CPU time of the emulator.
    pub cpu: Duration,
    /// Why it had to be booted again, for each time.
    pub again: Vec<String>,
}

impl Guest {
    pub fn name(&self) -> String {
        format!("{} cgroup {}", self.kernel.label(), self.cgroups.name())
    }

    /// What its first process runs, without what has been run.
    fn plan(&self, done: &[Section]) -> String {
        let mut plan = format!("cgroup_{}\n", self.cgroups.name());
        for (variable, value) in [
            ("LIMITSCOPE_BIN", "/bin/limitscope"),
            ("LIMITSCOPE_WORKLOAD", "/bin/limitscope-workload"),
            ("LIMITSCOPE_TEST_DISK", "/var/tmp"),
            ("LIMITSCOPE_EMULATED", "1"),
        ] {
            let _ = writeln!(plan, "export {variable}={value}");
        }
        for pass in &self.passes {
            let name = pass.name();
            let is_done = |suite: &str| {
                let mut done = done.iter();
                done.any(|section| section.pass == name && section.name == suite)
            };
            if *pass == Pass::Auto && !is_done("check") {
                let _ = writeln!(plan, "section {name} check limitscope check --json");
            }
            for (suite, tests) in pass.suites(self.rights) {
                if is_done(suite) {
                    continue;
                }
                let which = match &self.filter {
                    Some(filter) => filter.clone(),
                    None if tests.is_empty() => String::new(),
                    None => format!("--exact {}", tests.join(" ")),
                };
                let arguments = pass.arguments(suite).join(" ");
                let _ = writeln!(plan, "export LIMITSCOPE_TEST_ARGS='{arguments}'");
                let _ = writeln!(
                    plan,
                    "section {name} {suite} /tests/{suite} --test-threads=1 --nocapture {which}"
                );
            }
        }
        // For whoever reads the log of a failure.
        plan.push_str("section all messages dmesg\n");
        plan
    }

    /// Boots it and hears it out. One that hangs or dies is booted again for what is left: now and then
    /// QEMU 7.2 misses that a kernel has patched its own code, most often the oldest after a CPU or the
    /// machine was away. What is wrong with the kernel or with us comes again, and a test that fails
    /// is not tried again.
    pub fn run(&self, shared: &Path, folder: &Path, budget: Duration) -> Result<Ended> {
        let stem = self.name().replace(' ', "-");
        let begin = Instant::now();
        let mut again: Vec<String> = Vec::new();
        let mut done: Vec<Section> = Vec::new();
        let mut cpu = Duration::ZERO;
        let ended = loop {
            let number = again.len() + 1;
            let place = |ending: &str| folder.join(format!("{stem}.{number}.{ending}"));
            let initrd = place("initrd");
            image::with_plan(shared, &self.plan(&done), &initrd)?;
            let left = budget.saturating_sub(begin.elapsed());
            let files = (initrd.as_path(), place("log"), place("console"));
            let (mut transcript, overran, took) = self.boot(&files, left)?;
            fs::remove_file(&initrd)?;
            cpu += took;
            let failure = match &transcript {
                Transcript {
                    broken: Some(why), ..
                } => Some(why.clone()),
                Transcript { finished: true, .. } => None,
                Transcript { booted: None, .. } => Some("the kernel did not boot".to_owned()),
                _ if overran => Some("the guest said nothing any more".to_owned()),
                _ => Some("the guest ended too early".to_owned()),
            };
            let failure = failure.map(|why| format!("{why}; {}", console(&files.2)));
            if let Some(why) = &failure
                && again.len() < AGAIN
                && begin.elapsed() < budget / 2
            {
                println!("vm: {}: booted again: {why}", self.name());
                again.push(why.clone());
                done.extend(transcript.sections.into_iter().filter(|s| s.code.is_some()));
                continue;
            }
            done.append(&mut transcript.sections);
            transcript.sections = done;
            break Ended {
                transcript,
                failure,
                wall: begin.elapsed(),
                cpu,
                again,
            };
        };
        Ok(ended)
    }

    fn boot(
        &self,
        (initrd, log, console): &(&Path, PathBuf, PathBuf),
        budget: Duration,
    ) -> Result<(Transcript, bool, Duration)> {
        let mut command = Command::new(EMULATOR);
        command
            .args(MACHINE)
            .arg(format!("file:{}", console.display()))
            .args(["-serial", "stdio", "-kernel"])
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(initrd)
            .args(["-append", COMMAND_LINE])
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and touches only the child. The thread that starts it
        // waits for it.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {EMULATOR}"))?;
        let heard = child.stdout.take().context("its output is piped");
        let result = heard.and_then(|out| self.listen(out, log, budget));
        let overran = match &result {
            Ok((_, overran)) => *overran,
            Err(_) => true,
        };
        let cpu = end(&mut child, overran)?;
        result.map(|(transcript, overran)| (transcript, overran, cpu))
    }

    /// Reads until the guest is gone or out of time.
    fn listen(&self, out: ChildStdout, log: &Path, budget: Duration) -> Result<(Transcript, bool)> {
        let mut log =
            File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            let mut out = BufReader::new(out);
            let mut bytes = Vec::new();
            while out.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
                if sender.send(std::mem::take(&mut bytes)).is_err() {
                    break;
                }
            }
        });
        let end = Instant::now() + budget;
        let mut transcript = Transcript::default();
        loop {
            let left = end.saturating_duration_since(Instant::now()).min(SILENCE);
            let bytes = match lines.recv_timeout(left) {
                Ok(bytes) => bytes,
                Err(RecvTimeoutError::Disconnected) => return Ok((transcript, false)),
                Err(RecvTimeoutError::Timeout) => return Ok((transcript, true)),
            };
            log.write_all(&bytes)?;
            let line = String::from_utf8_lossy(&bytes);
            if transcript.line(line.trim_end_matches(['\n', '\r']))
                && let Some(section) = transcript.sections.last()
            {
                println!(
                    "vm: {}: {} {} ended after {:.1} s",
                    self.name(),
                    section.pass,
                    section.name,
                    section.seconds
                );
            }
        }
    }
}

/// Ends the emulator, which has said its last, or does not come to an end, and tells the CPU time
/// that it took.
fn end(child: &mut Child, now: bool) -> Result<Duration> {
    let deadline = Instant::now() + Duration::from_secs(if now { 0 } else { 10 });
    let stat = format!("/proc/{}/stat", child.id());
    let mut cpu = Duration::ZERO;
    loop {
        // As long as nobody has waited for it, it is there.
        cpu = fs::read_to_string(&stat).map_or(cpu, |stat| cpu_time(&stat));
        if child.try_wait()?.is_some() {
            return Ok(cpu);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(cpu);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5), of which the second is the command,
/// in parentheses.
fn cpu_time(stat: &str) -> Duration {
    let ticks: u64 = (stat.rsplit(')').next().unwrap_or_default())
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// The last lines of the kernel's messages.
fn console(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if lines.is_empty() {
        return "its console is empty".to_owned();
    }
    let tail = &lines[lines.len().saturating_sub(TAIL)..];
    format!("its console:\n    {}", tail.join("\n    "))
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
    fn cpu_time_is_read() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!(
            "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 {ticks} {} 0 0",
            2 * ticks
        );
        assert_eq!(cpu_time(&stat), Duration::from_secs(3));
    }

    #[test]
    fn a_plan_names_passes_and_suites() {
        let guest = Guest {
            kernel: Kernel {
                slot: 0,
                version: "5.10.262-1".to_owned(),
                image: PathBuf::new(),
            },
            cgroups: Cgroups::V1,
            passes: vec![Pass::Auto, Pass::Tracepoint],
            rights: false,
            filter: Some("one".to_owned()),
        };
        assert_eq!(guest.name(), "5.10.262 cgroup v1");
        let plan = guest.plan(&[]);
        assert!(plan.starts_with("cgroup_v1\n"));
        assert!(plan.contains("section auto check limitscope check --json\n"));
        let run = "section auto switches /tests/switches --test-threads=1 --nocapture one\n";
        assert!(plan.contains(run), "{plan}");
        assert!(!plan.contains("section tracepoint switches"));
        let done = Section {
            pass: "auto".to_owned(),
            name: "switches".to_owned(),
            ..Section::default()
        };
        let left = guest.plan(&[done]);
        assert!(!left.contains(run), "{left}");
        assert!(left.contains("section auto throttle"), "{left}");
        let whole = Guest {
            filter: None,
            ..guest
        };
        let run = "section tracepoint throttle /tests/throttle --test-threads=1 --nocapture --exact \
                   many_threads ";
        assert!(whole.plan(&[]).contains(run), "{}", whole.plan(&[]));
        assert!(check_filter("a_b::c").is_ok() && check_filter("a b").is_err());
    }
}
