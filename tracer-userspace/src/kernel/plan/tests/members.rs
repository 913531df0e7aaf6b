//! Kernels that have every type but not one member: what needs it is absent, with the reason, and
//! everything else works as before.

use tracer_common::globals::OffsetSpec;

use super::*;

/// A member's own name.
fn last(path: &str) -> &str {
    path.rsplit('.').next().unwrap_or(path)
}

/// Whether a spec depends on something called `name`.
fn depends(spec: &OffsetSpec, name: &str) -> bool {
    spec.structure == name
        || spec
            .members
            .iter()
            .any(|path| path.split('.').any(|it| it == name))
}

/// The spec of a global, and the plan for a kernel without its member.
fn without(symbol: &str) -> (&'static OffsetSpec, Plan) {
    let spec = OFFSETS.iter().find(|spec| spec.symbol == symbol).unwrap();
    let there = kernel_without(&[]);
    let btf = Btf::parse(&there).unwrap();
    let names: Vec<_> = spec
        .members
        .iter()
        .filter(|path| {
            optional(btf.member(spec.structure, path))
                .unwrap()
                .is_some()
        })
        .map(|path| last(path))
        .collect();
    (spec, plan(&names, Some(false)))
}

#[test]
fn a_member_that_is_wished_for_takes_away_its_field_alone() {
    let whole = plan(&[], Some(false));
    for (symbol, field) in [
        ("MM_PGTABLES_BYTES", "size of page tables"),
        ("TASK_REAL_PARENT", "parent"),
        ("TASK_START_BOOTTIME", "age"),
        ("MEMCG_EVENTS_LOCAL", "usage alone"),
    ] {
        let (_, plan) = without(symbol);
        assert_eq!(plan.global(symbol), ABSENT, "{symbol}");
        let before = &whole.choice(Signal::OomKill).notes;
        let notes = &plan.choice(Signal::OomKill).notes;
        let new: Vec<_> = notes.iter().filter(|note| !before.contains(note)).collect();
        assert_eq!(new.len(), 1, "{symbol}: {new:?}");
        assert!(new[0].contains(field), "{symbol}: {new:?}");
        for signal in Signal::ALL {
            assert_eq!(plan.source(signal), whole.source(signal), "{symbol}");
            let programs = &plan.choice(signal).programs;
            assert_eq!(programs, &whole.choice(signal).programs, "{symbol}");
        }
    }
}

#[test]
fn a_member_that_is_needed_takes_away_its_signals_alone() {
    let whole = plan(&[], Some(false));
    for symbol in [
        "TASK_LAST_QUEUED",
        "TASK_NVCSW",
        "SIGNAL_OOM_SCORE_ADJ",
        "MM_TOTAL_VM",
        "CGROUP_ROOT_HIERARCHY",
        "CSS_SET_DFL_CGROUP",
    ] {
        let (spec, plan) = without(symbol);
        assert_eq!(plan.global(symbol), ABSENT, "{symbol}");
        for signal in Signal::ALL {
            let choice = plan.choice(signal);
            if spec.needed_by.contains(&signal) {
                assert_eq!(choice.source, Source::None, "{symbol} {signal:?}");
                assert!(mentions(&choice.missing, last(spec.members[0])), "{symbol}");
                continue;
            }
            // The name may be that of other members too.
            let name = last(spec.members[0]);
            let shared = OFFSETS
                .iter()
                .any(|other| other.needed_by.contains(&signal) && depends(other, name));
            assert!(!shared, "{name} is no good example");
            assert_eq!(choice.source, whole.source(signal), "{symbol} {signal:?}");
        }
    }
}
