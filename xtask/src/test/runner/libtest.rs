//! What `cargo test` prints.

use super::{Outcome, TestResult, note_skip};

/// Reads the output line by line.
#[derive(Default)]
struct Reader {
    /// The file whose tests are running.
    binary: String,
    results: Vec<TestResult>,
    /// A test that has begun and not ended, which is so where tests print while they run.
    running: Option<usize>,
    /// The test whose printed output comes now.
    printing: Option<usize>,
    /// What the lines `test result:` count.
    told: usize,
}

/// The results, and what in the output contradicts them.
pub fn read(output: &str) -> (Vec<TestResult>, Option<String>) {
    let mut reader = Reader::default();
    let mut summaries = 0;
    for line in output.lines() {
        if let Some(told) = summary(line) {
            summaries += 1;
            reader.told += told;
            reader.running = None;
            reader.printing = None;
        } else {
            reader.line(line);
        }
    }
    let (told, read) = (reader.told, reader.results.len());
    let misread = if summaries == 0 {
        Some("no file of tests gave a summary".to_owned())
    } else {
        (told != read).then(|| format!("{told} tests were run, and {read} results were read"))
    };
    (reader.results, misread)
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(file) = binary(line) {
            self.binary = file;
            self.running = None;
        } else if let Some((name, rest)) = begun(line) {
            let name = format!("{} {name}", self.binary);
            // Until it is known better: a test that never ends has ended its process.
            let outcome = Outcome::Failed("ended the whole test process".to_owned());
            self.results.push(TestResult { name, outcome });
            self.running = Some(self.results.len() - 1);
            self.printing = self.running;
            self.ended_or_printed(rest);
        } else if let Some(name) = printed_header(line) {
            let name = format!("{} {name}", self.binary);
            self.printing = self.results.iter().rposition(|result| result.name == name);
        } else {
            self.ended_or_printed(line);
        }
    }

    fn ended_or_printed(&mut self, line: &str) {
        let Some(at) = self.running else {
            let result = self.printing.and_then(|at| self.results.get_mut(at));
            note_skip(result, line);
            return;
        };
        let ignored = line.strip_prefix("ignored");
        let outcome = match (line, ignored) {
            ("ok", _) => Outcome::Passed,
            ("FAILED", _) => Outcome::Failed("FAILED".to_owned()),
            (_, Some(reason)) => Outcome::Skipped(format!("ignored{reason}")),
            _ => {
                self.note_early_skip(at, line);
                return;
            }
        };
        self.running = None;
        if let Some(result) = self.results.get_mut(at) {
            // A skip that was told before the end stands, unless the test failed.
            let skipped = matches!(result.outcome, Outcome::Skipped(_));
            if !(skipped && outcome == Outcome::Passed) {
                result.outcome = outcome;
            }
        }
    }

    /// A test that prints while it runs says that it is skipped before it is known to pass.
    fn note_early_skip(&mut self, at: usize, line: &str) {
        if !line.starts_with(super::SKIPPED) {
            return;
        }
        if let Some(result) = self.results.get_mut(at) {
            if matches!(result.outcome, Outcome::Failed(_)) {
                result.outcome = Outcome::Passed;
            }
            note_skip(Some(result), line);
        }
    }
}

/// `Running tests/live.rs (target/…)` and `Doc-tests limitscope`.
fn binary(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{name} (doc)"));
    }
    let (_, path) = line.strip_prefix("Running ")?.rsplit_once(" (")?;
    let file = path.trim_end_matches(')').rsplit('/').next()?;
    // Without the hash that cargo appends.
    Some(
        file.rsplit_once('-')
            .map_or(file, |(name, _)| name)
            .to_owned(),
    )
}

/// `test name ... `, and what follows.
fn begun(line: &str) -> Option<(&str, &str)> {
    let (name, rest) = line.strip_prefix("test ")?.split_once(" ... ")?;
    Some((name, rest))
}

/// `---- name stdout ----`.
fn printed_header(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?.strip_suffix(" stdout ----")
}

/// The number of tests in `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; …`.
fn summary(line: &str) -> Option<usize> {
    let counts = line.strip_prefix("test result: ")?;
    let (_, counts) = counts.split_once(". ")?;
    let mut sum = 0;
    for (count, word) in counts.split("; ").filter_map(|part| part.split_once(' ')) {
        if matches!(word, "passed" | "failed" | "ignored") {
            sum += count.parse::<usize>().ok()?;
        }
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(output: &str) -> Vec<(String, Outcome)> {
        let (results, misread) = read(output);
        assert_eq!(misread, None);
        results
            .into_iter()
            .map(|result| (result.name, result.outcome))
            .collect()
    }

    fn failed(how: &str) -> Outcome {
        Outcome::Failed(how.to_owned())
    }

    #[test]
    fn captured_output_comes_after_the_results() {
        let output = "
     Running unittests src/lib.rs (target/debug/deps/nx-72ee6507dc2c5010)

running 4 tests
test a ... ok
test b ... FAILED
test c ... ignored, slow
test d - should panic ... ok

successes:

---- a stdout ----
SKIPPED: no BTF
SKIPPED: no tracefs

failures:

---- b stdout ----
SKIPPED: said before it failed

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests nx

running 1 test
test src/lib.rs - x (line 3) ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let expected = [
            ("nx a", Outcome::Skipped("no BTF; no tracefs".to_owned())),
            ("nx b", failed("FAILED")),
            ("nx c", Outcome::Skipped("ignored, slow".to_owned())),
            ("nx d - should panic", Outcome::Passed),
            ("nx (doc) src/lib.rs - x (line 3)", Outcome::Passed),
        ];
        assert_eq!(
            results(output),
            expected.map(|(name, outcome)| (name.to_owned(), outcome))
        );
    }

    #[test]
    fn printed_output_comes_before_the_results() {
        let output = "
     Running tests/live.rs (target/debug/deps/live_kernel-c7f428fb49d1497f)

running 4 tests
test a ... SKIPPED: no BTF
ok
test b ... measured 12
SKIPPED: no tracefs
ok
test c ... SKIPPED: said before it failed

thread 'c' panicked at src/lib.rs:3:37:
FAILED
test d ... hello
ok

test result: FAILED. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let expected = [
            ("live_kernel a", Outcome::Skipped("no BTF".to_owned())),
            ("live_kernel b", Outcome::Skipped("no tracefs".to_owned())),
            ("live_kernel c", failed("FAILED")),
            ("live_kernel d", Outcome::Passed),
        ];
        assert_eq!(
            results(output),
            expected.map(|(name, outcome)| (name.to_owned(), outcome))
        );
    }

    #[test]
    fn a_test_that_ends_the_process_has_failed() {
        let output = "
     Running tests/a.rs (target/debug/deps/a-c7f428fb49d1497f)
test a ... ok
test b ... error: test failed, to rerun pass `--test a`
     Running tests/b.rs (target/debug/deps/b-c7f428fb49d1497f)
test c ... ok
test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        let (results, _) = read(output);
        assert_eq!(results.len(), 3);
        assert_eq!(results[1].outcome, failed("ended the whole test process"));
        assert_eq!(results[2].outcome, Outcome::Passed);
    }

    #[test]
    fn a_contradiction_is_told() {
        assert!(read("error: could not compile").1.is_some());
        let line = "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out;";
        assert!(read(&format!("test a ... ok\n{line}")).1.is_some());
        // A test that prints without an end of line hides its own result.
        assert!(
            read(&format!(
                "test a ... ok\ntest b ... xok\ntest c ... ok\n{line}"
            ))
            .1
            .is_some()
        );
    }
}
