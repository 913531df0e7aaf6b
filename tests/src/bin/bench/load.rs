//! The load: two processes on one CPU that wake each other, in a cgroup of their own.

use std::{
    io::{Read, Write},
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use limitscope_tests::{cgroup::Cgroup, wait, workload::Workload};
use rustix::{
    process::{Pid, Signal, kill_process},
    thread::{CpuSet, sched_setaffinity},
};

/// The CPU that it runs on.
pub const CPU: usize = 0;
/// Longest time that a bounded load may take.
const PATIENCE: Duration = Duration::from_mins(5);

/// What the load is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// `perf bench sched pipe`
    Perf,
    /// The workload's own ping-pong, where perf is missing.
    Workload,
}

impl Means {
    /// What this machine has.
    pub fn find() -> Self {
        let works = Command::new("perf")
            .args(["bench", "-f", "simple", "sched", "pipe", "-l", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if works { Self::Perf } else { Self::Workload }
    }

    /// For the method's text.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Perf => "taskset -c 0 perf bench sched pipe",
            Self::Workload => {
                "two processes of the tests' own that play ping-pong over pipes on CPU 0"
            }
        }
    }

    /// Plays `rounds` rounds (two switches each) in `cgroup`; returns microseconds a round.
    pub fn play(self, cgroup: &Cgroup, rounds: u64) -> Result<f64> {
        let mut load = Load::start(self, cgroup, rounds)?;
        load.go()?;
        let seconds = load.finish()?;
        Ok(seconds * 1e6 / rounds as f64)
    }
}

/// A load; dropping it kills everything in its cgroup.
#[derive(Debug)]
pub struct Load<'c> {
    cgroup: &'c Cgroup,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Perf(Child, Option<ChildStdin>),
    Workload(Box<Workload>),
}

impl<'c> Load<'c> {
    /// Starts one that waits for [`Self::go`].
    pub fn start(means: Means, cgroup: &'c Cgroup, rounds: u64) -> Result<Self> {
        let rounds = rounds.to_string();
        let (load, pid) = match means {
            Means::Perf => {
                // The shell waits, so that perf's whole life is in the cgroup and on the CPU.
                let mut child = Command::new("sh")
                    .args(["-c", "read -r go && exec \"$@\"", "sh"])
                    .args([
                        "perf", "bench", "-f", "simple", "sched", "pipe", "-l", &rounds,
                    ])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .context("starting perf")?;
                let stdin = child.stdin.take();
                let pid = child.id();
                let kind = Kind::Perf(child, stdin);
                let load = Self { cgroup, kind };
                cgroup.add(pid)?;
                (load, pid)
            }
            Means::Workload => {
                let args = ["pingpong", "--kind", "processes", "--ms", "3600000"];
                let workload =
                    Workload::start_in(cgroup, &[&args[..], &["--rounds", &rounds]].concat())?;
                let pid = workload.pid();
                let kind = Kind::Workload(Box::new(workload));
                (Self { cgroup, kind }, pid)
            }
        };
        pin(pid, CPU)?;
        Ok(load)
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        match &mut self.kind {
            Kind::Perf(_, stdin) => stdin
                .take()
                .context("it was let go already")?
                .write_all(b"go\n")
                .context("letting perf go"),
            Kind::Workload(workload) => workload.go(),
        }
    }

    /// Waits for its end; returns the seconds that it took by its own clock.
    fn finish(&mut self) -> Result<f64> {
        match &mut self.kind {
            Kind::Perf(child, _) => {
                let status = wait::until("perf's end", PATIENCE, || Ok(child.try_wait()?))?;
                let mut text = String::new();
                if let Some(stdout) = &mut child.stdout {
                    stdout.read_to_string(&mut text)?;
                }
                ensure!(status.success(), "perf ended with {status}");
                text.trim()
                    .parse()
                    .with_context(|| format!("perf said {text:?}"))
            }
            Kind::Workload(workload) => {
                let result = workload.result_within(PATIENCE)?;
                let Some(nanoseconds) = result["elapsed_ns"].as_u64() else {
                    bail!("the workload said {result}");
                };
                Ok(nanoseconds as f64 / 1e9)
            }
        }
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        // perf's child does not end with perf.
        for pid in self.cgroup.procs().unwrap_or_default() {
            if let Some(pid) = Pid::from_raw(pid as i32) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        if let Kind::Perf(child, _) = &mut self.kind {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Keeps a process, with all it starts later, on one CPU.
pub fn pin(pid: u32, cpu: usize) -> Result<()> {
    let process = Pid::from_raw(pid as i32).context("not a process id")?;
    pin_thread(Some(process), cpu)
}

/// Keeps a thread, or the calling one, on one CPU.
pub fn pin_thread(thread: Option<Pid>, cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu);
    sched_setaffinity(thread, &set).with_context(|| format!("keeping a thread on CPU {cpu}"))
}
