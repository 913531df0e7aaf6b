//! Runs tests, by cargo-nextest where it is installed and by `cargo test` otherwise.

pub mod libtest;
mod nextest;

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use super::{Context, Tally};
use crate::step::Output;

/// What tests print, alone on a line, when the machine cannot have what they need.
const SKIPPED: &str = "SKIPPED: ";

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    Passed,
    /// How, in the runner's word.
    Failed(String),
    /// Why.
    Skipped(String),
}

/// A test that was run.
#[derive(Debug, PartialEq, Eq)]
pub struct TestResult {
    pub name: String,
    pub outcome: Outcome,
}

/// A run of some tests.
pub struct Run<'a> {
    pub title: &'a str,
    /// Cargo's arguments for the packages and files; none means the default members.
    pub select: &'a [&'a str],
    /// The program under test, for tests on the live kernel. They have the machine to themselves:
    /// one at a time, and all that they print is shown.
    pub privileged: Option<&'a Path>,
    /// Variables that tell the tests where what was set up for them is.
    pub variables: &'a [(&'a str, PathBuf)],
}

impl Run<'_> {
    /// Builds the tests and runs none.
    pub fn build(&self, context: &Context) -> Command {
        let mut command = context.workspace.cargo();
        let runner: &[&str] = if context.nextest {
            &["nextest", "run"]
        } else {
            &["test"]
        };
        command.args(runner).args(self.select).arg("--no-run");
        command
    }

    /// Lists the tests for [`listed`].
    pub fn list(&self, context: &Context) -> Command {
        let mut command = context.workspace.cargo();
        command
            .args(["test", "--quiet"])
            .args(self.select)
            .args(&context.filter);
        command.args(["--", "--list", "--format", "terse"]);
        command
    }

    /// Runs the tests and counts them.
    pub fn tests(&self, context: &Context, budget: Duration, tally: &mut Tally) {
        let mut command = context.workspace.cargo();
        command.env("CARGO_TERM_COLOR", "never");
        if let Some(binary) = self.privileged {
            command.env("LIMITSCOPE_BIN", binary);
        }
        command.envs(self.variables.iter().map(|(name, path)| (name, path)));
        if context.nextest {
            self.nextest(context, &mut command);
        } else {
            self.libtest(context, &mut command);
        }
        let show_all = self.privileged.is_some();
        let output = if context.nextest {
            let mut quiet = nextest::Quiet::default();
            Output::Kept(Box::new(move |line| quiet.shows(line) || show_all))
        } else {
            Output::Kept(Box::new(|_| true))
        };
        let done = context.steps.tests(self.title, command, budget, output);
        let read = if context.nextest {
            nextest::read(&done.output)
        } else {
            libtest::read(&done.output)
        };
        self.count(read, done.failure, tally);
    }

    /// Runs the examples in the documentation, which nextest does not know.
    pub fn doc_tests(&self, context: &Context, budget: Duration, tally: &mut Tally) {
        // `cargo test` has run them already.
        if !context.nextest {
            return;
        }
        let mut command = context.workspace.cargo();
        command
            .args(["test", "--doc", "--no-fail-fast"])
            .args(self.select)
            .args(&context.filter);
        command.env("CARGO_TERM_COLOR", "never");
        let output = Output::Kept(Box::new(|_| true));
        let title = format!("{} in the documentation", self.title);
        let done = context.steps.tests(&title, command, budget, output);
        self.count(libtest::read(&done.output), done.failure, tally);
    }

    fn count(
        &self,
        (results, misread): (Vec<TestResult>, Option<String>),
        failure: Option<String>,
        tally: &mut Tally,
    ) {
        // Where the run itself broke off, counts cannot be right.
        if let (Some(misread), None) = (misread, &failure) {
            tally.fail(format!("{}: {misread}", self.title));
        }
        tally.tests(self.title, results, failure);
    }

    fn nextest(&self, context: &Context, command: &mut Command) {
        command
            .args(["nextest", "run"])
            .args(self.select)
            .args(&context.filter);
        command.args(["--no-fail-fast", "--no-tests=pass", "--config-file"]);
        command.arg(context.workspace.root.join("xtask/nextest.toml"));
        // Reasons of skips are in the output of tests that pass.
        command.args([
            "--success-output",
            "immediate",
            "--failure-output",
            "immediate",
        ]);
        command.args(["--status-level", "all", "--final-status-level", "none"]);
        if self.privileged.is_some() {
            // One at a time; which may run beside others says the file above.
            command.arg("--test-threads=4");
        }
    }

    fn libtest(&self, context: &Context, command: &mut Command) {
        command
            .args(["test", "--no-fail-fast"])
            .args(self.select)
            .args(&context.filter)
            .arg("--");
        if self.privileged.is_some() {
            command.args(["--test-threads=1", "--nocapture"]);
        } else {
            command.arg("--show-output");
        }
    }
}

/// The names in a list of tests.
pub fn listed(output: &str) -> Vec<&str> {
    output
        .lines()
        .filter_map(|line| line.strip_suffix(": test"))
        .collect()
}

/// Notes that a test said it was skipped. What it says after it failed is not of interest.
fn note_skip(result: Option<&mut TestResult>, line: &str) {
    let Some(reason) = line.trim_start().strip_prefix(SKIPPED) else {
        return;
    };
    let Some(result) = result else { return };
    match &mut result.outcome {
        Outcome::Passed => result.outcome = Outcome::Skipped(reason.trim_end().to_owned()),
        Outcome::Skipped(reasons) => {
            reasons.push_str("; ");
            reasons.push_str(reason.trim_end());
        }
        Outcome::Failed(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_listed() {
        assert_eq!(
            listed("oom::a: test\nbench_b: bench\nc: test\n\n"),
            ["oom::a", "c"]
        );
    }
}
