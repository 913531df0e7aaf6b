//! What the guests' transcripts say: results of tests, agreement with referees, sources in use.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{
    agreement::Agreement,
    guest::{Cgroups, Ended, Guest},
    passes::{PROGRAM, Pass},
    transcript::Section,
};
use crate::test::{Outcome, Tally, TestResult, libtest};

/// How the tests of a suite ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

/// A pass on a guest.
pub struct Row {
    pub kernel: String,
    pub cgroups: Cgroups,
    pub cpus: u32,
    pub pass: Pass,
    /// By suite; none where it was not run.
    pub suites: BTreeMap<String, Counts>,
    pub agreement: Agreement,
    pub seconds: f64,
}

/// What `limitscope check` says on a guest.
#[derive(Default, Deserialize)]
pub struct Check {
    pub plan: Option<Plan>,
    /// What the verifier took for each program, where the binary tells it.
    #[serde(default)]
    pub programs: Vec<Program>,
}

#[derive(Deserialize)]
pub struct Plan {
    pub signals: Vec<Signal>,
}

#[derive(Deserialize)]
pub struct Signal {
    pub signal: String,
    pub source: String,
    #[serde(default)]
    pub notes: Vec<String>,
}

#[derive(Deserialize)]
pub struct Program {
    pub name: String,
    /// None where the kernel does not tell it.
    pub verified_instructions: Option<u64>,
    pub load_ns: Option<u64>,
}

/// One guest.
pub struct GuestResults {
    pub name: String,
    /// The kernel's place in the order of kernels.
    pub slot: usize,
    pub kernel: String,
    pub cgroups: Cgroups,
    pub check: Check,
    pub rows: Vec<Row>,
    /// Until the first process was ready, by the guest's clock.
    pub boot_seconds: Option<f64>,
    pub wall_seconds: f64,
    pub cpu_seconds: f64,
}

/// Counts a guest's tests and reads its figures.
pub fn of(guest: &Guest, ended: &Ended, tally: &mut Tally) -> GuestResults {
    let name = guest.name();
    if let Some(failure) = &ended.failure {
        tally.fail(format!("{name}: {failure}"));
    }
    let mut results = GuestResults {
        name: name.clone(),
        slot: guest.kernel.slot,
        kernel: guest.kernel.label().to_owned(),
        cgroups: guest.cgroups,
        check: Check::default(),
        rows: Vec::new(),
        boot_seconds: ended.transcript.booted.as_ref().map(|(up, _)| *up),
        wall_seconds: ended.wall.as_secs_f64(),
        cpu_seconds: ended.cpu.as_secs_f64(),
    };
    for &pass in &guest.passes {
        let mut row = Row {
            kernel: results.kernel.clone(),
            cgroups: guest.cgroups,
            cpus: guest.cpus,
            pass,
            suites: BTreeMap::new(),
            agreement: Agreement::default(),
            seconds: 0.0,
        };
        let place = format!("{name} {}", pass.name());
        for part in pass.parts(guest.rights) {
            let of_part = |s: &&Section| s.pass == pass.name() && s.name == part.name;
            let Some(section) = ended.transcript.sections.iter().find(of_part) else {
                tally.fail(format!("{place} {}: not run", part.name));
                continue;
            };
            let ran = row.part(section, &place, tally);
            if guest.filter.is_some() || section.code.is_none() {
                continue;
            }
            // A suite or test that was renamed would be left out without a word.
            for (suite, wanted) in part.suites {
                if !row.suites.contains_key(suite) {
                    tally.fail(format!("{place} {suite}: not run"));
                }
                for test in wanted {
                    if !ran.contains(&format!("{suite}::{test}")) {
                        tally.fail(format!("{place} {suite}: there is no test {test}"));
                    }
                }
            }
        }
        results.rows.push(row);
    }
    let check = (ended.transcript.sections.iter()).find(|section| section.name == "check");
    match check.map(|section| (section.code, serde_json::from_str(&section.output))) {
        Some((Some(0), Ok(check))) => {
            results.check = check;
            // Without its numbers nobody would see a program near the verifier's limit.
            let missing = results.check.programs.is_empty();
            let failure = missing.then(|| "it tells nothing of the programs".to_owned());
            tally.step(&format!("{name} check"), failure);
        }
        Some((code, parsed)) => {
            let why = parsed.err().map_or_else(
                || format!("it ended with {code:?}"),
                |error| format!("it ended with {code:?}, and its output is no JSON: {error}"),
            );
            let said = check.map_or("", |section| section.output.trim_end());
            tally.fail(format!("{name} check: {why}:\n{said}"));
        }
        None if guest.passes.contains(&Pass::Auto) => {
            tally.fail(format!("{name} check: not run"));
        }
        None => {}
    }
    results
}

/// Counts the tests that `program` ran in a section of a guest; `each` gets them by their names.
pub fn count(
    section: &Section,
    program: &str,
    place: &str,
    tally: &mut Tally,
    mut each: impl FnMut(&str, &Outcome),
) {
    let title = format!("{place} {}", section.name);
    // The header that cargo would have printed.
    let output = format!("     Running {program} ({program})\n{}", section.output);
    let (tests, misread) = libtest::read(&output);
    let own = format!("{program} ");
    let mut failed = false;
    let mut named = Vec::new();
    for test in tests {
        let name = test.name.trim_start_matches(&own);
        failed |= matches!(test.outcome, Outcome::Failed(_));
        each(name, &test.outcome);
        let name = format!("{place} {name}");
        named.push(TestResult { name, ..test });
    }
    let ended_well = match section.code {
        Some(0) => !failed,
        // As libtest ends when tests failed.
        Some(101) => failed,
        _ => false,
    };
    let failure = match (misread, ended_well) {
        (Some(misread), _) => Some(misread),
        (None, true) => None,
        (None, false) => Some(format!("ended with {:?}", section.code)),
    };
    if failed || failure.is_some() {
        println!("\n--- {title} wrote:\n{}", section.output.trim_end());
    }
    tally.tests(&title, named, failure);
}

impl Row {
    /// Counts the tests of a part, and tells which were run.
    fn part(&mut self, section: &Section, place: &str, tally: &mut Tally) -> Vec<String> {
        self.seconds += section.seconds.max(0.0);
        let mut ran = Vec::new();
        count(section, PROGRAM, place, tally, |name, outcome| {
            ran.push(name.to_owned());
            let suite = name.split("::").next().unwrap_or_default();
            let counts = self.suites.entry(suite.to_owned()).or_default();
            match outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
        });
        for line in section.output.lines() {
            self.agreement.line(line);
        }
        ran
    }
}

#[cfg(test)]
mod tests {
    use super::{super::agreement::Figure, *};

    #[test]
    fn a_suite_that_breaks_off_has_failed() {
        let mut row = Row {
            kernel: String::new(),
            cgroups: Cgroups::V2,
            cpus: 2,
            pass: Pass::Auto,
            suites: BTreeMap::new(),
            agreement: Agreement::default(),
            seconds: 0.0,
        };
        let mut tally = Tally::new("vm");
        let section = Section {
            output: "running 2 tests\ntest oom::a ... AGREEMENT: OOM kills | 1 | 2 | -50\nok\n\
                 test oom::b ... "
                .to_owned(),
            ..Section::default()
        };
        row.part(&section, "guest", &mut tally);
        let counts = Counts {
            passed: 1,
            failed: 1,
            skipped: 0,
        };
        assert_eq!(row.suites["oom"], counts);
        assert_eq!(row.agreement.cell(Figure::Kills), "-1 (1)");
        assert_eq!(tally.ran(), 3, "two tests, and that the suite broke off");
    }
}
