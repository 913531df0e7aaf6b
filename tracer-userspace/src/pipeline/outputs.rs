//! All sinks together: numbers the events and hands them on.

use std::path::PathBuf;

use anyhow::Result;
use rustix::time::ClockId;
use tracing::warn;

use super::{compose::clock_ns, filter::ContainerFilter, waiting};
use crate::{
    analyse::report::Report,
    model::{
        event::{Event, EventBody, EventKind},
        identity::Identity,
        stats::ContainerStats,
    },
    sinks::{
        heartbeat::Heartbeat,
        hlog::{HlogError, HlogWriter},
        json::JsonLines,
        output::{Closed, Descriptor, Output},
        pretty::{Pretty, wants_color},
        report::{Format as ReportFormat, ReportFile, render},
        wall_clock::WallClock,
    },
};

/// Form of the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// JSON lines.
    Json,
    /// For people.
    Pretty,
}

/// What comes out, and where.
#[derive(Clone, Debug)]
pub struct OutputOptions {
    /// Form of the events.
    pub format: EventFormat,
    /// File of the events; stdout without one.
    pub output: Option<PathBuf>,
    /// File of the report at the end.
    pub report: Option<PathBuf>,
    /// File of the HdrHistogram log.
    pub hlog: Option<PathBuf>,
    /// File that says that tracing goes on.
    pub heartbeat: Option<PathBuf>,
    /// Kinds of events that are written; `agent` always is.
    pub kinds: Vec<EventKind>,
    /// The containers that are written.
    pub container: Option<ContainerFilter>,
}

enum Form {
    Json(JsonLines),
    Pretty(Pretty),
}

/// All sinks.
pub struct Outputs {
    form: Form,
    output: Output,
    kinds: Vec<EventKind>,
    container: Option<ContainerFilter>,
    /// Whether a container of the filter was ever seen.
    matched: bool,
    report: Report,
    report_file: Option<(ReportFile, ReportFormat)>,
    hlog: Option<HlogWriter<Descriptor>>,
    hlog_failed: bool,
    heartbeat: Option<Heartbeat>,
    seq: u64,
    line: Vec<u8>,
    unwritable: u64,
    clock: WallClock,
}

impl Outputs {
    /// Opens everything; what cannot be written is an error now and not at the end.
    pub fn open(options: &OutputOptions, host_name: String) -> Result<Self> {
        let clock = wall_clock();
        let output = match &options.output {
            Some(path) => Output::file(path)?,
            None => Output::stdout()?,
        };
        let form = match options.format {
            EventFormat::Json => Form::Json(JsonLines::new(host_name, clock)),
            EventFormat::Pretty => {
                Form::Pretty(Pretty::new(clock, wants_color(output.is_terminal())))
            }
        };
        let report_file = match options.report.as_deref() {
            Some(path) => Some((ReportFile::prepare(path)?, ReportFormat::of_path(path))),
            None => None,
        };
        let hlog = match &options.hlog {
            Some(path) => {
                let now = clock.unix_ns(clock_ns(ClockId::Monotonic));
                Some(HlogWriter::new(Output::file(path)?, now)?)
            }
            None => None,
        };
        let heartbeat = options.heartbeat.as_deref();
        Ok(Self {
            heartbeat: heartbeat.map(Heartbeat::open).transpose()?,
            form,
            output,
            kinds: options.kinds.clone(),
            container: options.container.clone(),
            matched: false,
            report: Report::default(),
            report_file,
            hlog,
            hlog_failed: false,
            seq: 0,
            line: Vec::with_capacity(4096),
            unwritable: 0,
            clock,
        })
    }

    /// Files that are replaced at the end of the run.
    pub fn replaced(&self) -> Vec<PathBuf> {
        let report = self.report_file.as_ref();
        let file = report.and_then(|(file, _)| file.replaced());
        file.map(PathBuf::from).into_iter().collect()
    }

    /// Whether the user wants events of this kind.
    pub fn wants(&self, kind: EventKind) -> bool {
        kind == EventKind::Agent || self.kinds.contains(&kind)
    }

    /// Writes an event, unless the user does not want it.
    pub fn emit(&mut self, monotonic_ns: u64, body: EventBody) -> Result<(), Closed> {
        self.note_match(waiting::container(&body).map(|who| &**who));
        let excluded = self
            .container
            .as_ref()
            .zip(waiting::container(&body))
            .is_some_and(|(filter, identity)| !filter.matches(identity));
        if excluded || !self.wants(body.kind()) {
            return Ok(());
        }
        self.seq += 1;
        let event = Event {
            monotonic_ns,
            seq: self.seq,
            body,
        };
        self.line.clear();
        let written = match &self.form {
            Form::Json(json) => json
                .write(&event, &mut self.line)
                .map_err(anyhow::Error::from),
            Form::Pretty(pretty) => pretty
                .write(&event, &mut self.line)
                .map_err(anyhow::Error::from),
        };
        if let Err(error) = written {
            self.unwritable += 1;
            warn!("an event could not be put into words: {error}");
            return Ok(());
        }
        self.output.write_entry(&self.line)
    }

    /// Number of the last line that was put into words.
    pub const fn seq(&self) -> u64 {
        self.seq
    }

    /// The containers that are wanted; all without one.
    pub const fn filter(&self) -> Option<&ContainerFilter> {
        self.container.as_ref()
    }

    /// Remembers that a container of the filter was there.
    fn note_match(&mut self, identity: Option<&Identity>) {
        if let (Some(filter), Some(identity)) = (&self.container, identity) {
            self.matched = self.matched || filter.matches(identity);
        }
    }

    /// Takes an interval of a container into the report and the log.
    pub fn account(&mut self, stats: &ContainerStats, end_monotonic_ns: u64) {
        self.note_match(Some(&stats.container));
        if self
            .container
            .as_ref()
            .is_some_and(|filter| !filter.matches(&stats.container))
        {
            return;
        }
        let end = self.clock.unix_ns(end_monotonic_ns);
        if self.report_file.is_some() {
            self.report.add(stats, end);
        }
        if let Some(hlog) = &mut self.hlog
            && let Err(error) = hlog.write(stats, end)
        {
            self.hlog_trouble(&error);
        }
    }

    /// Hands on what is waiting in buffers.
    pub fn flush(&mut self) -> Result<(), Closed> {
        self.output.flush()
    }

    /// Whether the reader of the events has no room now.
    pub const fn is_behind(&self) -> bool {
        self.output.is_behind()
    }

    /// End of an interval: flushes the log and measures the wall clock anew.
    pub fn interval(&mut self) {
        if let Some(hlog) = &mut self.hlog
            && let Err(error) = hlog.flush()
        {
            self.hlog_trouble(&error);
        }
        self.clock = wall_clock();
        match &mut self.form {
            Form::Json(json) => json.set_clock(self.clock),
            Form::Pretty(pretty) => pretty.set_clock(self.clock),
        }
        self.beat();
    }

    /// Says that tracing goes on.
    pub fn beat(&mut self) {
        let result = self.heartbeat.as_ref().map_or(Ok(()), Heartbeat::beat);
        if let Err(error) = result {
            warn!("the heartbeat cannot be written, and is not any more: {error}");
            self.heartbeat = None;
        }
    }

    /// Events that nobody got.
    pub fn lost(&self) -> u64 {
        self.output.lost() + self.unwritable + self.hlog.as_ref().map_or(0, HlogWriter::lost)
    }

    /// Writes the report and everything that is left. All is tried; the first failure is told.
    pub fn finish(&mut self) -> Result<()> {
        if let Some(filter) = self.container.as_ref().filter(|_| !self.matched) {
            warn!("nothing was seen of --container {filter}");
        }
        let mut result = match self.output.finish() {
            // Nobody reads any more: nothing that went wrong.
            Ok(()) | Err(Closed) => Ok(()),
        };
        if let Some(hlog) = &mut self.hlog
            && let Err(error) = hlog.finish()
        {
            result = result.and(Err(
                anyhow::Error::from(error).context("the HdrHistogram log")
            ));
        }
        if let Some((file, format)) = self.report_file.take() {
            let written = render(&self.report, format)
                .map_err(anyhow::Error::from)
                .and_then(|bytes| Ok(file.write(&bytes)?));
            result = result.and(written);
        }
        result
    }

    fn hlog_trouble(&mut self, error: &HlogError) {
        if !self.hlog_failed {
            self.hlog_failed = true;
            warn!("the HdrHistogram log cannot be written, tracing goes on: {error}");
        }
    }
}

/// Distance between the two clocks now.
fn wall_clock() -> WallClock {
    let realtime = i64::try_from(clock_ns(ClockId::Realtime)).unwrap_or(i64::MAX);
    WallClock::from_offset_ns(realtime.saturating_sub_unsigned(clock_ns(ClockId::Monotonic)))
}
