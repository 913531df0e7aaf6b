//! Tests on the live kernel: the package `limitscope-tests`, as root, one test at a time.

use std::{
    env,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    Context, Tally,
    groups::Group,
    runner::{self, Run},
};
use crate::{
    build, process,
    step::Output,
    toolchain::{
        go,
        kubelet::{self, Extent},
        unpacked::{self, Package},
    },
};

/// The package of these tests.
const PACKAGE: &str = "limitscope-tests";

/// Releases of containerd that the tests with containers have beside the machine's own, and the variable
/// that names each.
const CONTAINERDS: &[(&str, &Package)] = &[
    ("LIMITSCOPE_CONTAINERD_NEWER", &unpacked::CONTAINERD_NEWER),
    ("LIMITSCOPE_CONTAINERD_OLDER", &unpacked::CONTAINERD_OLDER),
];

const BUILD: Duration = Duration::from_mins(20);
const TESTS: Duration = Duration::from_mins(20);

/// Builds the release binary, which is what these tests are about.
pub fn build(context: &Context, tally: &mut Tally) -> Option<PathBuf> {
    let title = "set-up: release binary";
    let command = build::command(&context.workspace, true);
    let done = context.steps.command(title, command, BUILD, Output::Shown);
    let binary = context.workspace.binaries(true).join("limitscope");
    tally.set_up(title, done.failure).then_some(binary)
}

/// Runs a group, or says why not.
pub fn run(context: &Context, group: Group, binary: Option<&Path>, tally: &mut Tally) {
    let title = format!("{}: tests", group.name());
    let Some(select) = select(context, group) else {
        return;
    };
    let select: Vec<&str> = select.iter().map(String::as_str).collect();
    let Some(binary) = binary else {
        tally.fail(format!("{title}: not run, there is no release binary"));
        return;
    };
    let mut binary = binary.to_owned();
    let mut variables = Vec::new();
    if group == Group::Containers && rustix::process::geteuid().is_root() {
        for (variable, package) in CONTAINERDS {
            // Who names one has chosen.
            if env::var_os(variable).is_some() {
                continue;
            }
            let title = "set-up: another containerd";
            let root =
                (context.steps).here(title, || unpacked::prepare(&context.workspace, package));
            // Without it its test fails too, and says so.
            let root = tally.take(title, root);
            variables.extend(root.map(|root| (*variable, root.join("usr/bin"))));
        }
    }
    // Who names compilers has chosen.
    let chosen = env::var_os("LIMITSCOPE_GO").is_some();
    if group == Group::Privileged && !chosen && rustix::process::geteuid().is_root() {
        let title = "set-up: a newer Go";
        let go = context
            .steps
            .here(title, || go::prepare(&context.workspace));
        // Without it the tests have the machine's own, and what they miss is a failure.
        variables.extend(tally.take(title, go).map(|go| ("LIMITSCOPE_GO", go)));
    }
    if matches!(group, Group::Kubelet | Group::Kubernetes) {
        let title = format!("set-up: {}", group.name());
        let programs = match group {
            Group::Kubelet => Extent::Kubelet,
            _ => Extent::Cluster,
        };
        let kubelet =
            (context.steps).here(&title, || kubelet::prepare(&context.workspace, programs));
        let Some(kubelet) = tally.take(&title, kubelet) else {
            return;
        };
        variables.push(("LIMITSCOPE_KUBELET", kubelet));
    }
    if group == Group::Kubernetes {
        // What runs in a pod is what an image has.
        let title = "set-up: static release binary";
        let (command, built) = build::static_command(&context.workspace);
        let done = context.steps.command(title, command, BUILD, Output::Shown);
        if !tally.set_up(title, done.failure) {
            return;
        }
        binary = built;
    }
    let run = Run {
        title: &title,
        select: &select,
        privileged: Some(&binary),
        variables: &variables,
    };
    let title = format!("{}: build", group.name());
    let done = context
        .steps
        .command(&title, run.build(context), BUILD, Output::Shown);
    if let Some(failure) = done.failure {
        tally.fail(format!("{title}: {failure}"));
    } else if rustix::process::geteuid().is_root() {
        run.tests(context, TESTS, tally);
    } else {
        not_root(context, group, &run, tally);
    }
}

/// Cargo's arguments for the files of a group; none if there are none.
fn select(context: &Context, group: Group) -> Option<Vec<String>> {
    let package = context
        .workspace
        .packages
        .iter()
        .find(|package| package.name == PACKAGE)?;
    let mut select = vec!["--package".to_owned(), PACKAGE.to_owned()];
    // The fixtures have tests of their own.
    if group == Group::Privileged {
        select.extend(["--lib".to_owned(), "--bins".to_owned()]);
    }
    let of_group = |target: &&crate::workspace::Target| {
        target.kind.iter().any(|kind| kind == "test") && group.has_test_file(&target.name)
    };
    for target in package.targets.iter().filter(of_group) {
        select.extend(["--test".to_owned(), target.name.clone()]);
    }
    (select.len() > 2).then_some(select)
}

/// Counts each test as skipped. On a machine that is there for tests, that is a failure.
fn not_root(context: &Context, group: Group, run: &Run<'_>, tally: &mut Tally) {
    let by_hand = format!("sudo -E cargo xtask test --only {}", group.name());
    let listed = process::output(&mut run.list(context));
    let Some(listed) = tally.take(run.title, listed) else {
        return;
    };
    let tests = runner::listed(&listed);
    println!(
        "{} {} tests were NOT run: they need root. Run: {by_hand}",
        tests.len(),
        group.name()
    );
    if env::var_os("CI").is_some_and(|ci| ci == "true") {
        tally.fail(format!("{} tests need root: {by_hand}", tests.len()));
        return;
    }
    for test in tests {
        tally.skip(format!("{test}: needs root: {by_hand}"));
    }
}
