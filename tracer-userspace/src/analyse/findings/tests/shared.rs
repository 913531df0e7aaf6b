//! Limits that are those of a cgroup above, which others can use up.

use super::*;

/// Frozen for a third of the time by a limit above it, of which it used so much.
fn below(cpus_used: f64) -> Case {
    let mut case = Case::cpu(cpus_used, 1.0, 0, 0.35);
    case.stats.throttle.periods = 0;
    if let Some(limit) = &mut case.limit {
        limit.own = false;
        limit.own_cpus = None;
        limit.cgroup = "/pod".into();
    }
    case
}

#[test]
fn who_is_held_up_by_others_is_told_nothing_of_its_own() {
    let small = below(0.08);
    assert_eq!(small.kinds(), [], "its bursts are none");
    let idle = below(0.08).go(16, Basis::RuntimeVariable, None);
    assert_eq!(idle.kinds(), [], "its wide pool is idle");
    let burns = below(0.9).go(16, Basis::RuntimeVariable, None);
    let found = burns.found();
    assert_eq!(burns.kinds(), [FindingKind::CpuOversubscription]);
    let advice = &found[0].recommendation;
    assert!(
        advice.ends_with("neither Go nor automaxprocs sees one above it"),
        "{advice}"
    );
    assert!(
        found[0]
            .summary
            .ends_with("; it stood still for 35 % of the time"),
        "there were no periods of its own: {}",
        found[0].summary
    );
}

#[test]
fn a_spike_is_none_where_others_count_too() {
    let calm = Case::memory(128, 0, [77; 20]);
    assert_eq!(verdict(&calm, 21).verdict, oom::Verdict::Spike);
    let shared = verdict_beside(&calm, 21, Some("what else is in /pod"));
    assert_eq!(shared.verdict, oom::Verdict::Unknown);
    assert!(shared.explanation.contains("/pod"), "{shared:?}");
    let leak = Case::memory(100, 5, (0..90).map(|s| 10 + s));
    let own = verdict_beside(&leak, 91, Some("swap"));
    assert_eq!(own.verdict, oom::Verdict::Leak, "it leads to the limit");
}

#[test]
fn an_estimate_is_no_more_than_there_are_threads() {
    let mut case = Case::cpu(0.98, 1.0, 10, 0.4).go(16, Basis::Environment, None);
    case.process().threads = 1;
    assert_eq!(case.kinds(), [FindingKind::CpuLimitTooLow]);
}
