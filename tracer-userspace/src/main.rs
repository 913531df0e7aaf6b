//! The command line of limitscope.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use limitscope::cli::{check, demo, explain, inspect, probe, report, run};
use rustix::time::{ClockId, clock_gettime};
use tracing_subscriber::EnvFilter;

/// What happens at the limits of every container on this host: OOM kills, CPU throttling, context
/// switches and run-queue waits.
#[derive(Parser, Debug)]
#[command(
    name = "limitscope",
    version,
    about,
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::RunArgs,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Trace until stopped (this is what happens without a command too)
    Run(Box<run::RunArgs>),
    /// Histogram report of recorded runs
    Report(report::ReportArgs),
    /// What this machine offers, what would be measured and how, what is missing
    Check(check::CheckArgs),
    /// One page for one container: limits, what it did, where its time went, what to set
    Explain(explain::ExplainArgs),
    /// What processes tell of their language runtimes: GOMAXPROCS, pools, memory limits
    Inspect(inspect::InspectArgs),
    /// Whether a run with `--heartbeat` goes on, by the exit code
    Probe(probe::ProbeArgs),
    /// Show what limitscope sees, in containers made for it
    Demo(demo::DemoArgs),
    /// A process of the demo
    #[command(hide = true)]
    DemoWorkload(demo::workload::WorkloadArgs),
}

fn main() -> ExitCode {
    let started = clock_gettime(ClockId::Monotonic);
    let started_ns = started.tv_sec as u64 * 1_000_000_000 + started.tv_nsec as u64;
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(
            EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn")),
        )
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let result = match &arguments.command {
        None => run::run(&arguments.run, started_ns),
        Some(Command::Run(args)) => run::run(args, started_ns),
        Some(Command::Report(args)) => report::run(args).map(|()| ExitCode::SUCCESS),
        Some(Command::Explain(args)) => explain::run(args),
        Some(Command::Inspect(args)) => inspect::run(args),
        Some(Command::Probe(args)) => probe::run(args),
        Some(Command::Demo(args)) => demo::run(args),
        Some(Command::DemoWorkload(args)) => demo::workload::run(args),
        Some(Command::Check(args)) => check::run(
            args,
            limitscope::kernel::trial::functions(!args.force_source.is_empty()),
        ),
    };
    result.unwrap_or_else(|error| {
        eprintln!("limitscope: {}", with_causes(&error));
        ExitCode::FAILURE
    })
}

/// The error and its causes, each said once: some errors name their cause themselves.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
