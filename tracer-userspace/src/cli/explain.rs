//! `limitscope explain`: one page for one container.
//!
//! It traces with `limitscope run`, as a process of its own, and reads its JSON lines: what the page
//! says is what every user gets.

mod page;
mod seen;
#[cfg(test)]
mod tests;

use std::{
    io::{self, Write},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode, Stdio},
    time::Duration,
};

use anyhow::{Context, Result};

use super::engines::EngineArgs;
use crate::{
    kernel::{cgroup_files::ControllerFiles, host::HostFacts},
    model::{
        limits::{CpuLimit, MemorySample},
        runtime::ProcessFacts,
    },
    runtimes::Inspector,
};
use seen::Seen;

/// Intervals that a short trace is cut into, so that findings have several to rest on.
const INTERVALS: u32 = 10;
const SHORTEST_INTERVAL: Duration = Duration::from_millis(500);
const LONGEST_INTERVAL: Duration = Duration::from_secs(10);
/// Processes that are shown.
const PROCESSES: usize = 3;
/// Processes that are chosen from.
const CONSIDERED: usize = 256;

/// Options of `limitscope explain`.
#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The container: its name, the beginning of its id, its pod's name, or its cgroup's path
    #[arg(value_name = "CONTAINER")]
    pub container: String,
    /// How long to trace; a growth of memory takes 40s and more to be told from a start
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    pub duration: Duration,
    /// Who is asked for names.
    #[command(flatten)]
    pub engines: EngineArgs,
    /// Only cgroup mounts at or below this directory count
    #[arg(long, value_name = "DIR")]
    pub cgroup_root: Option<PathBuf>,
}

fn duration(text: &str) -> Result<Duration, String> {
    let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if duration < Duration::from_secs(1) {
        return Err("the shortest time is 1s".to_owned());
    }
    Ok(duration)
}

/// What limits the container and who is in it, read from files.
#[derive(Clone, Debug, Default)]
struct Around {
    cpu_limit: Option<CpuLimit>,
    memory_limit: Option<u64>,
    memory: Option<MemorySample>,
    processes: Vec<ProcessFacts>,
}

/// Traces and prints the page.
pub fn run(args: &ExplainArgs) -> Result<ExitCode> {
    eprintln!(
        "limitscope: tracing {} for {}",
        args.container,
        humantime::format_duration(args.duration)
    );
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("limitscope")
        .args(["run", "--events", "container_stats,finding,oom_kill"])
        .args(["--container", &args.container])
        .arg("--duration")
        .arg(humantime::format_duration(args.duration).to_string())
        .arg("--interval")
        .arg(humantime::format_duration(interval(args.duration)).to_string())
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    command.args(args.engines.arguments());
    if let Some(root) = &args.cgroup_root {
        command.arg("--cgroup-root").arg(root);
    }
    let done = command.output().context("cannot start limitscope run")?;
    if !done.status.success() {
        // It has said why.
        return Ok(ExitCode::FAILURE);
    }
    let mut all = Seen::read(&done.stdout)?;
    let Some(seen) = all.pop() else {
        eprintln!(
            "limitscope: {} did nothing in this time, or is not there. `limitscope run --events \
             container_stats --format pretty` shows what there is.",
            args.container
        );
        return Ok(ExitCode::FAILURE);
    };
    if !all.is_empty() {
        eprintln!(
            "limitscope: {} is more than one; choose one of:",
            args.container
        );
        for seen in all.iter().chain([&seen]) {
            eprintln!("  {}", crate::sinks::text::Visible(&seen.cgroup));
        }
        return Ok(ExitCode::FAILURE);
    }
    let around = around(&seen.cgroup, args)?;
    let page = page::render(&seen, &around);
    let mut out = io::stdout().lock();
    out.write_all(page.as_bytes())?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

fn interval(duration: Duration) -> Duration {
    (duration / INTERVALS).clamp(SHORTEST_INTERVAL, LONGEST_INTERVAL)
}

fn around(cgroup: &str, args: &ExplainArgs) -> Result<Around> {
    let host = HostFacts::read(args.cgroup_root.as_deref())?;
    let files = |controller| {
        host.cgroups
            .with_controller(controller)
            .and_then(ControllerFiles::new)
    };
    let (cpu, memory) = (files("cpu"), files("memory"));
    let cpu_limit = cpu.as_ref().and_then(|files| files.cpu_limit(cgroup));
    let pids = cpu.as_ref().or(memory.as_ref());
    let pids = pids.map_or_else(Vec::new, |files| files.processes_below(cgroup, CONSIDERED));
    let mut inspector = Inspector::default();
    let processes = inspector
        .busiest_first(pids, PROCESSES)
        .into_iter()
        .filter_map(|pid| inspector.inspect(pid, cpu_limit.as_ref()).ok())
        .collect();
    Ok(Around {
        memory_limit: memory.as_ref().and_then(|files| files.memory_limit(cgroup)),
        memory: memory
            .as_ref()
            .and_then(|files| files.memory_sample(cgroup)),
        cpu_limit,
        processes,
    })
}
