//! Rules about memory.

use super::*;

#[test]
fn a_leak_has_a_projected_time() {
    // 1 MiB a second under 256 MiB.
    let found = Case::memory(256, 0, (0..50).map(|s| 20 + s)).found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].kind, FindingKind::MemoryLeakSuspected);
    let Some((_, Evidence::Number(seconds))) = found[0]
        .evidence
        .iter()
        .find(|(name, _)| *name == "seconds_to_limit")
    else {
        panic!("{found:?}")
    };
    assert!((seconds - 187.0).abs() < 1.0, "{seconds}");
    assert_eq!(found[0].severity, Severity::Critical);
}

#[test]
fn what_is_no_leak_is_not_called_one() {
    let saw_tooth = Case::memory(256, 0, (0..60).map(|s| 60 + 10 * (s % 8)));
    assert!(
        !saw_tooth
            .kinds()
            .contains(&FindingKind::MemoryLeakSuspected)
    );
    let calm = Case::memory(256, 30, [100; 60]);
    assert_eq!(calm.kinds(), []);
    let cache = Case::memory(256, 180, [30; 60]);
    assert_eq!(cache.kinds(), [FindingKind::PageCacheNotALeak]);
}

#[test]
fn a_spike_and_a_full_container() {
    let spike = Case::memory(256, 0, [40, 40, 40, 130]).found();
    assert_eq!(spike.len(), 1);
    assert_eq!(spike[0].kind, FindingKind::MemorySpike);
    assert_eq!(count(&spike[0], "rise_bytes"), 90 * MIB);
    let steady = Case::memory(115, 0, (0..44).map(|s| 2 * s));
    assert_eq!(steady.kinds(), [FindingKind::MemoryLeakSuspected]);
    assert!(spike[0].recommendation.ends_with("leaves 36 MiB"));
    // As steady, and too short to be called a leak: until less is left than as much again.
    let rising = |seconds| Case::memory(105, 0, (0..seconds).map(|s| 2 * s)).kinds();
    for seconds in 5..=38 {
        assert_eq!(rising(seconds), [], "{seconds}");
    }
    assert_eq!(rising(39), [FindingKind::MemorySpike]);
    assert_eq!(rising(42), [FindingKind::MemoryLeakSuspected]);
    let close = Case::memory(180, 0, [40, 40, 40, 130]).found();
    assert!(
        close[0]
            .recommendation
            .ends_with("needs a limit of 220 MiB")
    );
    let teeth = Case::memory(256, 0, [40, 130, 40, 40, 130]);
    assert_eq!(teeth.kinds(), [], "it was there before");
    let full = Case::memory(256, 0, [245; 30]).found();
    assert_eq!(full[0].kind, FindingKind::MemoryNearLimit);
    assert_eq!(full[0].severity, Severity::Critical);
}

#[test]
fn go_should_know_the_memory_limit() {
    let case = |held, limit| Case::memory(256, 0, [held; 5]).go(2, Basis::RuntimeVariable, limit);
    assert_eq!(
        case(150, None).kinds(),
        [FindingKind::GomemlimitMissingOrAboveLimit]
    );
    assert_eq!(case(50, None).kinds(), [], "far below");
    assert_eq!(case(150, Some(230 * MIB)).kinds(), []);
    let mut sidecar = case(150, None);
    sidecar.process().memory_held_bytes = Some(20 * MIB);
    assert_eq!(sidecar.kinds(), [], "another process fills it");
    sidecar.process().memory_held_bytes = Some(100 * MIB);
    assert_eq!(sidecar.kinds().len(), 1);
    let above = case(50, Some(300 * MIB)).found();
    assert_eq!(above[0].kind, FindingKind::GomemlimitMissingOrAboveLimit);
    assert!(above[0].recommendation.starts_with("set GOMEMLIMIT=230MiB"));
}

#[test]
fn a_kill_is_a_leak_or_a_spike() {
    let leak = verdict(&Case::memory(100, 5, (0..90).map(|s| 10 + s)), 91);
    assert_eq!(leak.verdict, oom::Verdict::Leak, "{leak:?}");
    assert_eq!(leak.part, Some(MemoryPart::Anon));
    assert!((leak.bytes_per_second.unwrap() - MIB as f64).abs() < 1.0);
    assert_eq!(leak.samples.last(), Some(&(SECOND, 99 * MIB)));
    let spike = verdict(&Case::memory(100, 5, [20; 60]), 62);
    assert_eq!(spike.verdict, oom::Verdict::Spike, "{spike:?}");
    assert_eq!(spike.grown_bytes, Some(80 * MIB));
    let slow_then_fast = verdict(&Case::memory(100, 0, (0..60).map(|s| 10 + s / 4)), 62);
    assert_eq!(
        slow_then_fast.verdict,
        oom::Verdict::Spike,
        "the slope does not lead to the limit"
    );
    assert_eq!(
        verdict(&Case::memory(100, 0, [97; 30]), 31).verdict,
        oom::Verdict::Unknown
    );
    assert_eq!(
        verdict(&Case::memory(100, 0, []), 31).verdict,
        oom::Verdict::Unknown
    );
}
