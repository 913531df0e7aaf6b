//! An agent whose lines are counted but not looked at, so that reading costs next to nothing.

use std::{
    io::Read,
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow, ensure};
use limitscope_tests::{agent, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::load;

/// How lines of throttled intervals begin.
const THROTTLE: &[u8] = b"{\"event\":\"cpu_throttle\"";

/// `limitscope run`; dropping it kills it.
#[derive(Debug)]
pub struct Counted {
    child: Child,
    reader: Option<JoinHandle<Result<Heard>>>,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Heard {
    /// Lines of throttled intervals.
    pub throttles: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last line of the stream.
    last: Value,
}

impl Heard {
    /// A counter of the last line.
    pub fn lost(&self, what: &str) -> Result<u64> {
        let key = format!("agent.lost.{what}");
        self.last[&key]
            .as_u64()
            .with_context(|| format!("no {key} in {}", self.last))
    }
}

impl Counted {
    /// Starts one that writes every throttled interval and nothing between start and stop, and
    /// waits until it is attached. Agent and reader can be kept on a CPU each.
    pub fn start(agent_cpu: Option<usize>, reader_cpu: Option<usize>) -> Result<Self> {
        let args = ["run", "--format", "json", "--throttle-min", "0ns"];
        let more = ["--interval", "1h", "--docker-socket", "/dev/null"];
        let mut child = agent::command(args.into_iter().chain(more))?
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .context("starting the agent")?;
        let stdout = child.stdout.take().context("stdout is piped")?;
        let (sender, started) = channel();
        let reader = thread::spawn(move || {
            if let Some(cpu) = reader_cpu {
                load::pin_thread(None, cpu)?;
            }
            count(stdout, &sender)
        });
        let counted = Self {
            child,
            reader: Some(reader),
        };
        if let Some(cpu) = agent_cpu {
            load::pin(counted.pid(), cpu)?;
        }
        wait_for_start(&started)?;
        Ok(counted)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it cleanly.
    pub fn stop(mut self) -> Result<Heard> {
        kill_process(Pid::from_child(&self.child), Signal::TERM).context("ending the agent")?;
        let status = wait::until("the agent's end", wait::PATIENCE, || {
            Ok(self.child.try_wait()?)
        })?;
        ensure!(status.success(), "the agent ended with {status}");
        let reader = self.reader.take().context("it was stopped already")?;
        let heard = reader.join().map_err(|_| anyhow!("the reader died"))??;
        ensure!(
            heard.last["agent.phase"] == "stop",
            "the last line is {}",
            heard.last
        );
        Ok(heard)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait_for_start(started: &Receiver<()>) -> Result<()> {
    started
        .recv_timeout(wait::PATIENCE)
        .context("the agent did not start")
}

fn count(mut out: ChildStdout, started: &Sender<()>) -> Result<Heard> {
    let mut buffer = vec![0; 1 << 18];
    let mut heard = Heard::default();
    let mut last = Vec::new();
    let mut line: Vec<u8> = Vec::new();
    let mut first = true;
    loop {
        let length = out.read(&mut buffer)?;
        if length == 0 {
            break;
        }
        for piece in buffer[..length].split_inclusive(|&byte| byte == b'\n') {
            line.extend_from_slice(piece);
            if !line.ends_with(b"\n") {
                continue;
            }
            if first {
                first = false;
                // Nobody hears it only when the wait is over.
                let _ = started.send(());
            }
            if line.starts_with(THROTTLE) {
                heard.throttles += 1;
                heard.bytes += line.len() as u64;
            }
            std::mem::swap(&mut last, &mut line);
            line.clear();
        }
    }
    heard.last = serde_json::from_slice(&last).context("the last line is no JSON")?;
    Ok(heard)
}
