//! One program under test for many tests, each of which hears it from where it begins to listen.
//!
//! Starting the program takes an emulated CPU seconds. What a test looks for is of its own cgroups
//! and commands, so that tests need not have it for themselves.

use std::{
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    agent::Agent,
    events::{Events, Line},
    wait::{self, PATIENCE},
};

/// How the program listens: it tells the shortest throttled interval, and tests wait for the end of an
/// interval.
const ARGUMENTS: [&str; 4] = ["--throttle-min", "0ns", "--interval", "250ms"];

/// What runs, until the process of the tests ends.
static RUNNING: Mutex<Option<Arc<Agent>>> = Mutex::new(None);

/// The lines of `limitscope run` from now on.
#[derive(Debug)]
pub struct Listener {
    agent: Arc<Agent>,
    /// The first line that belongs to this test.
    from: usize,
}

impl Listener {
    /// Listens to the program, which is started if it does not run or has ended.
    pub fn start() -> Result<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        let agent = match &*running {
            Some(agent) if !agent.is_closed() => Arc::clone(agent),
            _ => Arc::clone(running.insert(Arc::new(start()?))),
        };
        drop(running);
        let from = agent.heard();
        Ok(Self { agent, from })
    }

    /// Process id of the program.
    pub fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// The lines up to now.
    pub fn events(&self) -> Events {
        self.agent.events_from(self.from)
    }

    /// Waits for a line; the program's end or 20 s without it are errors.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Line) -> bool) -> Result<Line> {
        self.agent.wait_from(self.from, what, PATIENCE, is)
    }

    /// Waits for a line for at most `patience`.
    pub fn wait_for_within(
        &self,
        what: &str,
        patience: Duration,
        is: impl Fn(&Line) -> bool,
    ) -> Result<Line> {
        self.agent.wait_from(self.from, what, patience, is)
    }

    /// Everything up to now, for which it waits: all counts of now are in the next interval that
    /// begins to be read, and all records of now are read before the end of another one. Checks
    /// every line, and that nothing was lost.
    pub fn finish(self) -> Result<Events> {
        let mut after = wait::monotonic_ns();
        for _ in 0..2 {
            let end = self.wait_for("the end of an interval", |line| {
                line.value["agent.phase"] == "interval"
                    && line.number("monotonic_ns").is_ok_and(|at| at > after)
            })?;
            after = end.number("monotonic_ns")?;
        }
        let events = self.events();
        events.check_stream()?;
        events.check_nothing_lost()?;
        Ok(events)
    }
}

/// Starts it in a thread that never ends before the process does: the program ends with the thread
/// that started it.
fn start() -> Result<Agent> {
    let (sender, started) = mpsc::channel();
    thread::spawn(move || {
        if sender.send(Agent::start(&ARGUMENTS)).is_ok() {
            loop {
                thread::sleep(Duration::MAX);
            }
        }
    });
    let agent = started
        .recv()
        .context("the thread that starts it ended")??;
    ensure!(!agent.is_closed(), "the agent ended at once");
    Ok(agent)
}
