//! `limitscope check`: what this machine offers, which plan `run` would use, what is missing and
//! how to get it.

mod json;
mod privileges;
#[cfg(test)]
mod tests;
mod text;
mod trial;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use tracer_common::globals::Signal;

use self::trial::Trial;
use super::engines::EngineArgs;
use crate::identity::chosen::Chosen;
use crate::kernel::btf::BtfError;
use crate::kernel::host::{FunctionPrograms, HostFacts};
use crate::kernel::memory_bounds::{DEFAULT_MAX_CGROUPS, MemoryBounds};
use crate::kernel::object;
use crate::kernel::plan::{ForcedSource, Plan, PlanOptions};
use crate::kernel::privileges::Later;
pub use crate::kernel::problems::{Problem, fatal};

/// Options of `limitscope check`.
#[derive(Clone, Debug, clap::Args)]
pub struct CheckArgs {
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Number of cgroups to have room for, which the memory bound is computed for
    #[arg(
        long,
        value_name = "N",
        default_value_t = DEFAULT_MAX_CGROUPS,
        value_parser = clap::value_parser!(u32).range(2..=1_000_000)
    )]
    pub max_cgroups: u32,
    /// Show the plan with this source of a signal, e.g. throttle=tracepoint
    #[arg(long, value_name = "SIGNAL=SOURCE")]
    pub force_source: Vec<ForcedSource>,
    /// Where container engines are.
    #[command(flatten)]
    pub engines: EngineArgs,
    /// Only cgroup mounts at or below this directory count, e.g. the host's within a container
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
}

/// Everything that `check` found out.
struct Report {
    host: HostFacts,
    plan: Result<Plan, BtfError>,
    bounds: MemoryBounds,
    max_cgroups: u32,
    /// Who is asked for names, the socket, and whether it is there.
    sockets: Vec<(&'static str, PathBuf, bool)>,
    /// What `run` does with capabilities after attaching.
    later: Later,
    /// The programs' trial; none where something is in the way.
    trial: Option<Trial>,
    problems: Vec<Problem>,
}

/// Prints what was found. `functions` says whether programs can be attached to functions here,
/// where that was tried. The exit code is 0 where `run` would work, else 1.
pub fn run(args: &CheckArgs, functions: FunctionPrograms) -> anyhow::Result<ExitCode> {
    if let Some(root) = args.cgroup_root.as_deref().filter(|root| !root.is_dir()) {
        bail!("--cgroup-root {} is no directory", root.display());
    }
    args.engines.check()?;
    let mut report = Report::new(args, functions)?;
    report.try_programs();
    let mut stdout = io::stdout();
    let text = if args.json {
        format!("{}\n", json::object(&report))
    } else {
        text::render(&report, stdout.is_terminal())
    };
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        // Nobody reads on: the exit code is still the answer.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other.context("cannot write to stdout")?,
    }
    Ok(ExitCode::from(u8::from(!report.works())))
}

impl Report {
    fn new(args: &CheckArgs, functions: FunctionPrograms) -> anyhow::Result<Self> {
        let max_cgroups = args.max_cgroups;
        let mut host = HostFacts::read(args.cgroup_root.as_deref())?;
        host.functions = functions;
        let options = PlanOptions {
            signals: Signal::ALL.to_vec(),
            slots: max_cgroups,
            throttle_min_ns: 0,
            forced: args.force_source.clone(),
        };
        let plan = Plan::for_this_machine(&host, &options);
        let bounds = MemoryBounds::new(max_cgroups, host.possible_cpus, host.page_size);
        let mut problems = fatal(&host, plan.as_ref(), bounds.total());
        if object::embedded().is_none() {
            problems.push(Problem {
                what: "this binary was built without the BPF object".to_owned(),
                remedy: "build the object first: cargo xtask build-ebpf".to_owned(),
            });
        }
        let resolvers = args.engines.resolvers(Chosen::default());
        Ok(Self {
            later: Later {
                replaced: Vec::new(),
                sockets: resolvers.sockets(),
                sockets_may_come: resolvers.is_any_named(),
            },
            host,
            plan,
            bounds,
            max_cgroups,
            sockets: resolvers
                .places()
                .into_iter()
                .map(|(resolver, path)| {
                    let found = path.exists();
                    (resolver, path, found)
                })
                .collect(),
            trial: None,
            problems,
        })
    }

    /// Loads the programs of the plan, where nothing is known to be in the way.
    fn try_programs(&mut self) {
        let Ok(plan) = &self.plan else { return };
        if !self.problems.is_empty() {
            return;
        }
        match Trial::of(plan, &self.host, self.max_cgroups, &self.later) {
            Ok(trial) => self.trial = Some(trial),
            Err(problem) => self.problems.push(problem),
        }
    }

    /// Whether `run` would work.
    fn works(&self) -> bool {
        self.problems.is_empty()
    }
}
