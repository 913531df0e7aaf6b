//! Lives in a row: which are a loop, and when it is over.

use std::sync::Arc;

use super::super::restart_loop::{Restarts, subject};
use super::*;
use crate::model::{
    event::Lifecycle,
    exit::{Exit, ExitReport, OomKilled},
    finding::FindingEvent,
};

fn docker() -> Identity {
    Identity {
        container_id: Some("4f2a".to_owned()),
        container_name: Some("web".to_owned()),
        runtime_name: Some("docker"),
        ..Identity::default()
    }
}

fn kubernetes(id: &str) -> Identity {
    Identity {
        container_id: Some(id.to_owned()),
        runtime_name: Some("containerd"),
        k8s_pod_uid: Some("u-1".to_owned()),
        k8s_pod_name: Some("web-0".to_owned()),
        k8s_namespace: Some("shop".to_owned()),
        k8s_container_name: Some("app".to_owned()),
        ..Identity::default()
    }
}

/// The end of a life of a second.
fn life(who: Identity, code: i32, count: Option<u32>) -> Lifecycle {
    let report = ExitReport {
        code: Some(code),
        says_oom: false,
        restart_count: count,
        killed_by: None,
    };
    let oom = (code == 137).then_some(OomKilled { seq: Some(9) });
    Lifecycle {
        container: Arc::new(who),
        lifetime_ns: Some(SECOND),
        restart_count: count,
        exit: Exit::judge(&report, oom, None),
    }
}

/// Ends at each tenth second, with these counts; the phases told, with the number of the end.
fn ends(who: impl Fn(usize) -> Identity, counts: &[Option<u32>]) -> Vec<(usize, FindingEvent)> {
    let mut restarts = Restarts::default();
    let mut told = Vec::new();
    for (number, count) in counts.iter().enumerate() {
        let at = (number as u64 + 1) * 10 * SECOND;
        let life = life(who(number), 3, *count);
        for event in restarts.ended(&life, at, &Thresholds::default()) {
            told.push((number + 1, event));
        }
    }
    told
}

#[test]
fn docker_tells_the_restart_with_the_end() {
    let told = ends(|_| docker(), &[1, 2, 3, 4].map(Some));
    assert_eq!(told.len(), 1, "{told:?}");
    let (number, event) = &told[0];
    assert_eq!((*number, event.phase), (3, FindingPhase::Start));
    let finding = &event.finding;
    assert_eq!(finding.kind, FindingKind::RestartLoop);
    assert_eq!(finding.confidence, Confidence::High);
    assert_eq!(finding.severity, Severity::Critical);
    assert_eq!(count(finding, "restarts"), 3);
    assert_eq!(
        finding.summary,
        "it was restarted 3 times within 21 s and never ran for 10 min; its last end: error \
         (exit code 3)"
    );
    assert_eq!(
        finding.recommendation,
        "read what it said last: docker logs --tail 50 web"
    );
    let Some((_, Evidence::List(last))) = finding.evidence.last() else {
        panic!("{:?}", finding.evidence)
    };
    assert_eq!(last.len(), 3);
    assert!(last[0].contains(&("cause", Evidence::Text("error".to_owned()))));
}

#[test]
fn kubernetes_counts_by_pod_and_name() {
    let told = ends(|n| kubernetes(&format!("id{n}")), &[0, 1, 2, 3].map(Some));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].0, 4, "three restarts lie between four ends");
    assert_eq!(
        told[0].1.finding.recommendation,
        "read what it said last: kubectl logs --previous -n shop web-0 -c app"
    );
    assert_eq!(subject(&kubernetes("a")), subject(&kubernetes("b")));
    assert_ne!(subject(&docker()), subject(&kubernetes("4f2a")));
    // Without a runtime that tells anything, the ends alone count.
    assert_eq!(ends(|_| docker(), &[None; 4])[0].0, 4);
}

#[test]
fn a_count_that_was_not_told_in_time_is_made_up_for() {
    // Given up after the second restart: the last end is followed by none.
    assert!(ends(|_| docker(), &[Some(1), None, Some(2)]).is_empty());
    assert!(ends(|_| docker(), &[None, None, Some(2)]).is_empty());
    // Restarted after it too.
    assert_eq!(ends(|_| docker(), &[Some(1), None, Some(3)])[0].0, 3);
    assert_eq!(ends(|_| docker(), &[None, None, Some(3)])[0].0, 3);
    // By hand each time.
    assert!(ends(|_| docker(), &[Some(0), None, Some(0), None, Some(0)]).is_empty());
}

#[test]
fn what_somebody_starts_by_hand_is_no_loop() {
    assert!(ends(|_| docker(), &[Some(0); 8]).is_empty());
    // A restart by hand in between: it begins anew.
    let told = ends(|_| docker(), &[1, 2, 2, 0, 1, 2, 3].map(Some));
    assert_eq!(told.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [7]);
    // A count that came late, with the next restart in it.
    let told = ends(|_| docker(), &[2, 2, 3, 4].map(Some));
    assert_eq!(told.len(), 1, "{told:?}");
    // The policy has given up before it was a loop.
    assert!(ends(|_| docker(), &[1, 2, 2].map(Some)).is_empty());
}

#[test]
fn it_is_over_when_it_stays_up_or_away() {
    let thresholds = Thresholds::default();
    let stable = thresholds.restart_stable_ns();
    let looping = || {
        let mut restarts = Restarts::default();
        for at in 1..=3 {
            let life = life(docker(), 137, Some(at));
            restarts.ended(&life, u64::from(at) * 10 * SECOND, &thresholds);
        }
        restarts
    };
    let mut up = looping();
    // The longest back-off of Kubernetes is five minutes: being away for so long is no end.
    up.started(330 * SECOND);
    assert!(!up.is_over(329 * SECOND + stable, &thresholds));
    assert!(up.is_over(330 * SECOND + stable, &thresholds));
    let ended = up.over(930 * SECOND).unwrap();
    assert_eq!(
        (ended.phase, ended.lasted_ns),
        (FindingPhase::End, Some(900 * SECOND))
    );
    let text = &ended.finding.recommendation;
    assert!(text.starts_with("see its oom_kill line (seq 9)"), "{text}");
    assert!(up.over(931 * SECOND).is_none());
    assert!(looping().is_over(30 * SECOND + stable, &thresholds));
    // A long life is told as one also where nobody looked in between.
    let mut late = looping();
    let mut long = life(docker(), 0, Some(4));
    long.lifetime_ns = Some(stable);
    let told = late.ended(&long, 2000 * SECOND, &thresholds);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].phase, FindingPhase::End);
    // One whose start was not seen may have run for months.
    long.lifetime_ns = None;
    assert!(Restarts::default().ended(&long, 1, &thresholds).is_empty());
}
