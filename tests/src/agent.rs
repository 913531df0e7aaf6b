//! Runs the program under test and reads what it writes.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};

use crate::{
    emulated,
    events::{Events, Line},
    wait::{self, PATIENCE},
};

/// Where the program under test is.
pub fn binary() -> Result<PathBuf> {
    let path = env::var_os("LIMITSCOPE_BIN")
        .context("set LIMITSCOPE_BIN to the limitscope binary (cargo xtask test does)")?;
    let path = PathBuf::from(path);
    ensure!(
        path.is_file(),
        "LIMITSCOPE_BIN is {}, which is no file",
        path.display()
    );
    Ok(path)
}

/// Arguments for `run` besides a test's own, for example to force a source of a signal.
fn more_arguments() -> Vec<String> {
    let more = env::var("LIMITSCOPE_TEST_ARGS").unwrap_or_default();
    more.split_whitespace().map(str::to_owned).collect()
}

/// A command of the program that ends with the thread that starts it.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Command> {
    Ok(command_of(&binary()?, args))
}

/// The same of a program that is named.
pub fn command_of<S: AsRef<OsStr>>(binary: &Path, args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary);
    command
        .args(args)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG");
    // SAFETY: prctl is async-signal-safe and touches only the child.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    command
}

/// Runs a command of the program to its end, which must come within `deadline`.
pub fn output<S: AsRef<OsStr>>(
    args: impl IntoIterator<Item = S>,
    deadline: Duration,
) -> Result<Output> {
    let args: Vec<OsString> = args.into_iter().map(|a| a.as_ref().to_owned()).collect();
    let child = command(&args)?
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    finish(child, deadline).with_context(|| format!("limitscope {args:?}"))
}

/// Reads all output of a child and waits for its end, which must come within `deadline`.
pub fn finish(mut child: Child, deadline: Duration) -> Result<Output> {
    let out = child.stdout.take().map(read_all);
    let err = child.stderr.take().map(read_all);
    let status = wait::until("its end", deadline, || Ok(child.try_wait()?));
    if status.is_err() {
        child.kill()?;
        child.wait()?;
    }
    let collect = |reader: Option<JoinHandle<Vec<u8>>>| {
        reader
            .and_then(|handle| handle.join().ok())
            .unwrap_or_default()
    };
    let (stdout, stderr) = (collect(out), collect(err));
    match status {
        Ok(status) => Ok(Output {
            status,
            stdout,
            stderr,
        }),
        Err(error) => bail!("{error:#}; stderr: {}", String::from_utf8_lossy(&stderr)),
    }
}

fn read_all(mut stream: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is still worth showing.
        let _ = stream.read_to_end(&mut bytes);
        bytes
    })
}

#[derive(Debug, Default)]
struct Heard {
    lines: Vec<Line>,
    bad: Vec<String>,
    closed: bool,
}

type Shared = Arc<(Mutex<Heard>, Condvar)>;

/// `limitscope run` with every hook attached; dropping it kills it.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    heard: Shared,
    stderr: Option<JoinHandle<Vec<u8>>>,
}

/// What was left when the program ended.
#[derive(Debug)]
pub struct Finished {
    /// Every line of its output.
    pub events: Events,
    /// Its log.
    pub stderr: String,
    /// How it ended.
    pub status: ExitStatus,
}

impl Agent {
    /// Starts `limitscope run` with JSON on stdout and waits until it says that it is attached.
    pub fn start(args: &[&str]) -> Result<Self> {
        // Of a source that is forced twice the last one counts: the test's own.
        let mut command = command(["run", "--format", "json"])?;
        command.args(more_arguments()).args(args);
        Self::start_command(command)
    }

    /// The same of a command that writes JSON lines to stdout.
    pub fn start_command(command: Command) -> Result<Self> {
        let agent = Self::spawn(command)?;
        // An emulated kernel takes seconds to verify the programs, and more of them beside others.
        let patience = if emulated() { 4 * PATIENCE } else { PATIENCE };
        let started = agent.wait_for_within("the start of the agent", patience, |line| {
            line.kind() == "agent" && line.value["agent.phase"] == "start"
        });
        if let Err(error) = started {
            let log = agent.stop_with(Signal::KILL)?.stderr;
            bail!("{error:#}; its log: {log}");
        }
        Ok(agent)
    }

    /// Starts a command that writes JSON lines to stdout, without waiting for any.
    pub fn spawn(mut command: Command) -> Result<Self> {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", command.get_program().display()))?;
        let heard = Shared::default();
        let out = child.stdout.take().context("stdout is piped")?;
        let err = child.stderr.take().context("stderr is piped")?;
        let shared = Arc::clone(&heard);
        thread::spawn(move || listen(out, &shared));
        Ok(Self {
            child,
            heard,
            stderr: Some(read_all(err)),
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every line up to now.
    pub fn events(&self) -> Events {
        self.events_from(0)
    }

    /// The lines up to now, without the first `from`.
    pub fn events_from(&self, from: usize) -> Events {
        Events(self.lock().lines.get(from..).unwrap_or_default().to_vec())
    }

    /// Number of lines up to now.
    pub fn heard(&self) -> usize {
        self.lock().lines.len()
    }

    /// Whether its output has ended.
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Waits for a line; the program's end or 20 s without it are errors.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Line) -> bool) -> Result<Line> {
        self.wait_for_within(what, PATIENCE, is)
    }

    /// Waits for a line for at most `patience`.
    pub fn wait_for_within(
        &self,
        what: &str,
        patience: Duration,
        is: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        self.wait_from(0, what, patience, is)
    }

    /// The same behind the first `from` lines.
    pub fn wait_from(
        &self,
        from: usize,
        what: &str,
        patience: Duration,
        is: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        let deadline = Instant::now() + patience;
        let mut heard = self.lock();
        let mut next = from;
        loop {
            if let Some(line) = heard.lines[next..].iter().find(|line| is(line)) {
                return Ok(line.clone());
            }
            next = heard.lines.len();
            ensure!(
                !heard.closed,
                "the output ended before {what}; {} lines",
                heard.lines.len()
            );
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "waited {patience:?} in vain for {what}");
            heard = self
                .heard
                .1
                .wait_timeout(heard, left)
                .map_or_else(|poisoned| poisoned.into_inner().0, |(guard, _)| guard);
        }
    }

    /// Sends a signal to the program.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("signalling the agent")
    }

    /// Ends it with SIGTERM, checks its exit code, every line, and that nothing was lost.
    pub fn stop(self) -> Result<Finished> {
        let finished = self.stop_with(Signal::TERM)?;
        ensure!(
            finished.status.success(),
            "the agent ended with {}: {}",
            finished.status,
            finished.stderr
        );
        let last = finished.events.0.last().context("the agent said nothing")?;
        ensure!(
            last.value["agent.phase"] == "stop",
            "the last line is {}",
            last.value
        );
        finished.events.check_nothing_lost()?;
        Ok(finished)
    }

    /// Ends it with a signal and collects everything; every line must keep the contract.
    pub fn stop_with(self, signal: Signal) -> Result<Finished> {
        self.signal(signal)?;
        self.finish(PATIENCE)
    }

    /// Waits for its end and collects everything; every line must keep the contract.
    pub fn finish(mut self, deadline: Duration) -> Result<Finished> {
        let ended = wait::until("the agent's end", deadline, || {
            let closed = self.lock().closed;
            Ok(if closed { self.child.try_wait()? } else { None })
        });
        if ended.is_err() {
            self.child.kill()?;
        }
        let stderr = self
            .stderr
            .take()
            .and_then(|handle| handle.join().ok())
            .unwrap_or_default();
        let stderr = String::from_utf8_lossy(&stderr).into_owned();
        let status = ended.with_context(|| stderr.clone())?;
        let heard = self.lock();
        ensure!(
            heard.bad.is_empty(),
            "lines that are no JSON: {:?}",
            heard.bad
        );
        let events = Events(heard.lines.clone());
        drop(heard);
        events.check_stream()?;
        Ok(Finished {
            events,
            stderr,
            status,
        })
    }
}

fn listen(out: impl Read, shared: &Shared) {
    let mut reader = BufReader::new(out);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let length = reader.read_until(b'\n', &mut bytes).unwrap_or_default();
        let arrived_ns = wait::monotonic_ns();
        let mut heard = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        if length == 0 {
            heard.closed = true;
        } else {
            match serde_json::from_slice(&bytes) {
                Ok(value) => heard.lines.push(Line { value, arrived_ns }),
                Err(_) => heard.bad.push(String::from_utf8_lossy(&bytes).into_owned()),
            }
        }
        shared.1.notify_all();
        if length == 0 {
            return;
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
