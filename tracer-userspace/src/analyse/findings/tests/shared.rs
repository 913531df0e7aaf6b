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

/// Two use up what is above both.
#[test]
fn a_limit_that_is_used_up_together_is_too_low() {
    let mut half = below(0.5);
    assert_eq!(half.kinds(), [], "half of it is free, as far as is known");
    half.limit_cpus_used = Some(0.98);
    let found = half.found();
    assert_eq!(half.kinds(), [FindingKind::CpuLimitTooLow]);
    let said = &found[0].summary;
    let expected = "98 % of the limit of 1 CPU of /pod are used, 50 % by this container; ";
    assert!(said.starts_with(expected), "{said}");
    let mut victim = below(0.1);
    victim.limit_cpus_used = Some(0.98);
    assert_eq!(victim.kinds(), [], "others use it up");
}

#[test]
fn a_small_limit_is_rounded_to_small_steps() {
    let tiny = Case::cpu(0.0098, 0.01, 10, 0.9).found();
    assert_eq!(tiny[0].kind, FindingKind::CpuLimitTooLow);
    let advice = &tiny[0].recommendation;
    assert!(advice.starts_with("raise the CPU limit to 40m"), "{advice}");
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
