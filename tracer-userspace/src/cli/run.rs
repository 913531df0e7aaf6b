//! `limitscope run`: traces until it is stopped.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context, Error, Result, bail};
use clap::{Args, ValueEnum, builder::NonEmptyStringValueParser};
use tokio::signal::unix::{SignalKind, signal};
use tracer_common::globals::Signal;

use super::{engines::EngineArgs, kubernetes::KubernetesArgs};
use crate::{
    analyse::findings::Thresholds,
    kernel::{
        host::HostFacts,
        loader::LoadError,
        memory_bounds::{DEFAULT_MAX_CGROUPS, MemoryBounds},
        plan::{ForcedSource, Plan, PlanOptions},
        problems, trial,
    },
    model::event::EventKind,
    pipeline::{self, ContainerFilter, EventFormat, OutputOptions, Outputs, RunOptions},
};

/// Shortest interval: below, reading costs more than it tells.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// Traces OOM kills, CPU throttling and context switches of every container.
///
/// One JSON object a line on stdout, messages on stderr. Ctrl-C or SIGTERM ends it cleanly.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Stop after this time, e.g. 30s or 5m [default: run until stopped]
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = positive)]
    pub duration: Option<Duration>,
    /// How often counters are read and `container_stats` written
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "10s", value_parser = interval)]
    pub interval: Duration,
    /// Kinds of events to write, separated by commas: oom_kill, cpu_throttle, container_start,
    /// container_exit, container_named, container_stats, finding [default: all]; agent is always written
    #[arg(long, value_name = "KINDS", value_delimiter = ',', value_parser = event_kind)]
    pub events: Vec<EventKind>,
    /// Only this container: its name, the beginning of its id, its pod's name, or its cgroup's path
    #[arg(long, value_name = "CONTAINER", value_parser = NonEmptyStringValueParser::new())]
    pub container: Option<String>,
    /// Leave out `cpu_throttle` events of shorter intervals; they are counted all the same
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, default_value = "1ms", value_parser = any_duration)]
    pub throttle_min: Duration,
    /// Moves a threshold of the rules for findings, e.g. near-limit-ratio=0.9; may be given several
    /// times. docs/findings.md lists them
    #[arg(long = "threshold", value_name = "NAME=NUMBER", value_parser = threshold)]
    pub thresholds: Vec<(String, f64)>,
    /// Form of the events
    #[arg(long, value_enum, default_value_t = Format::Json)]
    pub format: Format,
    /// Append the events to a file instead of writing them to stdout
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Write a histogram report at the end: JSON if FILE ends in .json, a HdrHistogram log if in
    /// .hlog, else a table
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,
    /// Append the histograms of each interval to a HdrHistogram log (V2)
    #[arg(long, value_name = "FILE")]
    pub hlog: Option<PathBuf>,
    /// Write to this file, when tracing begins and at the end of each interval, that it goes on, for
    /// `limitscope probe`
    #[arg(long, value_name = "FILE")]
    pub heartbeat: Option<PathBuf>,
    /// Who is asked for names.
    #[command(flatten)]
    pub engines: EngineArgs,
    /// Kubernetes, and labels.
    #[command(flatten)]
    pub kubernetes: KubernetesArgs,
    /// Cgroups to have room for; `limitscope check` tells what it takes
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEFAULT_MAX_CGROUPS,
        value_parser = clap::value_parser!(u32).range(2..=1_000_000)
    )]
    pub max_cgroups: u32,
    /// Only cgroup mounts at or below this directory count, e.g. the host's within a container
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
    /// Take a signal from this source even if there is a better one, e.g. throttle=tracepoint; may
    /// be given for each signal. `limitscope check` shows what is taken by itself
    #[arg(long, value_name = "SIGNAL=SOURCE")]
    pub force_source: Vec<ForcedSource>,
    /// Load this BPF object instead of the built-in one
    #[cfg(debug_assertions)]
    #[arg(long, value_name = "FILE")]
    pub object: Option<PathBuf>,
}

/// `--format` of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Json,
    /// For people
    Pretty,
}

impl From<Format> for EventFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Pretty => Self::Pretty,
        }
    }
}

fn any_duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

fn positive(text: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if duration.is_zero() {
        Err("it must be longer than 0".to_owned())
    } else {
        Ok(duration)
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let duration = any_duration(text)?;
    if duration < SHORTEST_INTERVAL {
        return Err(format!("the shortest interval is {SHORTEST_INTERVAL:?}"));
    }
    Ok(duration)
}

fn threshold(text: &str) -> Result<(String, f64), String> {
    let (name, value) = text.split_once('=').ok_or("it must be NAME=NUMBER")?;
    let value = value
        .parse()
        .map_err(|_| format!("{value:?} is no number"))?;
    // The name and the range are checked here, so that the message names the argument.
    Thresholds::default().set(name, value)?;
    Ok((name.to_owned(), value))
}

fn event_kind(text: &str) -> Result<EventKind, String> {
    EventKind::ALL
        .into_iter()
        .find(|kind| kind.name() == text)
        .ok_or_else(|| {
            let names: Vec<&str> = EventKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("there are {}", names.join(", "))
        })
}

impl RunArgs {
    fn kinds(&self) -> Vec<EventKind> {
        if self.events.is_empty() {
            EventKind::ALL.to_vec()
        } else {
            self.events.clone()
        }
    }

    /// The thresholds, with those that were given.
    fn thresholds(&self) -> Result<Thresholds> {
        let mut thresholds = Thresholds::default();
        for (name, value) in &self.thresholds {
            thresholds.set(name, *value).map_err(Error::msg)?;
        }
        Ok(thresholds)
    }

    /// What has to be measured for the events and files that are wanted.
    fn signals(&self) -> Vec<Signal> {
        let kinds = self.kinds();
        let counts = kinds.contains(&EventKind::ContainerStats)
            || kinds.contains(&EventKind::Finding)
            || self.report.is_some()
            || self.hlog.is_some();
        let mut signals = vec![Signal::CgroupLifecycle];
        if kinds.contains(&EventKind::OomKill) {
            signals.push(Signal::OomKill);
        }
        if counts || kinds.contains(&EventKind::CpuThrottle) {
            signals.push(Signal::CpuThrottle);
        }
        if counts {
            signals.push(Signal::ContextSwitch);
        }
        signals
    }
}

/// Runs the command. `started_ns` is the monotonic time at which the process started.
pub fn run(args: &RunArgs, started_ns: u64) -> Result<ExitCode> {
    // Everything that can be refused is refused before anything is attached.
    if let Some(root) = args.cgroup_root.as_deref().filter(|root| !root.is_dir()) {
        bail!("--cgroup-root {} is no directory", root.display());
    }
    args.engines.check()?;
    args.engines.warn_of_absent();
    let kubernetes = args.kubernetes.places()?;
    let mut host = HostFacts::read(args.cgroup_root.as_deref())?;
    host.functions = trial::functions(!args.force_source.is_empty());
    let plan = Plan::for_this_machine(
        &host,
        &PlanOptions {
            signals: args.signals(),
            slots: args.max_cgroups,
            throttle_min_ns: u64::try_from(args.throttle_min.as_nanos()).unwrap_or(u64::MAX),
            forced: args.force_source.clone(),
        },
    );
    let bounds = MemoryBounds::new(args.max_cgroups, host.possible_cpus, host.page_size);
    let problems = problems::fatal(&host, plan.as_ref(), bounds.total());
    if !problems.is_empty() {
        for problem in &problems {
            eprintln!("limitscope: {problem}");
        }
        return Ok(ExitCode::FAILURE);
    }
    let plan = plan?;
    let outputs = Outputs::open(
        &OutputOptions {
            format: args.format.into(),
            output: args.output.clone(),
            report: args.report.clone(),
            hlog: args.hlog.clone(),
            heartbeat: args.heartbeat.clone(),
            kinds: args.kinds(),
            container: args.container.clone().map(ContainerFilter::new),
        },
        host_name(),
    )?;
    let summary = plan.summary();
    for choice in summary
        .signals
        .iter()
        .filter(|choice| choice.source == "none")
    {
        tracing::warn!(
            "{} is not measured: {}",
            choice.signal,
            choice.notes.join("; ")
        );
    }
    let options = RunOptions {
        interval: args.interval,
        duration: args.duration,
        resolvers: args.engines.resolvers(args.kubernetes.chosen()),
        kubernetes,
        object: object(args)?,
        slots: args.max_cgroups,
        thresholds: args.thresholds()?,
        started_ns,
    };
    // One thread: there is one stream of records, and user space sleeps most of the time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let result =
        runtime.block_on(async { pipeline::run(options, &host, &plan, outputs, stopped).await });
    // A look-up of a name that hangs must not keep the process.
    runtime.shutdown_background();
    match result {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => {
            let refusal: LoadError = error.downcast()?;
            eprintln!("limitscope: {}", problems::refused(&refusal));
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Ready at SIGINT, SIGTERM or SIGHUP.
fn stopped() -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

#[cfg(debug_assertions)]
fn object(args: &RunArgs) -> Result<Option<Vec<u8>>> {
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("cannot read the object {}", path.display()))
    };
    args.object.as_ref().map(read).transpose()
}

#[cfg(not(debug_assertions))]
fn object(_args: &RunArgs) -> Result<Option<Vec<u8>>> {
    Ok(None)
}

/// `host.name`: on Kubernetes the node's name, which the pod's manifest hands in.
fn host_name() -> String {
    let given = std::env::var("NODE_NAME")
        .ok()
        .filter(|name| !name.is_empty());
    given.unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        name.trim().to_owned()
    })
}
