//! A step of a longer command: a heading, a budget of time, and how long it took.

use std::{
    process::{Command, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};

use crate::process::{self, Afterwards};

/// How the failure of a step begins whose command only had a bad exit status.
pub const ENDED_WITH: &str = "ended with ";

/// Runs steps, none of them beyond its own budget or the end of the whole.
pub struct Steps {
    end: Option<Instant>,
}

/// How a step ended, and what it wrote if that was captured.
pub struct Done {
    /// Why it failed, if it did.
    pub failure: Option<String>,
    pub output: String,
}

/// What becomes of a step's output.
pub enum Output {
    /// It goes where this program's own goes.
    Shown,
    /// It is kept, and the lines that the function picks are shown as they come.
    Kept(Box<dyn FnMut(&str) -> bool + Send>),
}

impl Steps {
    /// Steps that all together have this long; none means no limit beyond each step's own.
    pub fn within(limit: Option<Duration>) -> Self {
        Self {
            end: limit.map(|limit| Instant::now() + limit),
        }
    }

    /// What a step has that would have so long if the whole had no end.
    pub fn budget(&self, own: Duration) -> Duration {
        let left = self
            .end
            .map(|end| end.saturating_duration_since(Instant::now()));
        left.map_or(own, |left| own.min(left))
    }

    /// Work inside this program. It is not interrupted.
    pub fn here<T>(&self, title: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        heading(title);
        let started = Instant::now();
        let result = if self.budget(Duration::MAX).is_zero() {
            Err(anyhow!("no time was left for it"))
        } else {
            work()
        };
        let failure = result.as_ref().err().map(|error| format!("{error:#}"));
        footing(title, started, failure.as_deref());
        result
    }

    /// A command within its budget.
    pub fn command(&self, title: &str, command: Command, budget: Duration, output: Output) -> Done {
        self.supervised(title, command, budget, output, Afterwards::Anything)
    }

    /// A command that runs tests: nothing that they started may run on.
    pub fn tests(&self, title: &str, command: Command, budget: Duration, output: Output) -> Done {
        self.supervised(title, command, budget, output, Afterwards::Nothing)
    }

    fn supervised(
        &self,
        title: &str,
        command: Command,
        budget: Duration,
        output: Output,
        afterwards: Afterwards,
    ) -> Done {
        heading(title);
        let started = Instant::now();
        let budget = self.budget(budget);
        let (sender, lines) = std::sync::mpsc::channel();
        let result = match output {
            Output::Shown => process::supervise(command, budget, afterwards, None),
            Output::Kept(mut picked) => {
                let keep = move |line: &str| {
                    if picked(line) {
                        println!("{line}");
                    }
                    // The receiver outlives the command.
                    let _ = sender.send(line.to_owned());
                };
                process::supervise(command, budget, afterwards, Some(Box::new(keep)))
            }
        };
        let failure = match result {
            Err(error) => Some(format!("{error:#}")),
            Ok(ended) => failure_of(ended.status, &ended.leftovers, budget),
        };
        footing(title, started, failure.as_deref());
        let output: Vec<String> = lines.try_iter().collect();
        Done {
            failure,
            output: output.join("\n"),
        }
    }
}

fn failure_of(
    status: Option<ExitStatus>,
    leftovers: &[String],
    budget: Duration,
) -> Option<String> {
    match status {
        None => Some(format!(
            "killed: it used up its budget of {}",
            shown(budget)
        )),
        Some(status) if !status.success() => Some(format!("{ENDED_WITH}{status}")),
        Some(_) if !leftovers.is_empty() => {
            Some(format!("left processes running: {}", leftovers.join("; ")))
        }
        Some(_) => None,
    }
}

fn heading(title: &str) {
    println!("\n=== {title}");
}

fn footing(title: &str, started: Instant, failure: Option<&str>) {
    let verdict = failure.map_or_else(|| "ok".to_owned(), |why| format!("FAILED: {why}"));
    println!("--- {title}: {verdict} ({})", shown(started.elapsed()));
}

/// A duration for people.
pub fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds >= 60 {
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    } else {
        format!("{:.1} s", duration.as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_for_people() {
        assert_eq!(shown(Duration::from_millis(1250)), "1.2 s");
        assert_eq!(shown(Duration::from_secs(125)), "2 min 05 s");
    }

    #[test]
    fn nothing_runs_after_the_end() {
        let steps = Steps::within(Some(Duration::ZERO));
        let result = steps.here("late", || Ok(()));
        assert!(result.is_err());
        assert!(Steps::within(None).here("in time", || Ok(())).is_ok());
    }
}
