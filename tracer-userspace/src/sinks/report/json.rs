//! The report as one JSON object.

use jiff::Timestamp;
use serde::ser::{SerializeMap as _, SerializeSeq as _};
use serde::{Serialize, Serializer};
use tracer_common::log_linear::{RELATIVE_WIDTH, UNIT_SHIFT};

use super::PERCENTILES;
use crate::analyse::report::{ContainerReport, MetricReport, Report};
use crate::sinks::json::{Buckets, Escaping, SCHEMA_VERSION, Time};
use crate::sinks::text::Bounded;

/// The object and a line break.
pub fn render(report: &Report) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, Escaping);
    Whole(report).serialize(&mut serializer)?;
    out.push(b'\n');
    Ok(out)
}

struct Whole<'a>(&'a Report);

impl Serialize for Whole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("report", "histograms")?;
        map.serialize_entry("schema_version", &SCHEMA_VERSION)?;
        if let Some((start, end)) = self.0.span() {
            for (key, unix_ns) in [("start", start), ("end", end)] {
                if let Ok(time) = Timestamp::from_nanosecond(i128::from(unix_ns)) {
                    map.serialize_entry(key, &Time(time))?;
                }
            }
        }
        // A bucket is never wider than this share of its lower edge or this many nanoseconds.
        map.serialize_entry("bucket_width_ratio", &RELATIVE_WIDTH)?;
        map.serialize_entry("bucket_width_ns", &(1u64 << UNIT_SHIFT))?;
        map.serialize_entry("containers", &Containers(&self.0.by_name()))?;
        map.end()
    }
}

struct Containers<'a>(&'a [ContainerReport]);

impl Serialize for Containers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut seq = serializer.serialize_seq(Some(self.0.len()))?;
        for container in self.0 {
            seq.serialize_element(&Container(container))?;
        }
        seq.end()
    }
}

struct Container<'a>(&'a ContainerReport);

impl Serialize for Container<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("container", &Bounded(&self.0.name))?;
        for (kind, metric) in self.0.metrics() {
            map.serialize_entry(kind.name(), &OneMetric(metric))?;
        }
        map.end()
    }
}

struct OneMetric<'a>(&'a MetricReport);

impl Serialize for OneMetric<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let histogram = &self.0.histogram;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("count", &histogram.count())?;
        for (_, key, share) in PERCENTILES {
            if let Some(value) = histogram.quantile(share) {
                map.serialize_entry(key, &value)?;
            }
        }
        if let Some(max) = histogram.max() {
            map.serialize_entry("max_ns", &max)?;
        }
        map.serialize_entry("sum_ns", &self.0.sum_ns)?;
        map.serialize_entry("sum_is_estimated", &self.0.sum_is_estimated)?;
        map.serialize_entry("buckets", &Buckets(histogram))?;
        map.end()
    }
}
