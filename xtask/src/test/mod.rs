//! `cargo xtask test`: sets up, and runs every test that this machine can run, cheap ones first.
//! A group that fails does not keep the others from running.

mod groups;
mod lint;
mod privileged;
mod runner;
mod tally;
mod unit;

use std::{
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::Result;

use crate::{
    build_ebpf, process,
    step::Steps,
    toolchain::{Toolchain, packages},
    vm,
    workspace::Workspace,
};
use groups::Group;
pub use runner::{Outcome, TestResult, libtest};
pub use tally::Tally;

/// Arguments of `cargo xtask test`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Run this group alone; may be given several times
    #[arg(long, value_name = "GROUP")]
    only: Vec<Group>,
    /// End after so many minutes, whatever is still to be run, and fail then
    #[arg(long, value_name = "MINUTES")]
    time_limit: Option<u64>,
    /// Run the kernel matrix, alone unless other groups are asked for
    #[arg(long)]
    vm: bool,
    /// Run every group, the kernel matrix and the kubelet's too
    #[arg(long, conflicts_with_all = ["only", "vm"])]
    all: bool,
    #[command(flatten)]
    matrix: vm::Options,
    #[command(flatten)]
    systemd: vm::systemd::GuestOptions,
    /// Run only tests whose name contains this, and no lints
    filter: Option<String>,
}

/// What the groups share.
pub struct Context {
    pub workspace: Workspace,
    pub steps: Steps,
    pub filter: Option<String>,
    /// Whether cargo-nextest is installed, which gives every test a process of its own.
    nextest: bool,
}

/// Runs the command.
pub fn run(mut arguments: Arguments) -> Result<ExitCode> {
    if arguments.vm {
        arguments.only.push(Group::Vm);
    }
    process::adopt_orphans()?;
    let workspace = Workspace::find()?;
    let nextest = {
        let mut command = workspace.cargo();
        command.args(["nextest", "--version"]);
        process::output(&mut command).is_ok()
    };
    let groups = groups::chosen(&arguments.only, arguments.all, arguments.filter.is_some());
    let steps = Steps::within(arguments.time_limit.map(Duration::from_mins));
    let context = Context {
        workspace,
        steps,
        filter: arguments.filter.clone(),
        nextest,
    };

    let mut tallies = Vec::new();
    let mut set_up = Tally::new("set-up");
    if groups.contains(&Group::Lint) {
        // What needs no set-up comes before it.
        let mut lint = timed(Group::Lint, |tally| lint::before_set_up(&context, tally));
        let toolchain = object(&context, &mut set_up);
        let started = Instant::now();
        lint::after_set_up(&context, toolchain.as_ref(), &mut lint);
        lint.duration += started.elapsed();
        tallies.push(lint);
    } else {
        object(&context, &mut set_up);
    }
    if groups.contains(&Group::Unit) {
        tallies.push(timed(Group::Unit, |tally| unit::run(&context, tally)));
    }
    let privileged = [
        Group::Privileged,
        Group::Docker,
        Group::Containers,
        Group::Kubelet,
        Group::Kubernetes,
    ];
    if privileged.iter().any(|group| groups.contains(group)) {
        prepare_machine(&groups, &mut set_up);
        let started = Instant::now();
        let binary = privileged::build(&context, &mut set_up);
        set_up.duration += started.elapsed();
        for group in privileged {
            if groups.contains(&group) {
                tallies.push(timed(group, |tally| {
                    privileged::run(&context, group, binary.as_deref(), tally);
                }));
            }
        }
    }
    tallies.extend(guests(&context, &arguments, &groups, &mut set_up));
    tallies.insert(0, set_up);
    if context.filter.is_some() && tallies.iter().all(|tally| tally.ran() == 0) {
        tallies[0].fail("the filter matches no test".to_owned());
    }
    Ok(tally::summary(&tallies))
}

/// The groups that have guests. The guest with systemd runs beside those of the matrix, which are more
/// than this machine has CPUs for anyway.
fn guests(
    context: &Context,
    arguments: &Arguments,
    groups: &[Group],
    set_up: &mut Tally,
) -> Vec<Tally> {
    let has = |group| groups.contains(&group);
    let mut systemd = has(Group::Systemd).then(|| {
        prepare_machine(&[Group::Systemd], set_up);
        let mut prepared = None;
        let tally = timed(Group::Systemd, |tally| {
            prepared = vm::systemd::prepare(context, &arguments.systemd, tally);
        });
        (tally, prepared)
    });
    let budget = context.steps.budget(Duration::MAX);
    let mut beside = || {
        if let Some((tally, Some(prepared))) = &mut systemd {
            let started = Instant::now();
            prepared.run(budget, tally);
            tally.duration += started.elapsed();
        }
    };
    let mut tallies = Vec::new();
    if has(Group::Vm) {
        prepare_machine(&[Group::Vm], set_up);
        tallies.push(timed(Group::Vm, |tally| {
            vm::run(context, &arguments.matrix, tally, beside);
        }));
    } else {
        beside();
    }
    tallies.extend(systemd.map(|(tally, _)| tally));
    tallies
}

fn timed(group: Group, run: impl FnOnce(&mut Tally)) -> Tally {
    let mut tally = Tally::new(group.name());
    let started = Instant::now();
    run(&mut tally);
    tally.duration = started.elapsed();
    tally
}

/// The tools for BPF and the object. Groups that need neither are run even where this fails.
fn object(context: &Context, tally: &mut Tally) -> Option<Toolchain> {
    let started = Instant::now();
    let title = "set-up: tools for BPF";
    let toolchain = context
        .steps
        .here(title, || Toolchain::prepare(&context.workspace));
    let toolchain = tally.take(title, toolchain)?;
    let title = "set-up: BPF object";
    let command = build_ebpf::cargo(&context.workspace, &toolchain, "build");
    let budget = Duration::from_mins(10);
    let done = context
        .steps
        .command(title, command, budget, crate::step::Output::Shown);
    if tally.set_up(title, done.failure) {
        tally.take(title, build_ebpf::install(&context.workspace));
    }
    tally.duration += started.elapsed();
    Some(toolchain)
}

/// Debian packages that tests need. Without root there is nothing to install for: the tests that
/// need them are not run.
fn prepare_machine(groups: &[Group], tally: &mut Tally) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let started = Instant::now();
    for (group, wanted) in [
        (Group::Privileged, packages::TESTS),
        (Group::Docker, packages::DOCKER),
        (Group::Containers, packages::CONTAINERS),
        (Group::Kubelet, packages::CONTAINERS),
        (Group::Kubelet, packages::KUBELET),
        (Group::Kubernetes, packages::CONTAINERS),
        (Group::Kubernetes, packages::KUBELET),
        (Group::Kubernetes, packages::KUBERNETES),
        (Group::Vm, packages::GUESTS),
        (Group::Systemd, packages::SYSTEMD_GUEST),
    ] {
        if groups.contains(&group) {
            for failure in packages::ensure(wanted) {
                tally.fail(format!("packages for {}: {failure}", group.name()));
            }
        }
    }
    tally.duration += started.elapsed();
}
