//! Starts the workload binary, holds it at the start line, and hears its result.

use std::{
    collections::VecDeque,
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    cgroup::Cgroup,
    wait::{self, PATIENCE},
};

/// A workload process; dropping it kills it.
#[derive(Debug)]
pub struct Workload {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    command_line: VecDeque<String>,
}

/// Where the workload binary is: `LIMITSCOPE_WORKLOAD`, or beside the test binary, or one above.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("LIMITSCOPE_WORKLOAD") {
        return Ok(path.into());
    }
    let test = env::current_exe()?;
    test.ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join("limitscope-workload"))
        .find(|path| path.exists())
        .context("limitscope-workload is not beside the tests; build it or set LIMITSCOPE_WORKLOAD")
}

impl Workload {
    /// Starts a workload and waits until it sleeps at the start line.
    pub fn start(args: &[&str]) -> Result<Self> {
        Self::start_as(&binary()?, args)
    }

    /// The same of a copy of the binary.
    pub fn start_as(binary: &Path, args: &[&str]) -> Result<Self> {
        let mut child = Command::new(binary)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", binary.display()))?;
        let out = child.stdout.take().context("stdout is piped")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let stdin = child.stdin.take();
        let command_line =
            std::iter::once(binary.display().to_string()).chain(args.iter().map(|&a| a.into()));
        let mut workload = Self {
            child,
            stdin,
            lines,
            command_line: command_line.collect(),
        };
        let ready = workload.result()?;
        if ready["ready"].as_u64() != Some(u64::from(workload.pid())) {
            bail!("the workload began with {ready}");
        }
        workload.wait_asleep()?;
        Ok(workload)
    }

    /// Starts a workload and moves it, asleep, into `cgroup`.
    pub fn start_in(cgroup: &Cgroup, args: &[&str]) -> Result<Self> {
        let workload = Self::start(args)?;
        cgroup.add(workload.pid())?;
        Ok(workload)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Program and arguments, as /proc/PID/cmdline has them.
    pub fn command_line(&self) -> impl Iterator<Item = &str> {
        self.command_line.iter().map(String::as_str)
    }

    /// Sets the likelihood that the kernel picks this process (-1000, never, to 1000).
    pub fn set_oom_score_adj(&self, adj: i32) -> Result<()> {
        fs::write(
            format!("/proc/{}/oom_score_adj", self.pid()),
            adj.to_string(),
        )
        .context("setting oom_score_adj")
    }

    /// Has the kernel never pick it, where this process has `CAP_SYS_RESOURCE`.
    pub fn spare(&self) -> Result<()> {
        match fs::write(format!("/proc/{}/oom_score_adj", self.pid()), "-1000") {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
            other => other.context("setting oom_score_adj"),
        }
    }

    /// Lets it begin.
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.stdin.as_mut().context("it was told to exit already")?;
        stdin
            .write_all(b"go\n")
            .context("telling the workload to go")
    }

    /// The next line that it says.
    pub fn result(&mut self) -> Result<Value> {
        self.result_within(PATIENCE)
    }

    /// The next line that it says, if that comes within `deadline`.
    pub fn result_within(&mut self, deadline: Duration) -> Result<Value> {
        match self.lines.recv_timeout(deadline) {
            Ok(line) => serde_json::from_str(&line).with_context(|| format!("it said {line:?}")),
            Err(RecvTimeoutError::Timeout) => bail!("the workload said nothing for {deadline:?}"),
            Err(RecvTimeoutError::Disconnected) => {
                bail!(
                    "the workload ended without a result ({:?})",
                    self.child.wait()
                )
            }
        }
    }

    /// Lets it begin and waits for its result.
    pub fn run(&mut self) -> Result<Value> {
        self.go()?;
        let result = self.result_within(Duration::from_mins(1))?;
        self.wait_asleep()?;
        Ok(result)
    }

    /// Lets it begin and waits for its death.
    pub fn run_to_death(&mut self) -> Result<ExitStatus> {
        self.go()?;
        self.wait_exit()
    }

    /// Tells it to exit and waits for that.
    pub fn exit(mut self) -> Result<ExitStatus> {
        self.stdin = None;
        self.wait_exit()
    }

    /// Waits until the process is gone.
    pub fn wait_exit(&mut self) -> Result<ExitStatus> {
        wait::until("the workload's exit", Duration::from_mins(1), || {
            Ok(self.child.try_wait()?)
        })
    }

    /// Waits until every thread sleeps (state S), so that its counters stand still.
    pub fn wait_asleep(&self) -> Result<()> {
        let pid = self.pid();
        wait::until("all threads of the workload asleep", PATIENCE, || {
            for task in fs::read_dir(format!("/proc/{pid}/task"))? {
                let stat = fs::read_to_string(task?.path().join("stat"))?;
                // The command may hold anything, so the state is looked for behind its last ')'.
                if stat
                    .rsplit_once(") ")
                    .is_none_or(|(_, rest)| !rest.starts_with('S'))
                {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
    }
}

impl Drop for Workload {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
