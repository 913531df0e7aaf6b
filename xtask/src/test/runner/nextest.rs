//! What cargo-nextest prints.

use super::{Outcome, TestResult, note_skip};

/// A line that tells how a test ended, as in `PASS [   0.007s] (1/5) package::binary test`.
struct Status<'a> {
    word: &'a str,
    name: &'a str,
}

impl<'a> Status<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (word, rest) = line.trim_start().split_once(" [")?;
        // Words in capitals; a test that is still running has `>` before its time.
        let is_word = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || "- ".contains(c);
        if word.is_empty() || !word.chars().all(is_word) {
            return None;
        }
        let (time, rest) = rest.split_once("] ")?;
        time.trim_start().strip_suffix('s')?.parse::<f64>().ok()?;
        let (at, name) = rest.split_once(") ")?;
        let (number, of) = at.strip_prefix('(')?.split_once('/')?;
        number.trim_start().parse::<usize>().ok()?;
        of.parse::<usize>().ok()?;
        Some(Self { word, name })
    }

    fn outcome(&self) -> Option<Outcome> {
        match self.word {
            // A leak of an output handle; a process that runs on is found by the runner.
            "PASS" | "LEAK" => Some(Outcome::Passed),
            // Not the end of a test.
            "SLOW" | "TERMINATING" | "START" => None,
            word => Some(Outcome::Failed(word.to_owned())),
        }
    }
}

/// The results, and what in the output contradicts them.
pub fn read(output: &str) -> (Vec<TestResult>, Option<String>) {
    let mut results: Vec<TestResult> = Vec::new();
    for line in output.lines() {
        if let Some(told) = summary(line) {
            let misread = (told != results.len()).then(|| {
                format!(
                    "nextest ran {told} tests, and {} results were read",
                    results.len()
                )
            });
            return (results, misread);
        }
        if let Some(status) = Status::parse(line) {
            if let Some(outcome) = status.outcome() {
                results.push(TestResult {
                    name: status.name.to_owned(),
                    outcome,
                });
            }
        } else {
            note_skip(results.last_mut(), line);
        }
    }
    (results, Some("nextest gave no summary".to_owned()))
}

/// The number of tests run, in a line as `Summary [   0.183s] 5 tests run: 3 passed, 2 failed`.
fn summary(line: &str) -> Option<usize> {
    let rest = line.trim_start().strip_prefix("Summary [")?;
    let (_, counts) = rest.split_once("] ")?;
    let (run, _) = counts.split_once(" run:")?;
    let number = run.split([' ', '/']).next()?;
    number.parse().ok()
}

/// Leaves out what tests that passed wrote, except for the reasons of skips.
#[derive(Default)]
pub struct Quiet {
    in_passed: bool,
}

impl Quiet {
    pub fn shows(&mut self, line: &str) -> bool {
        if let Some(status) = Status::parse(line) {
            self.in_passed = status.outcome() == Some(Outcome::Passed);
            return true;
        }
        if summary(line).is_some() {
            self.in_passed = false;
        }
        !self.in_passed || line.trim_start().starts_with(super::SKIPPED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "\
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.59s
    Starting 5 tests across 2 binaries (1 test skipped)
        PASS [   0.007s] (1/5) nx a
  stdout ───

    running 1 test
    SKIPPED: no BTF
    SKIPPED: no tracefs
    test a ... ok

        SLOW [> 60.000s] (───) nx c
        FAIL [   0.148s] (2/5) nx c
  stdout ───
    SKIPPED: said before it failed
     SIGABRT [   0.009s] (3/5) nx d
        PASS [   0.009s] (4/5) nx::live a
  stdout ───
    PASS [me] (not) a status
 TERMINATING [> 240.000s] (───) nx e
     TIMEOUT [ 240.009s] (5/5) nx::live e
────────────
     Summary [   0.183s] 5 tests run: 2 passed, 2 failed, 1 timed out, 1 skipped
        FAIL [   0.148s] (2/5) nx c
error: test run failed";

    #[test]
    fn each_test_has_one_result() {
        let (results, misread) = read(OUTPUT);
        assert_eq!(misread, None);
        let failed = |word: &str| Outcome::Failed(word.to_owned());
        let expected = [
            ("nx a", Outcome::Skipped("no BTF; no tracefs".to_owned())),
            ("nx c", failed("FAIL")),
            ("nx d", failed("SIGABRT")),
            ("nx::live a", Outcome::Passed),
            ("nx::live e", failed("TIMEOUT")),
        ];
        let expected = expected.map(|(name, outcome)| TestResult {
            name: name.to_owned(),
            outcome,
        });
        assert_eq!(results, expected);
    }

    #[test]
    fn a_contradiction_is_told() {
        assert!(read("error: could not compile").1.is_some());
        let lost = OUTPUT.replace("        PASS [   0.009s] (4/5)", "   PASSED (4/5)");
        assert!(read(&lost).1.is_some());
        assert_eq!(
            read("   Summary [ 0.0s] 0 tests run: 0 passed, 6 skipped"),
            (vec![], None)
        );
    }

    #[test]
    fn only_the_output_of_passed_tests_is_left_out() {
        let mut quiet = Quiet::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| quiet.shows(line)).collect();
        let shown = shown.join("\n");
        assert!(shown.contains("SKIPPED: no BTF"));
        assert!(shown.contains("said before it failed"));
        assert!(shown.contains("Summary"));
        assert!(!shown.contains("a status"));
        assert!(!shown.contains("running 1 test"));
    }
}
