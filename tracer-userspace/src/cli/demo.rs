//! `limitscope demo`: makes trouble in cgroups of its own, traces it, and shows what was seen.

mod cgroup_file;
mod limits;
mod outcome;
mod page;
mod sandbox;
mod seen;
#[cfg(test)]
mod tests;
mod tracer;
pub mod workload;

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use rustix::time::{ClockId, clock_gettime};
use serde_json::Value;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::Instant,
};

use crate::{
    kernel::host::HostFacts,
    sinks::pretty::{Styles, wants_color},
};

use outcome::Outcome;
use sandbox::{Group, Sandbox};
use tracer::Tracer;
use workload::{Kind, Workload};

/// Memory limit of the leaking cgroup, in bytes.
const MEMORY_LIMIT: u64 = 64 << 20;
/// CPU time of the burning cgroup in each period, in microseconds.
const QUOTA_US: u64 = 50_000;
/// The period, in microseconds: what container runtimes set.
const PERIOD_US: u64 = 100_000;
/// Threads of the burning process.
const THREADS: u64 = 8;
/// How often the counters are read.
const INTERVAL: Duration = Duration::from_millis(500);
/// Shortest run in which there is something to see.
const SHORTEST: Duration = Duration::from_secs(2);
/// Longest run: what comes later is more of the same.
const LONGEST: Duration = Duration::from_mins(10);
/// How long the kernel needs to settle its accounts after the last thread has ended: its timers
/// stop at the second period without one.
const SETTLE: Duration = Duration::from_micros(3 * PERIOD_US);
/// How long the processes may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes three containers, two of them in trouble, and shows what limitscope sees of it.
///
/// One leaks memory until the kernel kills it, one has more threads than its CPU quota feeds, one
/// is quiet. Everything that is made is removed at the end. Needs root.
#[derive(Args, Clone, Debug)]
pub struct DemoArgs {
    /// How long to watch
    #[arg(long, value_name = "TIME", default_value = "6s", value_parser = duration)]
    duration: Duration,
    /// One JSON object instead of the page
    #[arg(long)]
    json: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if (SHORTEST..=LONGEST).contains(&duration) {
        Ok(duration)
    } else {
        Err(format!("it must be between {SHORTEST:?} and {LONGEST:?}"))
    }
}

/// Runs the command. However it ends, what it made is removed: dropping the parts does that.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(async {
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut hangup = signal(SignalKind::hangup())?;
        let stopped = async {
            tokio::select! {
                _ = interrupt.recv() => SignalKind::interrupt(),
                _ = terminate.recv() => SignalKind::terminate(),
                _ = hangup.recv() => SignalKind::hangup(),
            }
        };
        tokio::select! {
            result = show(args) => result,
            signal = stopped => {
                eprintln!("limitscope: the demo was stopped; what it made is removed");
                // As a shell tells the end by a signal.
                let code = u8::try_from(128 + signal.as_raw_value()).unwrap_or(1);
                Ok(ExitCode::from(code))
            }
        }
    })
}

async fn show(args: &DemoArgs) -> Result<ExitCode> {
    let host = HostFacts::read(None)?;
    let Some((tracer, start)) = Tracer::start(INTERVAL).await? else {
        bail!("the demo shows nothing, as nothing can be traced here");
    };
    let color = wants_color(io::stdout().is_terminal());
    let styles = if color {
        Styles::COLOURED
    } else {
        Styles::PLAIN
    };
    let places = sandbox::places(&host.cgroups)?;
    let removed = sandbox::remove_leftovers(&places);
    if removed > 0 {
        eprintln!("limitscope: removed {removed} cgroups of a demo that was killed");
    }
    if !args.json {
        let label = places
            .first()
            .map_or("cgroup", |place| place.version.name());
        print(&page::introduction(
            styles,
            args.duration.as_secs_f64(),
            label,
        )?)?;
    }
    let mut outcome = watch(tracer, &places, args.duration, &start).await?;
    outcome.cpus = host.online_cpus;
    if args.json {
        print(&format!("{:#}\n", outcome.json()))?;
    } else {
        print(&page::result(styles, &outcome)?)?;
    }
    let missing = outcome.missing();
    for what in &missing {
        eprintln!("limitscope: {what}");
    }
    Ok(if missing.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Prints; nobody reading is no error, as the demo still has to clean up.
fn print(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to stdout")
        }
        _ => Ok(()),
    }
}

/// The three cgroups.
struct Groups {
    leaking: Group,
    burning: Group,
    quiet: Group,
}

/// Runs everything; the processes, the cgroups and the tracer are gone when it returns.
async fn watch(
    mut tracer: Tracer,
    places: &[sandbox::Place],
    duration: Duration,
    start: &Value,
) -> Result<Outcome> {
    let sandbox = Sandbox::make(places)?;
    let groups = Groups {
        leaking: sandbox.group("leaking")?,
        burning: sandbox.group("burning")?,
        quiet: sandbox.group("quiet")?,
    };
    groups.leaking.limit_memory(MEMORY_LIMIT)?;
    groups.burning.limit_cpu(QUOTA_US, PERIOD_US)?;
    groups.quiet.limit_memory(MEMORY_LIMIT)?;
    // A whole CPU, so that not even its start on a slow machine uses it up.
    groups.quiet.limit_cpu(PERIOD_US, PERIOD_US)?;
    // It is killed somewhat before the middle.
    let rate = (MEMORY_LIMIT as f64 / (duration.as_secs_f64() * 0.4)) as u64;
    let mut workloads = [
        Workload::start(Kind::Leaking, &[("--rate", rate)], &groups.leaking)?,
        Workload::start(Kind::Burning, &[("--threads", THREADS)], &groups.burning)?,
        Workload::start(Kind::Quiet, &[], &groups.quiet)?,
    ];

    let mut outcome = Outcome::default();
    outcome.agent.take(start);
    let began = Instant::now();
    let began_ns = monotonic_ns();
    for workload in &mut workloads {
        workload.go()?;
    }
    let take = |outcome: &mut Outcome, event: &Value| sort(outcome, &groups, event);
    tracer
        .collect(began + duration, |event| take(&mut outcome, event))
        .await?;
    // By themselves, so that the kernel closes every throttled interval in its account.
    for workload in &mut workloads {
        workload.end();
    }
    let patience = Instant::now() + PATIENCE;
    loop {
        tracer
            .collect(Instant::now() + Duration::from_millis(10), |event| {
                take(&mut outcome, event);
            })
            .await?;
        let mut all = true;
        for workload in &mut workloads {
            all &= workload.has_ended()?;
        }
        if all {
            break;
        }
        if Instant::now() > patience {
            bail!("the demo's processes do not end");
        }
    }
    outcome.busy_ns = u64::try_from(began.elapsed().as_nanos())?;
    tracer
        .collect(Instant::now() + SETTLE, |event| take(&mut outcome, event))
        .await?;
    outcome.exit_code = workloads[0].exit_code()?;
    outcome.cpu_stat = groups.burning.cpu_stat()?;
    (outcome.oom_kills, outcome.oom_kills_file) = groups.leaking.oom_kills()?;
    // The last reading needs the cgroups.
    tracer.stop(|event| take(&mut outcome, event)).await?;
    drop(workloads);
    sandbox.remove()?;
    if let Some(kill) = outcome.leaking.kills.first() {
        outcome.lived_ns = kill.at_ns.saturating_sub(began_ns);
    }
    Ok(outcome)
}

/// Gives an event to what it is about.
fn sort(outcome: &mut Outcome, groups: &Groups, event: &Value) {
    if event["event"] == "agent" {
        outcome.agent.take(event);
        return;
    }
    let cgroup = event["process.linux.cgroup"].as_str().unwrap_or_default();
    if groups.leaking.is_at(cgroup) {
        outcome.leaking.take(event);
    } else if groups.burning.is_at(cgroup) {
        outcome.burning.take(event);
    } else if groups.quiet.is_at(cgroup) {
        outcome.quiet.take(event);
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
