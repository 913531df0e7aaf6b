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

/// The program with certain arguments.
type Running = (Vec<String>, Arc<Agent>);

/// What runs, until the process of the tests ends.
static RUNNING: Mutex<Vec<Running>> = Mutex::new(Vec::new());

/// The lines of `limitscope run` from now on.
#[derive(Debug)]
pub struct Listener {
    agent: Arc<Agent>,
    /// The first line that belongs to this test.
    from: usize,
}

impl Listener {
    /// Listens to a `limitscope run` with these arguments, which is started if there is none or if
    /// it has ended. They must have a short `--interval`, for whose end [`Self::finish`] waits.
    pub fn start(args: &[&str]) -> Result<Self> {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(_, agent)| !agent.is_closed());
        let known = running.iter().find(|(known, _)| known == args);
        let agent = if let Some((_, agent)) = known {
            Arc::clone(agent)
        } else {
            let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
            let agent = Arc::new(start(args.clone())?);
            running.push((args, Arc::clone(&agent)));
            agent
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
fn start(args: Vec<String>) -> Result<Agent> {
    let (sender, started) = mpsc::channel();
    thread::spawn(move || {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        if sender.send(Agent::start(&args)).is_ok() {
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
