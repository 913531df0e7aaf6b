//! Recordings come back as they were, and damaged ones say where.

use std::io::Cursor;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;
use crate::model::identity::Identity;
use crate::model::stats::Metric;
use crate::sinks::hlog::HlogWriter;
use crate::sinks::json::JsonLines;
use crate::sinks::output::LineWriter;
use crate::sinks::samples;

type Wanted = fn(&Identity) -> bool;

/// Every event as a JSON line.
fn json_lines() -> Vec<u8> {
    let writer = JsonLines::new("node".into(), samples::clock());
    let mut out = Vec::new();
    for event in samples::all() {
        writer.write(&event, &mut out).unwrap();
    }
    out
}

/// The interval of the samples as a log.
fn log() -> Vec<u8> {
    let base = samples::clock().unix_ns(0);
    let mut writer = HlogWriter::new(LineWriter::new(Vec::new(), "log".into()), base).unwrap();
    writer
        .write(&samples::stats(), base + 2_000_000_000)
        .unwrap();
    writer.finish().unwrap();
    writer.into_output().into_inner()
}

fn read(inputs: &[(&str, &[u8])], keep_going: bool) -> Result<Recordings<Wanted>, ReadError> {
    let mut recordings = Recordings::new(Report::default(), (|_| true) as Wanted, keep_going);
    for (name, input) in inputs {
        recordings.read(name, Cursor::new(input))?;
    }
    Ok(recordings)
}

fn reason(input: &[u8]) -> String {
    read(&[("in", input)], false)
        .map(|_| ())
        .unwrap_err()
        .to_string()
}

#[test]
fn json_lines_give_back_counts_and_sums() {
    let recordings = read(&[("a", &json_lines())], false).unwrap();
    let stats = samples::stats();
    let report = recordings.report().by_name();
    assert_eq!(report.len(), 1);
    assert_eq!(report[0].name, "web");
    let sums = [6_000_000, 1_500_000_000, 900_000_000, 250_000_000];
    for (metric, sum) in Metric::ALL.into_iter().zip(sums) {
        let got = report[0].metric(metric);
        assert_eq!(&got.histogram, metric.of(&stats.histograms), "{metric:?}");
        assert_eq!(
            (got.sum_ns, got.sum_is_estimated),
            (sum, false),
            "{metric:?}"
        );
    }
    let end = samples::clock().unix_ns(1_000_000_007);
    assert_eq!(recordings.report().span(), Some((end - 2_000_000_000, end)));
}

#[test]
fn logs_give_back_counts_and_estimate_sums() {
    let recordings = read(&[("a", &log())], false).unwrap();
    let stats = samples::stats();
    let report = recordings.report().by_name();
    for metric in Metric::ALL {
        let got = report[0].metric(metric);
        assert_eq!(&got.histogram, metric.of(&stats.histograms), "{metric:?}");
    }
    let wait = report[0].metric(Metric::RunQueueWait);
    assert!(wait.sum_is_estimated);
    assert!(wait.sum_ns.abs_diff(6_000_000) <= 6_000_000 / 32);
    let base = samples::clock().unix_ns(0);
    assert_eq!(
        recordings.report().span(),
        Some((base, base + 2_000_000_000))
    );
}

#[test]
fn recordings_of_both_kinds_merge() {
    let recordings = read(
        &[("a", &json_lines()), ("b", &log()), ("c", &json_lines())],
        false,
    )
    .unwrap();
    let report = recordings.report().by_name();
    assert_eq!(report.len(), 1);
    let wait = report[0].metric(Metric::RunQueueWait);
    assert_eq!((wait.histogram.count(), wait.sum_is_estimated), (9, true));
}

#[test]
fn only_wanted_containers_are_taken() {
    let mut recordings = Recordings::new(
        Report::default(),
        |who: &Identity| who.container_name.as_deref() == Some("db"),
        false,
    );
    recordings.read("a", Cursor::new(json_lines())).unwrap();
    recordings.read("b", Cursor::new(log())).unwrap();
    assert!(recordings.report().is_empty());
}

#[test]
fn damaged_lines_are_named() {
    let neither = "in:1: neither a JSON object nor a line of an HdrHistogram log";
    assert_eq!(reason(b"hello\n"), neither);
    assert_eq!(reason(b"\xff\xfe\x00\n"), neither);
    assert_eq!(
        reason(b"\n{\"event\":\n"),
        "in:2: EOF while parsing a value at column 9"
    );
    assert_eq!(
        reason(b"{\"event\":\"x\"}"),
        "in:1: missing field `schema_version` at column 13"
    );
    assert_eq!(
        reason(b"{\"event\":\"x\",\"schema_version\":2}"),
        "in:1: schema_version 2 is of a newer limitscope; this one knows 1"
    );
    assert_eq!(
        reason(b"{\"event\":\"container_stats\",\"schema_version\":1}"),
        "in:1: container_stats without time"
    );
    let lines = String::from_utf8(json_lines()).unwrap();
    assert_eq!(
        reason(lines.replace("[[64,2]]", "[[65,2]]").as_bytes()),
        "in:5: sched.on_cpu.buckets: 65 is the lower edge of no bucket"
    );
    assert_eq!(
        reason(b"Tag=a/frozen_time,0.0,1.0,2.0,AAAA\n"),
        "in:1: the histogram is not in the V2 encoding"
    );
    assert_eq!(
        reason(b"Tag=a/frozen_time,0.0,1.0,2.0,!\n"),
        "in:1: the histogram is no base64: Invalid symbol 33, offset 0."
    );
    assert_eq!(
        reason(b"0.0,1.0,2.0,AAAA\n"),
        "in:1: the interval has no tag"
    );
    assert_eq!(
        reason(b"Tag=a\x1b[2J,0.0,1.0,2.0,AAAA\n"),
        "in:1: the tag does not end in a metric such as /run_queue_wait"
    );
}

#[test]
fn a_histogram_that_announces_more_than_it_has_is_refused() {
    let mut plain = Vec::new();
    plain.extend(0x1c84_9313u32.to_be_bytes());
    plain.extend(u32::MAX.to_be_bytes());
    plain.extend([0, 0, 0, 0, 0, 0, 0, 3]);
    plain.extend(1u64.to_be_bytes());
    plain.extend((1u64 << 40).to_be_bytes());
    plain.extend(1f64.to_be_bytes());
    let encoded = STANDARD.encode(&plain);
    let line = format!("Tag=a/frozen_time,0.0,1.0,2.0,{encoded}\n");
    assert_eq!(reason(line.as_bytes()), "in:1: the histogram is cut off");
}

#[test]
fn keeping_on_uses_the_rest_and_counts() {
    let mut input = b"rubbish\n".to_vec();
    input.extend(json_lines());
    input.extend(b"{\"event\":\"container_stats\"");
    let recordings = read(&[("a", &input)], true).unwrap();
    assert_eq!(recordings.skipped(), 2);
    let lines: Vec<_> = recordings
        .damages()
        .iter()
        .map(|damage| damage.line)
        .collect();
    assert_eq!(lines, [1, 9]);
    assert_eq!(recordings.report().by_name().len(), 1);
}

#[test]
fn a_line_without_end_does_not_fill_the_memory() {
    let mut input = vec![b'{'; MAX_LINE as usize + 5];
    input.push(b'\n');
    input.extend(json_lines());
    let recordings = read(&[("a", &input)], true).unwrap();
    assert_eq!(
        recordings.damages()[0].to_string(),
        "a:1: longer than 16 MiB"
    );
    assert_eq!(recordings.skipped(), 1);
    assert_eq!(recordings.report().by_name().len(), 1);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let recordings = read(&[("a", &bytes)], true).unwrap();
        prop_assert!(recordings.skipped() <= 200);
    }

    #[test]
    fn any_damage_to_a_log_is_survived(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut input = log();
        let at = at.index(input.len());
        input[at] = byte;
        let recordings = read(&[("a", &input)], true).unwrap();
        prop_assert!(recordings.skipped() <= 2);
    }

    #[test]
    fn a_recording_cut_anywhere_keeps_its_whole_lines(cut in any::<prop::sample::Index>()) {
        let whole = json_lines();
        let cut = cut.index(whole.len());
        let recordings = read(&[("a", &whole[..cut])], true).unwrap();
        // Without its line break the last line is still whole.
        let stats_end = whole
            .split_inclusive(|&byte| byte == b'\n')
            .take(5)
            .map(<[u8]>::len)
            .sum::<usize>() - 1;
        prop_assert_eq!(recordings.report().is_empty(), cut < stats_end);
    }
}
