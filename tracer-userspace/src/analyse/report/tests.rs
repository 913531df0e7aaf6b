//! What adds up, and under which name.

use std::sync::Arc;

use super::*;
use crate::model::identity::Identity;
use crate::model::stats::{IntervalHistograms, SchedStats, ThrottleStats};

fn stats(id: &str, name: Option<&str>, wait_ns: u64, frozen_ns: u64) -> ContainerStats {
    let mut run_queue_wait = Histogram::default();
    run_queue_wait.add(100, 2);
    ContainerStats {
        container: Arc::new(Identity {
            container_id: Some(id.into()),
            container_name: name.map(Into::into),
            ..Identity::default()
        }),
        interval_ns: 1_000,
        sched: SchedStats {
            wait_ns,
            ..SchedStats::default()
        },
        throttle: ThrottleStats {
            frozen_ns: Some(frozen_ns),
            ..ThrottleStats::default()
        },
        memory: None,
        histograms: IntervalHistograms {
            run_queue_wait,
            ..IntervalHistograms::default()
        },
        neighbours: Vec::new(),
    }
}

#[test]
fn intervals_add_up_and_late_names_count_from_the_start() {
    let mut report = Report::default();
    report.add(&stats("a", None, 5, 0), 10_000);
    report.add(&stats("a", Some("web"), 6, 0), 11_000);
    let containers = report.by_name();
    assert_eq!(containers.len(), 1);
    assert_eq!(containers[0].name, "web");
    let wait = containers[0].metric(Metric::RunQueueWait);
    assert_eq!((wait.histogram.count(), wait.sum_ns), (4, 11));
    assert!(!wait.sum_is_estimated);
    assert_eq!(report.span(), Some((9_000, 11_000)));
}

#[test]
fn restarts_are_one_and_who_suffers_comes_first() {
    let mut report = Report::default();
    report.add(&stats("a", Some("web"), 5, 0), 1);
    report.add(&stats("b", Some("web"), 6, 0), 1);
    report.add(&stats("c", Some("db"), 500, 0), 1);
    report.add(&stats("d", Some("queue"), 0, 1), 1);
    let names: Vec<_> = report.by_name().into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["queue", "db", "web"]);
    let last = report.by_name().pop().unwrap();
    assert_eq!(last.metric(Metric::RunQueueWait).sum_ns, 11);
}

#[test]
fn sums_without_a_source_are_estimated_and_say_so() {
    let mut report = Report::default();
    let mut histogram = Histogram::default();
    histogram.add(1, 3);
    report.add_histogram("web", Metric::FrozenTime, &histogram);
    let web = report.by_name().pop().unwrap();
    let frozen = web.metric(Metric::FrozenTime);
    // Bucket 1 is 64..=127 ns.
    assert_eq!((frozen.sum_ns, frozen.sum_is_estimated), (3 * 95, true));
    assert_eq!(web.metrics().count(), 1);
}

#[test]
fn beyond_the_bound_containers_share_a_row() {
    let mut report = Report::new(2);
    for id in ["a", "b", "c", "d", "a"] {
        report.add(&stats(id, Some(id), 1, 0), 1);
    }
    let mut rows: Vec<_> = report
        .by_name()
        .into_iter()
        .map(|c| (c.metric(Metric::RunQueueWait).sum_ns, c.name))
        .collect();
    rows.sort();
    let expected = [(1, "b"), (2, OTHERS), (2, "a")];
    assert_eq!(rows, expected.map(|(sum, name)| (sum, name.to_owned())));
}
