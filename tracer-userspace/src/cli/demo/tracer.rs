//! `limitscope run` as a process of the demo: the same program, the same events.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    net::unix::pipe::Receiver,
    time::{Instant, timeout, timeout_at},
};

/// How long it may take to attach: generous, for emulated machines.
const ATTACH: Duration = Duration::from_mins(1);
/// How long it may take to end.
const END: Duration = Duration::from_secs(20);

/// The tracing process. It ends when nobody reads its stdout any more, so also when the demo was
/// killed. Dropping it kills it; nothing of it outlives its process.
pub struct Tracer {
    process: Process,
    lines: Lines<BufReader<Receiver>>,
}

/// A process that is killed when it is dropped.
struct Process(Child);

impl Tracer {
    /// Starts it and waits until every hook is attached; hands out the event that says so. `None`
    /// when it cannot trace here: it has said why on stderr.
    pub async fn start(interval: Duration) -> Result<Option<(Self, Value)>> {
        let child = Command::new("/proc/self/exe")
            .arg0("limitscope")
            .args(["run", "--interval", &format!("{}ms", interval.as_millis())])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Ctrl-C at the terminal is for the demo, which then ends this process.
            .process_group(0)
            .spawn()
            .context("cannot start limitscope run")?;
        let mut process = Process(child);
        let stdout = process.0.stdout.take().context("its stdout is no pipe")?;
        let lines = BufReader::new(Receiver::from_owned_fd(OwnedFd::from(stdout))?).lines();
        let mut tracer = Self { process, lines };
        let first = timeout(ATTACH, tracer.next())
            .await
            .with_context(|| format!("limitscope run did not begin within {ATTACH:?}"))??;
        Ok(first.map(|first| (tracer, first)))
    }

    /// The next event; `None` at the end.
    async fn next(&mut self) -> Result<Option<Value>> {
        let line = self.lines.next_line().await;
        let line = line.context("cannot read what limitscope run says")?;
        line.map(|line| {
            serde_json::from_str(&line)
                .with_context(|| format!("limitscope run wrote a line that is no JSON: {line}"))
        })
        .transpose()
    }

    /// Hands every event until `end` to `take`.
    pub async fn collect(&mut self, end: Instant, mut take: impl FnMut(&Value)) -> Result<()> {
        loop {
            match timeout_at(end, self.next()).await {
                Err(_) => return Ok(()),
                Ok(Ok(Some(event))) => take(&event),
                Ok(Ok(None)) => bail!("limitscope run ended too early"),
                Ok(Err(error)) => return Err(error),
            }
        }
    }

    /// Ends it, hands the rest of its events to `take`, and waits for it.
    pub async fn stop(mut self, mut take: impl FnMut(&Value)) -> Result<()> {
        kill_process(Pid::from_child(&self.process.0), Signal::TERM).map_err(io::Error::from)?;
        let rest = async {
            while let Some(event) = self.next().await? {
                take(&event);
            }
            anyhow::Ok(())
        };
        timeout(END, rest)
            .await
            .with_context(|| format!("limitscope run did not end within {END:?}"))??;
        // Its stdout is closed, so it is at its end.
        let status = self.process.0.wait()?;
        if !status.success() {
            bail!("limitscope run failed: {status}");
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that has ended and was waited for.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
