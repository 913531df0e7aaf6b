//! `limitscope probe`: whether a run goes on, for Kubernetes' probes and their like.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Result;
use clap::Args;

use crate::sinks::heartbeat;

/// Tells by its exit code whether `limitscope run --heartbeat FILE` traces: 0 if it does.
#[derive(Args, Clone, Debug)]
pub struct ProbeArgs {
    /// The file that was given to `run`
    #[arg(long, value_name = "FILE")]
    pub heartbeat: PathBuf,
    /// How old its last beat may be: more than the run's interval
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = humantime::parse_duration)]
    pub max_age: Duration,
}

/// Runs the command.
pub fn run(args: &ProbeArgs) -> Result<ExitCode> {
    let age = heartbeat::age(&args.heartbeat)?;
    if age > args.max_age {
        eprintln!(
            "limitscope: the last beat in {} was {:.1} s ago, more than {}",
            args.heartbeat.display(),
            age.as_secs_f64(),
            humantime::format_duration(args.max_age)
        );
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}
