//! The processes of the demo: this program again, with a command that only the demo uses.
//!
//! A process waits for a line on its stdin before it does anything, so that it is in its cgroup by
//! then. It starts this program once more in its place, so that all of its memory is charged to that
//! cgroup. It ends when its stdin ends: also when the demo was killed.

use std::{
    ffi::{CStr, OsStr},
    io::{self, BufRead as _, Read as _, Write as _},
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use super::sandbox::Group;

/// Memory that is taken at once.
const CHUNK: usize = 256 << 10;

/// Work of a process of `limitscope demo`.
#[derive(Args, Clone, Copy, Debug)]
pub struct WorkloadArgs {
    /// What to do.
    #[arg(value_enum)]
    kind: Kind,
    /// Memory to take in a second, in bytes (leaking).
    #[arg(long, default_value_t = 16 << 20)]
    rate: u64,
    /// Threads (burning).
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Begin at once.
    #[arg(long)]
    now: bool,
}

/// What a process of the demo does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Takes memory and never gives it back.
    Leaking,
    /// Computes in many threads.
    Burning,
    /// Wakes ten times a second and does next to nothing.
    Quiet,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Leaking => "leaking",
            Self::Burning => "burning",
            Self::Quiet => "quiet",
        }
    }

    /// Name of the process, as the kernel shows it.
    const fn command(self) -> &'static CStr {
        match self {
            Self::Leaking => c"demo-leaking",
            Self::Burning => c"demo-burning",
            Self::Quiet => c"demo-quiet",
        }
    }
}

/// Runs the work, in a process of its own.
pub fn run(args: &WorkloadArgs) -> Result<ExitCode> {
    rustix::thread::set_name(args.kind.command()).context("cannot name the process")?;
    let mut stdin = io::stdin().lock();
    if !args.now {
        let mut line = String::new();
        if stdin.read_line(&mut line)? == 0 {
            return Ok(ExitCode::SUCCESS);
        }
        let error = command(std::env::args_os().skip(1)).arg("--now").exec();
        return Err(error).context("cannot start anew");
    }
    match args.kind {
        Kind::Leaking => {
            let rate = args.rate.max(1);
            spawn(args.kind, move || leak(rate))?;
        }
        Kind::Burning => {
            for _ in 0..args.threads {
                spawn(args.kind, burn)?;
            }
        }
        Kind::Quiet => spawn(args.kind, rest)?,
    }
    // The threads end with the process.
    stdin.read_to_end(&mut Vec::new())?;
    Ok(ExitCode::SUCCESS)
}

/// This program, with arguments.
fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("limitscope").args(arguments);
    command
}

fn spawn(kind: Kind, work: impl FnOnce() + Send + 'static) -> Result<()> {
    let name = kind.command().to_string_lossy().into_owned();
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .context("cannot start a thread")?;
    Ok(())
}

fn leak(rate: u64) {
    let mut taken: Vec<Vec<u8>> = Vec::new();
    let start = Instant::now();
    loop {
        // Something else than 0, so that each page is really there.
        taken.push(vec![1; CHUNK]);
        let bytes = std::hint::black_box(&taken).len() * CHUNK;
        let due = Duration::from_secs_f64(bytes as f64 / rate as f64);
        thread::sleep(due.saturating_sub(start.elapsed()));
    }
}

fn burn() {
    let mut number = 0u64;
    loop {
        number = std::hint::black_box(number.wrapping_add(1));
    }
}

fn rest() {
    loop {
        thread::sleep(Duration::from_millis(100));
    }
}

/// A process of the demo, seen from the demo. Dropping it kills it.
#[derive(Debug)]
pub struct Workload {
    kind: Kind,
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Workload {
    /// Starts a process and puts it into `group`, where it waits for [`Self::go`].
    pub fn start(kind: Kind, options: &[(&str, u64)], group: &Group) -> Result<Self> {
        let mut command = Command::new("/proc/self/exe");
        command
            .arg0("limitscope")
            .args(["demo-workload", kind.name()]);
        for (option, value) in options {
            command.arg(option).arg(value.to_string());
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            // Ctrl-C at the terminal is for the demo, which then ends this process.
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start the {} process", kind.name()))?;
        let stdin = child.stdin.take();
        let workload = Self { kind, child, stdin };
        group.add(workload.child.id())?;
        Ok(workload)
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        self.stdin
            .as_mut()
            .context("it was told to end")?
            .write_all(b"go\n")
            .with_context(|| format!("the {} process is gone", self.kind.name()))
    }

    /// Tells it to end; see [`Self::has_ended`].
    pub fn end(&mut self) {
        self.stdin = None;
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The exit code as shells and container runtimes tell it: of a process that was killed 128
    /// and the signal's number.
    pub fn exit_code(&mut self) -> Result<i32> {
        let Some(status) = self.child.try_wait()? else {
            bail!("the {} process has not ended", self.kind.name());
        };
        let code = status.code().or_else(|| Some(128 + status.signal()?));
        code.context("a process ended without code and signal")
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
