//! Checks of the text: conventions, formatting, clippy, documentation. Each counts as one test.

use std::{process::Command, time::Duration};

use super::{Context, Tally};
use crate::{build_ebpf, step::Output, tidy, toolchain::Toolchain};

/// The crates that are built for the host; the programs' crate has a target and a panic handler of
/// its own.
const HOST_CRATES: [&str; 3] = ["--workspace", "--exclude", "tracer-ebpf"];

const SHORT: Duration = Duration::from_mins(2);
const LONG: Duration = Duration::from_mins(15);

/// The checks that need nothing but the toolchain that runs this.
pub fn before_set_up(context: &Context, tally: &mut Tally) {
    let title = "lint: tidy";
    let result = context
        .steps
        .here(title, || tidy::check(&context.workspace));
    tally.step(title, result.err().map(|error| format!("{error:#}")));

    let mut command = context.workspace.cargo();
    command.args(["fmt", "--all", "--check"]);
    check(
        context,
        tally,
        "lint: rustfmt (to repair: cargo fmt --all)",
        command,
        SHORT,
    );
}

/// The checks that compile.
pub fn after_set_up(context: &Context, toolchain: Option<&Toolchain>, tally: &mut Tally) {
    let mut command = context.workspace.cargo();
    command
        .arg("clippy")
        .args(HOST_CRATES)
        // The benchmark is behind a feature.
        .args(["--features", "limitscope-tests/bench"])
        .args(["--all-targets", "--", "-Dwarnings"]);
    check(
        context,
        tally,
        "lint: clippy of the host crates",
        command,
        LONG,
    );

    let title = "lint: clippy of the eBPF crate";
    if let Some(toolchain) = toolchain {
        let mut command = build_ebpf::cargo(&context.workspace, toolchain, "clippy");
        command.args(["--", "-Dwarnings"]);
        check(context, tally, title, command, LONG);
    } else {
        tally.fail(format!("{title}: not run, the tools for BPF are missing"));
    }

    let mut command = context.workspace.cargo();
    command
        .arg("doc")
        .args(HOST_CRATES)
        .arg("--no-deps")
        .env("RUSTDOCFLAGS", "-Dwarnings");
    check(context, tally, "lint: documentation", command, LONG);
}

fn check(context: &Context, tally: &mut Tally, title: &str, command: Command, budget: Duration) {
    let done = context.steps.command(title, command, budget, Output::Shown);
    tally.step(title, done.failure);
}
