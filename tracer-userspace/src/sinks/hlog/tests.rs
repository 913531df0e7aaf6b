//! Tags and histograms survive the way into a log and back.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use proptest::prelude::*;
use tracer_common::log_linear::BUCKETS;

use super::*;
use crate::sinks::samples;

fn metric() -> impl Strategy<Value = Metric> {
    prop::sample::select(&Metric::ALL[..])
}

proptest! {
    #[test]
    fn any_name_makes_a_valid_tag_and_comes_back(name in any::<String>(), metric in metric()) {
        let tag = encode_tag(&name, metric);
        prop_assert!(Tag::new(&tag).is_some());
        prop_assert!(tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',' && byte != b'|'));
        prop_assert_eq!(decode_tag(&tag), Ok((name, metric)));
    }

    #[test]
    fn names_and_metrics_never_share_a_tag(
        a in "[a/% ,|\u{e4}]{0,4}", b in "[a/% ,|\u{e4}]{0,4}", m in metric(), n in metric()
    ) {
        let same = a == b && m == n;
        prop_assert_eq!(encode_tag(&a, m) == encode_tag(&b, n), same);
    }

    #[test]
    fn counts_come_back_in_the_same_buckets(
        counts in prop::collection::btree_map(0..BUCKETS, 1..1u64 << 40, 0..40)
    ) {
        let mut histogram = Histogram::default();
        for (&bucket, &count) in &counts {
            histogram.add(bucket, count);
        }
        let log = whole_log(
            (0, 1_000_000_000),
            [("web", Metric::OnCpuSlice, &histogram)].into_iter(),
        ).unwrap();
        let decoded = decode(&log);
        prop_assert_eq!(decoded.len(), 1);
        prop_assert_eq!(&decoded[0].1, &histogram);
    }
}

#[test]
fn foreign_tags_are_told_apart() {
    assert_eq!(decode_tag("web"), Err(TagError::Metric));
    assert_eq!(decode_tag("web/latency"), Err(TagError::Metric));
    assert_eq!(decode_tag("%ff/frozen_time"), Err(TagError::Name));
}

/// Tags and histograms of a log, in its order, as the hdrhistogram crate reads them.
fn decode(log: &[u8]) -> Vec<(String, Histogram)> {
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(log) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = STANDARD.decode(interval.encoded_histogram()).unwrap();
            let values = Deserializer::new()
                .deserialize::<u64, _>(&mut bytes.as_slice())
                .unwrap();
            let tag = interval.tag().unwrap().as_str().to_owned();
            found.push((tag, from_hdr(&values)));
        }
    }
    found
}

#[test]
fn a_run_writes_a_line_per_tag_and_interval() {
    let base = samples::clock().unix_ns(0);
    let output = LineWriter::new(Vec::new(), "log".into());
    let mut writer = HlogWriter::new(output, base).unwrap();
    let stats = samples::stats();
    for interval in 1..=2 {
        writer
            .write(&stats, base + interval * 2_000_000_000)
            .unwrap();
    }
    writer.finish().unwrap();
    let log = writer.into_output().into_inner();
    let text = str::from_utf8(&log).unwrap();
    let (head, lines) = text.split_at(text.find("Tag=").unwrap());
    assert_eq!(
        head,
        "#[Histogram log format version 1.3]\n\
         # limitscope: values in nanoseconds, tags CONTAINER/METRIC, percent-encoded\n\
         #[StartTime: 1767323045.000 (seconds since epoch)]\n\
         #[BaseTime: 1767323045.000 (seconds since epoch)]\n"
    );
    let starts: Vec<_> = lines
        .lines()
        .map(|line| line.split(',').take(3).collect::<Vec<_>>().join(","))
        .collect();
    assert_eq!(
        starts,
        [
            "Tag=web/run_queue_wait,0.000,2.000",
            "Tag=web/on_cpu_slice,0.000,2.000",
            "Tag=web/throttled_interval,0.000,2.000",
            "Tag=web/run_queue_wait,2.000,2.000",
            "Tag=web/on_cpu_slice,2.000,2.000",
            "Tag=web/throttled_interval,2.000,2.000",
        ]
    );
    let decoded = decode(&log);
    assert_eq!(decoded[0].1, stats.histograms.run_queue_wait);
    assert_eq!(decoded[5].1, stats.histograms.throttled_interval);
}
