//! What was counted, and the summary that ends a run.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use anyhow::Result;

use super::runner::{Outcome, TestResult};
use crate::step;

/// The counts of a group.
pub struct Tally {
    group: &'static str,
    passed: usize,
    failures: Vec<String>,
    skips: Vec<String>,
    pub duration: Duration,
}

impl Tally {
    pub fn new(group: &'static str) -> Self {
        let (failures, skips) = (Vec::new(), Vec::new());
        Self {
            group,
            passed: 0,
            failures,
            skips,
            duration: Duration::ZERO,
        }
    }

    pub fn fail(&mut self, what: String) {
        self.failures.push(what);
    }

    pub fn skip(&mut self, what: String) {
        self.skips.push(what);
    }

    /// A line with its group in front; titles of steps have it already.
    fn named(&self, line: &str) -> String {
        if line
            .strip_prefix(self.group)
            .is_some_and(|rest| rest.starts_with(": "))
        {
            line.to_owned()
        } else {
            format!("{}: {line}", self.group)
        }
    }

    /// How many tests were run or should have been.
    pub fn ran(&self) -> usize {
        self.passed + self.failures.len() + self.skips.len()
    }

    /// Counts a step that is a check in itself.
    pub fn step(&mut self, title: &str, failure: Option<String>) -> bool {
        match failure {
            None => {
                self.passed += 1;
                true
            }
            Some(why) => {
                self.fail(format!("{title}: {why}"));
                false
            }
        }
    }

    /// Counts the failure of a step of set-up, which is no test if it goes well.
    pub fn set_up(&mut self, title: &str, failure: Option<String>) -> bool {
        let good = failure.is_none();
        if let Some(why) = failure {
            self.fail(format!("{title}: {why}"));
        }
        good
    }

    /// Counts a failure, if it is one; what went well is only a part of something.
    pub fn take<T>(&mut self, title: &str, result: Result<T>) -> Option<T> {
        result
            .map_err(|error| self.fail(format!("{title}: {error:#}")))
            .ok()
    }

    /// Counts what a run of tests gave. A run that failed though no test of it did is a failure of
    /// its own: tests that did not compile, an overrun, processes left behind.
    pub fn tests(&mut self, title: &str, results: Vec<TestResult>, failure: Option<String>) {
        let mut explained = false;
        for result in results {
            match result.outcome {
                Outcome::Passed => self.passed += 1,
                Outcome::Skipped(reason) => self.skip(format!("{}: {reason}", result.name)),
                Outcome::Failed(how) => {
                    explained = true;
                    self.fail(format!("{}: {how}", result.name));
                }
            }
        }
        if let Some(failure) = failure {
            let only_status = failure.starts_with(step::ENDED_WITH);
            if !(explained && only_status) {
                self.fail(format!("{title}: {failure}"));
            }
        }
    }
}

/// Prints what failed and what was skipped, a table, and the line that ends every run.
pub fn summary(tallies: &[Tally]) -> ExitCode {
    let (text, good) = render(tallies);
    print!("{text}");
    if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn render(tallies: &[Tally]) -> (String, bool) {
    let mut text = String::from("\n=== summary\n");
    for tally in tallies {
        for line in &tally.skips {
            let _ = writeln!(text, "skipped: {}", tally.named(line));
        }
    }
    for tally in tallies {
        for line in &tally.failures {
            let _ = writeln!(text, "FAILED: {}", tally.named(line));
        }
    }
    let _ = writeln!(
        text,
        "\n{:<12}{:>8}{:>8}{:>9}  time",
        "group", "passed", "failed", "skipped"
    );
    let mut total = [0; 3];
    for tally in tallies {
        let counts = [tally.passed, tally.failures.len(), tally.skips.len()];
        let _ = writeln!(
            text,
            "{:<12}{:>8}{:>8}{:>9}  {}",
            tally.group,
            counts[0],
            counts[1],
            counts[2],
            step::shown(tally.duration)
        );
        for (sum, count) in total.iter_mut().zip(counts) {
            *sum += count;
        }
    }
    let [passed, failed, skipped] = total;
    let _ = writeln!(
        text,
        "\n{passed} passed, {failed} failed, {skipped} skipped"
    );
    (text, failed == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(name: &str, outcome: Outcome) -> TestResult {
        TestResult {
            name: name.to_owned(),
            outcome,
        }
    }

    #[test]
    fn the_last_line_has_the_counts() {
        let mut tally = Tally::new("unit");
        tally.tests(
            "unit tests",
            vec![
                result("a", Outcome::Passed),
                result("b", Outcome::Skipped("no BTF".to_owned())),
            ],
            None,
        );
        let mut lint = Tally::new("lint");
        lint.step("clippy", None);
        let (text, good) = render(&[lint, tally]);
        assert!(good);
        assert_eq!(text.lines().last(), Some("2 passed, 0 failed, 1 skipped"));
        let failing = |line: &str| {
            let mut tally = Tally::new("lint");
            tally.fail(line.to_owned());
            render(&[tally]).0
        };
        assert!(failing("lint: clippy").contains("\nFAILED: lint: clippy\n"));
        assert!(failing("linted").contains("\nFAILED: lint: linted\n"));
        assert!(text.contains("skipped: unit: b: no BTF\n"), "{text}");
    }

    #[test]
    fn one_failure_fails_the_run() {
        let mut tally = Tally::new("unit");
        let failed = || vec![result("a", Outcome::Failed("FAIL".to_owned()))];
        let status = || Some(format!("{}exit status: 100", step::ENDED_WITH));
        // The status says nothing that the failed test does not say.
        tally.tests("tests", failed(), status());
        let (text, good) = render(&[tally]);
        assert!(!good);
        assert_eq!(text.lines().last(), Some("0 passed, 1 failed, 0 skipped"));

        // No test failed, and yet the run did; or it did in a way of its own.
        for (results, failure) in [
            (vec![], status()),
            (failed(), Some("killed".to_owned())),
            (
                vec![result("a", Outcome::Passed)],
                Some("left processes".to_owned()),
            ),
        ] {
            let failed = results
                .iter()
                .filter(|r| matches!(r.outcome, Outcome::Failed(_)))
                .count();
            let mut tally = Tally::new("unit");
            tally.tests("tests", results, failure);
            assert_eq!(tally.failures.len(), failed + 1);
        }
    }
}
