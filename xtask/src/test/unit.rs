//! Unit tests of the default members, and the examples in their documentation.

use std::time::Duration;

use super::{Context, Tally, runner::Run};

/// Runs the group.
pub fn run(context: &Context, tally: &mut Tally) {
    let run = Run {
        title: "unit: tests",
        select: &[],
        privileged: None,
        variables: &[],
    };
    run.tests(context, Duration::from_mins(20), tally);
    run.doc_tests(context, Duration::from_mins(10), tally);
}
