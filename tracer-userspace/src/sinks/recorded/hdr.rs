//! A line of an HdrHistogram log.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogHistogram, IntervalLogIterator, LogEntry,
};

use crate::model::histogram::Histogram;
use crate::model::stats::Metric;
use crate::sinks::hlog::{decode_tag, from_hdr};

/// First four bytes of an encoded histogram, plain and compressed (`HdrHistogram`, V2 encoding).
const V2: [u8; 4] = 0x1c84_9313u32.to_be_bytes();
const V2_COMPRESSED: [u8; 4] = 0x1c84_9314u32.to_be_bytes();
/// Bytes in front of a plain histogram's counts.
const HEADER: usize = 40;
/// Bytes that a histogram may have when inflated: more than the largest real one.
const MAX_INFLATED: u64 = 64 << 20;
/// Highest value that a histogram may track; above, the library's arithmetic has no room.
const MAX_VALUE: u64 = 1 << 62;

/// What the lines so far said of those that follow.
#[derive(Default)]
pub struct Log {
    base_ns: Option<i64>,
    start_ns: Option<i64>,
}

/// One interval of one tag.
pub struct Interval {
    /// The container.
    pub name: String,
    /// What was measured.
    pub metric: Metric,
    /// Start and end in nanoseconds since the Unix epoch.
    pub span: (i64, i64),
    /// The values.
    pub histogram: Histogram,
}

impl Log {
    /// The line's interval; nothing for comments. The error says what is wrong with the line.
    pub fn parse(&mut self, line: &[u8]) -> Result<Option<Interval>, String> {
        // The reader takes whole logs, so that a line has to end.
        let line = [line, b"\n"].concat();
        match IntervalLogIterator::new(&line).next() {
            None => Ok(None),
            Some(Ok(LogEntry::BaseTime(time))) => {
                self.base_ns = Some(nanos(time));
                Ok(None)
            }
            Some(Ok(LogEntry::StartTime(time))) => {
                self.start_ns = Some(nanos(time));
                Ok(None)
            }
            Some(Ok(LogEntry::Interval(entry))) => self.interval(&entry).map(Some),
            Some(Err(_)) => {
                Err("neither a JSON object nor a line of an HdrHistogram log".to_owned())
            }
        }
    }

    fn interval(&self, entry: &IntervalLogHistogram<'_>) -> Result<Interval, String> {
        let tag = entry.tag().ok_or("the interval has no tag")?;
        let (name, metric) = decode_tag(tag.as_str()).map_err(|error| error.to_string())?;
        let at = nanos(entry.start_timestamp());
        let start = self.base(at).saturating_add(at);
        Ok(Interval {
            name,
            metric,
            span: (start, start.saturating_add(nanos(entry.duration()))),
            histogram: histogram(entry.encoded_histogram())?,
        })
    }

    /// What a time counts from, as Java's `HistogramLogReader` reads it: without BaseTime, from
    /// StartTime if the time is more than a year before that, else from the epoch.
    fn base(&self, at: i64) -> i64 {
        const YEAR_NS: i64 = 365 * 24 * 3600 * 1_000_000_000;
        let start = self
            .start_ns
            .filter(|start| at < start.saturating_sub(YEAR_NS));
        self.base_ns.or(start).unwrap_or(0)
    }
}

fn nanos(time: std::time::Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

fn histogram(encoded: &str) -> Result<Histogram, String> {
    let bytes = STANDARD
        .decode(encoded)
        .map_err(|error| format!("the histogram is no base64: {error}"))?;
    let plain = inflate(&bytes)?;
    check(&plain)?;
    let values = Deserializer::new()
        .deserialize::<u64, _>(&mut plain.as_slice())
        .map_err(|error| format!("the histogram cannot be decoded: {error}"))?;
    Ok(from_hdr(&values))
}

/// The plain histogram; bounded, because a short line can inflate to any size.
fn inflate(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.starts_with(&V2) {
        return Ok(bytes.to_vec());
    }
    let compressed = bytes
        .strip_prefix(&V2_COMPRESSED)
        .and_then(|rest| rest.get(4..))
        .ok_or("the histogram is not in the V2 encoding")?;
    let mut plain = Vec::new();
    ZlibDecoder::new(compressed)
        .take(MAX_INFLATED + 1)
        .read_to_end(&mut plain)
        .map_err(|error| format!("the histogram cannot be inflated: {error}"))?;
    if plain.len() as u64 > MAX_INFLATED {
        return Err("the histogram is larger than any real one".to_owned());
    }
    Ok(plain)
}

/// Refuses what the library would trust: it makes room for as many bytes and values as the header
/// announces before it reads them.
fn check(plain: &[u8]) -> Result<(), String> {
    let word = |at: usize| {
        let bytes = plain.get(at..at + 8)?;
        bytes.try_into().ok().map(u64::from_be_bytes)
    };
    // Cookie, length of the counts, normalizing offset, digits (4 bytes each), lowest and highest
    // value, conversion ratio (8 each).
    let (Some(cookie_length), Some(low), Some(high)) = (word(0), word(16), word(24)) else {
        return Err("the histogram is cut off".to_owned());
    };
    let length = (cookie_length & u64::from(u32::MAX)) as usize;
    let counts = plain.get(HEADER..).unwrap_or_default();
    if counts.len() < length {
        return Err("the histogram is cut off".to_owned());
    }
    // As a count this is the one number that cannot be negated.
    let impossible = counts.windows(9).any(|bytes| bytes == [0xff; 9]);
    if impossible || high > MAX_VALUE || low > MAX_VALUE / 2 {
        return Err("the histogram is larger than any real one".to_owned());
    }
    Ok(())
}
