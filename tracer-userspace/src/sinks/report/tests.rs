//! What a report looks like, and that its percentiles are those of the raw values.

use std::sync::Arc;

use hdrhistogram::Histogram as Hdr;
use proptest::prelude::*;
use serde_json::Value;
use tracer_common::log_linear::bucket_of;

use super::*;
use crate::model::histogram::Histogram;
use crate::model::identity::Identity;
use crate::model::stats::{Metric, ThrottleStats};
use crate::sinks::samples;

fn report() -> Report {
    let mut report = Report::default();
    let end = samples::clock().unix_ns(2_000_000_000);
    report.add(&samples::stats(), end);
    let mut quiet = samples::stats();
    quiet.container = Arc::new(Identity {
        container_name: Some("evil\x1b[2J".into()),
        ..samples::web()
    });
    let mut identity = Identity::clone(&quiet.container);
    identity.container_id = Some("77".into());
    quiet.container = Arc::new(identity);
    quiet.throttle = ThrottleStats::default();
    quiet.histograms.throttled_interval = Histogram::default();
    report.add(&quiet, end);
    report
}

#[test]
fn the_table_is_for_people() {
    let mut report = report();
    let table = String::from_utf8(render(&report, Format::Table).unwrap()).unwrap();
    let expected = r" container    metric              count      p50      p90      p99    p99.9      max     sum
─────────────────────────────────────────────────────────────────────────────────────────────
 web          run_queue_wait          3  2.00 ms  2.95 ms  2.95 ms  2.95 ms  3.01 ms    6 ms
              on_cpu_slice            2    95 ns    95 ns    95 ns    95 ns   127 ns  1.50 s
              throttled_interval      2   445 ms   445 ms   445 ms   445 ms   453 ms  900 ms
              frozen_time             0        -        -        -        -        -  250 ms
 evil\x1b[2J  run_queue_wait          3  2.00 ms  2.95 ms  2.95 ms  2.95 ms  3.01 ms    6 ms
              on_cpu_slice            2    95 ns    95 ns    95 ns    95 ns   127 ns  1.50 s
Percentiles are middles of buckets: at most 3.1 % or 32 ns off. The maximum is the upper edge of its bucket: at
most 6.25 % or 64 ns too high. Sums are exact.
";
    assert_eq!(table, expected);
    report.add_histogram("old", Metric::FrozenTime, &samples::histogram(&[2_000_000]));
    let table = String::from_utf8(render(&report, Format::Table).unwrap()).unwrap();
    assert!(table.contains("~2.00 ms"), "{table}");
    assert!(
        table.ends_with("the recording has no exact ones.\n"),
        "{table}"
    );
}

#[test]
fn json_holds_everything() {
    let rendered = render(&report(), Format::Json).unwrap();
    let value: Value = serde_json::from_slice(&rendered).unwrap();
    assert_eq!(value["start"], "2026-01-02T03:04:05.000000000Z");
    assert_eq!(value["end"], "2026-01-02T03:04:07.000000000Z");
    let web = &value["containers"][0];
    let expected = serde_json::json!({
        "count": 2, "p50_ns": 444_596_223, "p90_ns": 444_596_223, "p99_ns": 444_596_223,
        "p99_9_ns": 444_596_223, "max_ns": 452_984_831, "sum_ns": 900_000_000,
        "sum_is_estimated": false, "buckets": [[436_207_616, 2]],
    });
    assert_eq!(web["throttled_interval"], expected);
    assert_eq!(web["frozen_time"]["sum_ns"], 250_000_000);
    assert_eq!(value["containers"][1]["container"], "evil\x1b[2J");
    assert!(!rendered.contains(&0x1b));
}

#[test]
fn forms_go_by_the_file_name() {
    let forms = ["a.json", "a.hlog", "a.txt", "a"].map(|name| Format::of_path(Path::new(name)));
    assert_eq!(
        forms,
        [Format::Json, Format::Hlog, Format::Table, Format::Table]
    );
}

#[test]
fn a_report_replaces_the_old_one_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.txt");
    std::fs::write(&path, "old").unwrap();
    let file = ReportFile::prepare(&path).unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
    file.write(b"new").unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    drop(ReportFile::prepare(&folder.path().join("unused")).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn a_report_keeps_the_old_ones_mode() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.txt");
    std::fs::write(&path, "old").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
    ReportFile::prepare(&path).unwrap().write(b"new").unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o640);
}

#[test]
fn a_report_can_go_to_a_device() {
    ReportFile::prepare(Path::new("/dev/null"))
        .unwrap()
        .write(b"x")
        .unwrap();
    let error = ReportFile::prepare(Path::new("/dev/full"))
        .unwrap()
        .write(b"x")
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot write /dev/full: No space left on device (os error 28)"
    );
}

#[test]
fn a_folder_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing/report.txt");
    let error = ReportFile::prepare(&path).unwrap_err().to_string();
    assert!(
        error.starts_with(&format!("cannot write {}: No such file", path.display())),
        "{error}"
    );
}

proptest! {
    // Each case makes and searches a histogram of megabytes.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// The referee is the hdrhistogram crate, fed the raw values at a precision far above ours.
    #[test]
    fn percentiles_are_those_of_the_raw_values(
        values in prop::collection::vec(prop_oneof![0..2_000u64, 0..1_000_000u64, 0..1u64 << 38], 1..300)
    ) {
        let mut exact = Hdr::<u64>::new_with_bounds(1, 1 << 38, 4).unwrap();
        let mut ours = Histogram::default();
        for &value in &values {
            exact.record(value).unwrap();
            ours.add(bucket_of(value) as usize, 1);
        }
        for (name, _, share) in PERCENTILES {
            let referee = exact.value_at_quantile(share) as f64;
            let got = ours.quantile(share).unwrap() as f64;
            // Half a bucket, and the referee's own 1/20,000.
            let allowed = (referee / 32.0).max(32.0) + referee / 20_000.0 + 1.0;
            prop_assert!((got - referee).abs() <= allowed, "{}: {} for {}", name, got, referee);
        }
        let (max, referee) = (ours.max().unwrap(), exact.max());
        prop_assert!(max as f64 >= referee as f64 * (1.0 - 1.0 / 20_000.0));
        prop_assert!(max as f64 <= referee as f64 * (1.0 + 1.0 / 16.0) + 64.0);
    }
}
