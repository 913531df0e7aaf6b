//! `limitscope report`: from recordings to a report, without root.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use clap::builder::NonEmptyStringValueParser;
use clap::{Args, ValueEnum};

use crate::analyse::report::Report;
use crate::model::identity::Identity;
use crate::pipeline::ContainerFilter;
use crate::sinks::output::{Closed, Output};
use crate::sinks::recorded::Recordings;
use crate::sinks::report::{Format, ReportFile, render};

#[cfg(test)]
mod tests;

/// Containers that are kept apart at most: recordings of many nodes have more than one node's run.
const MAX_CONTAINERS: usize = 100_000;

/// Histograms of recorded runs: run-queue wait, on-CPU slices, throttled intervals, frozen time.
///
/// Reads JSON lines (`limitscope run`) and HdrHistogram logs (`limitscope run --hlog FILE`), told
/// apart by content, and merges them: buckets are the same everywhere, so counts add up exactly.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Recordings; `-` is stdin.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Form of the report [default: by the name of --output, else table].
    #[arg(long, value_enum)]
    pub format: Option<ReportFormat>,
    /// Leave out damaged lines instead of stopping at the first.
    #[arg(long)]
    pub keep_going: bool,
    /// Only this container: its name, the beginning of its id, its pod's name, or its cgroup's path.
    #[arg(long, value_name = "CONTAINER", value_parser = NonEmptyStringValueParser::new())]
    pub container: Option<String>,
    /// Write to a file instead of stdout; an old one is replaced when the report is complete.
    #[arg(long, short, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// `--format` of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A table for people.
    Table,
    /// One JSON object.
    Json,
    /// An HdrHistogram log (V2), one line per container and metric.
    Hlog,
}

impl From<ReportFormat> for Format {
    fn from(format: ReportFormat) -> Self {
        match format {
            ReportFormat::Table => Self::Table,
            ReportFormat::Json => Self::Json,
            ReportFormat::Hlog => Self::Hlog,
        }
    }
}

/// Runs the command; messages about left-out lines go to stderr.
pub fn run(args: &ReportArgs) -> anyhow::Result<()> {
    let file = args
        .output
        .as_deref()
        .map(ReportFile::prepare)
        .transpose()?;
    let report = read(args)?;
    let format = args.format.map_or_else(
        || {
            args.output
                .as_deref()
                .map_or(Format::Table, Format::of_path)
        },
        Format::from,
    );
    let content = render(&report, format)?;
    match file {
        Some(file) => Ok(file.write(&content)?),
        None => print(&content),
    }
}

fn read(args: &ReportArgs) -> anyhow::Result<Report> {
    let filter = args.container.clone().map(ContainerFilter::new);
    let wanted = |who: &Identity| filter.as_ref().is_none_or(|filter| filter.matches(who));
    let mut recordings = Recordings::new(Report::new(MAX_CONTAINERS), wanted, args.keep_going);
    for path in &args.files {
        if path.as_os_str() == "-" {
            recordings.read("stdin", io::stdin().lock())?;
        } else {
            recordings.read(&path.to_string_lossy(), open(path)?)?;
        }
    }
    let mut stderr = io::stderr().lock();
    for damage in recordings.damages() {
        writeln!(stderr, "{damage}")?;
    }
    match recordings.skipped() {
        0 => {}
        1 => writeln!(stderr, "1 damaged line was left out")?,
        many => writeln!(stderr, "{many} damaged lines were left out")?,
    }
    if recordings.report().is_empty() {
        if let Some(filter) = &args.container {
            bail!("nothing to report: no container in the recordings is called {filter:?}");
        }
        bail!(
            "nothing to report: the recordings hold no container_stats event and no histogram \
             (`limitscope run` writes one of each at the end of every interval, so was the run \
             shorter than its interval, or were others chosen by --events?)"
        );
    }
    Ok(recordings.into_report())
}

fn open(path: &Path) -> anyhow::Result<impl BufRead + use<>> {
    let what = || format!("cannot read {:?}", path.display().to_string());
    let file = File::open(path).with_context(what)?;
    Ok(BufReader::with_capacity(1 << 16, file))
}

fn print(content: &[u8]) -> anyhow::Result<()> {
    let mut stdout = Output::stdout()?;
    match stdout.write_entry(content).and_then(|()| stdout.finish()) {
        Ok(()) if stdout.lost() == 0 => Ok(()),
        // Whoever reads has seen enough.
        Err(Closed) => Ok(()),
        Ok(()) => bail!("the report could not be written to stdout"),
    }
}
