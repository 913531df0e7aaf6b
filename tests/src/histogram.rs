//! HdrHistogram logs, read by the `hdrhistogram` crate.

use std::{fs, io::Cursor, path::Path};

use anyhow::{Context, Result, ensure};
use base64::Engine;
use hdrhistogram::{
    Histogram,
    serialization::{
        Deserializer,
        interval_log::{IntervalLogIterator, LogEntry},
    },
};

/// All intervals of a log whose tag names this cgroup and this metric, merged.
pub fn merged(log: &Path, cgroup: &str, metric: &str) -> Result<Histogram<u64>> {
    let mut sum = Histogram::new(3)?;
    let bytes = fs::read(log)?;
    for entry in IntervalLogIterator::new(&bytes) {
        let entry = entry.map_err(|e| anyhow::anyhow!("{} is no log: {e:?}", log.display()))?;
        let LogEntry::Interval(interval) = entry else {
            continue;
        };
        let tag = interval.tag().context("an interval without a tag")?;
        let tag: &str = &tag;
        ensure!(!tag.contains([',', ' ', '\n']), "{tag:?}");
        if !(tag.contains(cgroup) && tag.contains(metric)) {
            continue;
        }
        let base64 = base64::engine::general_purpose::STANDARD;
        let raw = base64.decode(interval.encoded_histogram())?;
        let histogram: Histogram<u64> = Deserializer::new()
            .deserialize(&mut Cursor::new(raw))
            .map_err(|e| anyhow::anyhow!("{tag}: {e:?}"))?;
        sum.add(histogram)?;
    }
    Ok(sum)
}
