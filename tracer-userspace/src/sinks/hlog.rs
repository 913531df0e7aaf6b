//! HdrHistogram logs (V2): one tag per container and metric, one line per tag and interval.
//!
//! A bucket's values are recorded as its middle, so a value is at most 1/32 (3.1 %) or 32 ns off;
//! the log's own three significant digits (0.1 %) are finer than that. Reading a log back gives
//! the same counts in the same buckets.

mod tags;
#[cfg(test)]
mod tests;

use std::io::Write;
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use thiserror::Error;
use tracer_common::log_linear::{bucket_of, middle};

use crate::analyse::names::qualified_name;
use crate::model::histogram::Histogram;
use crate::model::stats::{ContainerStats, Metric};
use crate::sinks::output::{Closed, LineWriter};

pub use tags::{TagError, decode_tag, encode_tag};

/// Significant decimal digits of the log's histograms.
const DIGITS: u8 = 3;
/// Highest value in nanoseconds: none of the kernel's buckets has a middle above.
const HIGHEST_NS: u64 = 1 << 38;

/// Why a log cannot be written.
#[derive(Debug, Error)]
pub enum HlogError {
    /// Nobody reads it any more.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// A histogram could not be encoded.
    #[error("a histogram cannot be encoded: {0}")]
    Encode(String),
}

/// Encodes lines of a log.
struct Encoder {
    serializer: V2DeflateSerializer,
    values: Hdr<u64>,
}

impl Encoder {
    fn new() -> Result<Self, HlogError> {
        let values = Hdr::new_with_bounds(1, HIGHEST_NS, DIGITS)
            .map_err(|error| HlogError::Encode(error.to_string()))?;
        Ok(Self {
            serializer: V2DeflateSerializer::new(),
            values,
        })
    }

    /// Appends one line to `line`; times are nanoseconds after the log's base.
    fn line(
        &mut self,
        line: &mut Vec<u8>,
        tag: &str,
        histogram: &Histogram,
        start: Duration,
        length: Duration,
    ) -> Result<(), HlogError> {
        self.values.reset();
        for (bucket, count) in histogram.iter() {
            self.values
                .saturating_record_n(middle(bucket as u32), count);
        }
        let tag =
            Tag::new(tag).ok_or_else(|| HlogError::Encode(format!("{tag:?} cannot be a tag")))?;
        // Writes nothing by itself: the head of the log is written elsewhere.
        IntervalLogWriterBuilder::new()
            .begin_log_with(line, &mut self.serializer)
            .and_then(|mut log| {
                log.write_histogram(&self.values, start, length, Some(tag))
                    .map_err(|error| match error {
                        IntervalLogWriterError::IoError(error) => error,
                        IntervalLogWriterError::SerializeError(error) => {
                            std::io::Error::other(error)
                        }
                    })
            })
            .map_err(|error| HlogError::Encode(error.to_string()))
    }
}

/// The head of a log whose times count from `base_unix_ns`.
fn head(base_unix_ns: i64) -> Result<Vec<u8>, HlogError> {
    let base = SystemTime::UNIX_EPOCH + since(0, base_unix_ns);
    let mut text = Vec::new();
    IntervalLogWriterBuilder::new()
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(" limitscope: values in nanoseconds, tags CONTAINER/METRIC, percent-encoded")
        .with_start_time(base)
        .with_base_time(base)
        .begin_log_with(&mut text, &mut V2DeflateSerializer::new())
        .map_err(|error| HlogError::Encode(error.to_string()))?;
    Ok(text)
}

/// Time from one to another in nanoseconds since the Unix epoch; none backwards.
fn since(base_ns: i64, at_ns: i64) -> Duration {
    Duration::from_nanos(u64::try_from(at_ns.saturating_sub(base_ns)).unwrap_or(0))
}

/// Writes a log while a run goes on.
pub struct HlogWriter<W> {
    output: LineWriter<W>,
    encoder: Encoder,
    base_unix_ns: i64,
    line: Vec<u8>,
}

impl<W: Write> HlogWriter<W> {
    /// Begins a log at a time in nanoseconds since the Unix epoch.
    pub fn new(mut output: LineWriter<W>, base_unix_ns: i64) -> Result<Self, HlogError> {
        output.write_entry(&head(base_unix_ns)?)?;
        Ok(Self {
            output,
            encoder: Encoder::new()?,
            base_unix_ns,
            line: Vec::new(),
        })
    }

    /// Writes what is not empty of an interval that ended at `end_unix_ns`.
    pub fn write(&mut self, stats: &ContainerStats, end_unix_ns: i64) -> Result<(), HlogError> {
        let name = qualified_name(&stats.container);
        let start = end_unix_ns.saturating_sub_unsigned(stats.interval_ns);
        for metric in Metric::ALL {
            let histogram = metric.of(&stats.histograms);
            if histogram.is_empty() {
                continue;
            }
            self.line.clear();
            self.encoder.line(
                &mut self.line,
                &encode_tag(&name, metric),
                histogram,
                since(self.base_unix_ns, start),
                Duration::from_nanos(stats.interval_ns),
            )?;
            self.output.write_entry(&self.line)?;
        }
        Ok(())
    }

    /// Writes what waits; once an interval is enough.
    pub fn flush(&mut self) -> Result<(), HlogError> {
        Ok(self.output.flush()?)
    }

    /// The last flush. Every line is whole and stands for itself, so a log needs no end.
    pub fn finish(&mut self) -> Result<(), HlogError> {
        Ok(self.output.finish()?)
    }

    /// The output.
    pub fn into_output(self) -> LineWriter<W> {
        self.output
    }

    /// Lines that could not be written.
    pub const fn lost(&self) -> u64 {
        self.output.lost()
    }
}

/// A whole log with one line per container and metric over all of `span`, times in nanoseconds
/// since the Unix epoch.
pub fn whole_log<'a>(
    span: (i64, i64),
    histograms: impl Iterator<Item = (&'a str, Metric, &'a Histogram)>,
) -> Result<Vec<u8>, HlogError> {
    let (start, end) = span;
    let mut text = head(start)?;
    let mut encoder = Encoder::new()?;
    for (name, metric, histogram) in histograms {
        let tag = encode_tag(name, metric);
        encoder.line(
            &mut text,
            &tag,
            histogram,
            Duration::ZERO,
            since(start, end),
        )?;
    }
    Ok(text)
}

/// The kernel's buckets of an HdrHistogram's values; exact for what this module wrote.
pub fn from_hdr(values: &Hdr<u64>) -> Histogram {
    let mut histogram = Histogram::default();
    for step in values.iter_recorded() {
        let bucket = bucket_of(step.value_iterated_to());
        histogram.add(bucket as usize, step.count_at_value());
    }
    histogram
}
