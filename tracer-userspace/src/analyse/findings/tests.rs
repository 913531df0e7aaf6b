//! Each rule on intervals whose truth is known, and beginnings and ends over many of them.

mod memory;
mod neighbours;
mod restarts;
mod shared;

use std::sync::Arc;

use super::{history::MemoryHistory, oom_verdict::Reached, tracker::Tracker, *};
use crate::model::{
    finding::{Confidence, Evidence, FindingPhase, Severity},
    identity::Identity,
    limits::{MemoryPart, MemorySample},
    oom,
    runtime::{Basis, Language, Parallelism},
    stats::{IntervalHistograms, SchedStats, ThrottleStats},
};

const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

/// A container in one interval of a second.
struct Case {
    stats: ContainerStats,
    limit: Option<CpuLimit>,
    limit_cpus_used: Option<f64>,
    memory_limit: Option<u64>,
    history: MemoryHistory,
    /// `None` where nobody has looked.
    processes: Option<Vec<ProcessFacts>>,
}

impl Case {
    /// Uses `cpus` under a limit of `limit`, `throttled` of 10 periods.
    fn cpu(cpus: f64, limit: f64, throttled: u64, frozen: f64) -> Self {
        Self {
            stats: ContainerStats {
                container: Arc::new(Identity::default()),
                interval_ns: SECOND,
                sched: SchedStats {
                    cpu_time_ns: (cpus * 1e9) as u64,
                    ..SchedStats::default()
                },
                throttle: ThrottleStats {
                    periods: 10,
                    throttled_periods: throttled,
                    frozen_ns: Some((frozen * 1e9) as u64),
                    ..ThrottleStats::default()
                },
                memory: None,
                histograms: IntervalHistograms::default(),
                neighbours: Vec::new(),
            },
            limit: Some(CpuLimit {
                cpus: limit,
                quota_us: (limit * 100_000.0) as u64,
                period_us: 100_000,
                burst_us: 0,
                own: true,
                own_cpus: Some(limit),
                cgroup: "/x".into(),
            }),
            limit_cpus_used: None,
            memory_limit: None,
            history: MemoryHistory::default(),
            processes: Some(Vec::new()),
        }
    }

    /// Holds so many MiB at each second, beside so many of page cache.
    fn memory(limit_mib: u64, file_mib: u64, held_mib: impl IntoIterator<Item = u64>) -> Self {
        let mut case = Self::cpu(0.1, 1.0, 0, 0.0);
        case.memory_limit = Some(limit_mib * MIB);
        for (second, mib) in held_mib.into_iter().enumerate() {
            case.history.add(MemorySample {
                at_ns: (second as u64 + 1) * SECOND,
                current_bytes: (mib + file_mib) * MIB,
                file_bytes: file_mib * MIB,
                anon_bytes: mib * MIB,
                ..MemorySample::default()
            });
        }
        case
    }

    fn go(mut self, procs: u64, basis: Basis, memory_limit: Option<u64>) -> Self {
        self.processes = Some(vec![ProcessFacts {
            pid: 7,
            start_ticks: 9,
            cpu_share: None,
            command: "server".into(),
            threads: procs + 4,
            cpus_allowed: Some(16),
            memory_held_bytes: None,
            runtimes: vec![Runtime {
                language: Language::Go,
                version: Some("go1.22.1".into()),
                pools: vec![Parallelism {
                    setting: "GOMAXPROCS",
                    threads: Fact::known(procs, basis),
                    computes: true,
                }],
                memory_limit: Some(Fact::known(memory_limit, Basis::RuntimeVariable)),
                go: Some(Arc::default()),
            }],
            missing: Vec::new(),
        }]);
        self
    }

    fn process(&mut self) -> &mut ProcessFacts {
        &mut self.processes.as_mut().unwrap()[0]
    }

    fn observation(&self) -> Observation<'_> {
        Observation {
            stats: &self.stats,
            cpu_limit: self.limit.as_ref(),
            limit_cpus_used: self.limit_cpus_used,
            memory_limit: self.memory_limit,
            history: &self.history,
            processes: self.processes.as_deref(),
        }
    }

    /// What holds.
    fn found(&self) -> Vec<Finding> {
        RULES
            .iter()
            .filter_map(
                |rule| match (rule.judge)(&self.observation(), &Thresholds::default()) {
                    Verdict::Holds(finding) => {
                        assert_eq!(finding.kind, rule.kind);
                        Some(*finding)
                    }
                    _ => None,
                },
            )
            .collect()
    }

    fn kinds(&self) -> Vec<FindingKind> {
        self.found().iter().map(|finding| finding.kind).collect()
    }
}

/// A wide pool that does nothing beside what uses the limit up.
#[test]
fn only_who_is_at_work_is_too_wide() {
    let with_share = |share| {
        let mut case = Case::cpu(0.98, 1.0, 10, 0.4).go(16, Basis::RuntimeVariable, None);
        case.process().cpu_share = share;
        case.kinds()
    };
    assert_eq!(with_share(Some(0.01)), [FindingKind::CpuLimitTooLow]);
    for share in [None, Some(0.3), Some(1.0)] {
        assert_eq!(with_share(share), [FindingKind::CpuOversubscription]);
    }
}

/// What follows from how wide pools are waits until that is known.
#[test]
fn nothing_begins_before_the_processes_are_asked() {
    let verdicts = |case: &Case, kind: FindingKind| {
        let rule = RULES.iter().find(|rule| rule.kind == kind).unwrap();
        (rule.judge)(&case.observation(), &Thresholds::default())
    };
    let kinds = [
        FindingKind::CpuOversubscription,
        FindingKind::CpuLimitTooLow,
        FindingKind::CpuLimitQuotaPeriodMismatch,
    ];
    for (cpus, between) in [(1.0, [true, true, false]), (0.3, [true, false, true])] {
        let mut case = Case::cpu(cpus, 1.0, 6, 0.4);
        case.processes = None;
        for (kind, between) in kinds.into_iter().zip(between) {
            let verdict = verdicts(&case, kind);
            let expected = if between {
                Verdict::Between
            } else {
                Verdict::Clear
            };
            assert_eq!(verdict, expected, "{kind:?} with {cpus} CPUs used");
        }
    }
    let mut calm = Case::cpu(0.3, 1.0, 0, 0.0);
    calm.processes = None;
    for kind in kinds {
        assert_eq!(verdicts(&calm, kind), Verdict::Clear, "{kind:?}");
    }
}

fn count(finding: &Finding, name: &str) -> u64 {
    match finding.evidence.iter().find(|(key, _)| *key == name) {
        Some((_, Evidence::Count(count))) => *count,
        other => panic!("{name}: {other:?}"),
    }
}

#[test]
fn sixteen_procs_at_one_cpu_are_too_many() {
    let found = Case::cpu(1.0, 1.0, 10, 0.5)
        .go(16, Basis::RuntimeVariable, None)
        .found();
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].kind, FindingKind::CpuOversubscription);
    assert_eq!(found[0].confidence, Confidence::High);
    assert_eq!(count(&found[0], "recommended_threads"), 1);
    let text = &found[0].recommendation;
    assert!(
        text.starts_with("set GOMAXPROCS=1 in the container's environment; or build with Go 1.25"),
        "{text}"
    );
    let estimate = Case::cpu(1.0, 1.5, 10, 0.2)
        .go(16, Basis::Defaults, None)
        .found();
    assert_eq!(estimate[0].confidence, Confidence::Medium);
    assert_eq!(count(&estimate[0], "recommended_threads"), 2);
}

#[test]
fn wide_pools_that_harm_nobody_are_no_finding() {
    let idle = Case::cpu(0.1, 1.0, 0, 0.0).go(64, Basis::RuntimeVariable, None);
    assert_eq!(idle.kinds(), [], "input and output with many threads");
    let mut contends = Case::cpu(1.0, 1.0, 0, 0.0).go(16, Basis::RuntimeVariable, None);
    contends.stats.sched.wait_ns = 5 * SECOND;
    assert_eq!(contends.kinds(), [], "it waits for others");
    contends.stats.sched.wait_own_ns = 4 * SECOND;
    assert_eq!(
        contends.kinds(),
        [FindingKind::CpuOversubscription],
        "without throttling"
    );
}

#[test]
fn a_fitting_program_needs_a_higher_limit() {
    let found = Case::cpu(1.96, 2.0, 9, 0.4)
        .go(2, Basis::RuntimeVariable, None)
        .found();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].kind, FindingKind::CpuLimitTooLow);
    let text = &found[0].recommendation;
    // Two threads cannot use more, but for a tenth that the rest of the process may take.
    assert!(text.starts_with("raise the CPU limit to 2200m"), "{text}");
    assert_eq!(
        Case::cpu(1.0, 1.0, 5, 0.01).kinds(),
        [],
        "throttled at the very end of periods"
    );
    let unknown = Case::cpu(0.5, 0.5, 9, 0.5).found();
    assert_eq!(unknown[0].kind, FindingKind::CpuLimitTooLow);
    assert_eq!(unknown[0].severity, Severity::Critical);
    assert!(
        unknown[0]
            .recommendation
            .starts_with("raise the CPU limit to 1000m")
    );
    // Two for less than one CPU is Go's own least.
    let least = Case::cpu(0.5, 0.5, 9, 0.5).go(2, Basis::RuntimeVariable, None);
    assert_eq!(least.kinds(), [FindingKind::CpuLimitTooLow]);
}

#[test]
fn bursts_below_the_limit_are_a_matter_of_the_period() {
    assert_eq!(Case::cpu(0.4, 2.0, 3, 0.01).kinds(), [], "it costs nothing");
    let mut case = Case::cpu(0.4, 2.0, 3, 0.1);
    let found = case.found();
    assert_eq!(found[0].kind, FindingKind::CpuLimitQuotaPeriodMismatch);
    assert!(found[0].recommendation.contains("cpu.max.burst 200000"));
    let limit = case.limit.as_mut().unwrap();
    (limit.quota_us, limit.period_us) = (20_000, 10_000);
    let text = &case.found()[0].recommendation;
    assert!(text.contains("cpu.max \"200000 100000\""), "{text}");
}

#[test]
fn nothing_is_found_without_limits() {
    let mut case = Case::cpu(2.0, 1.0, 0, 0.0).go(16, Basis::RuntimeVariable, None);
    case.limit = None;
    case.memory_limit = None;
    assert_eq!(case.kinds(), []);
}

#[test]
fn findings_begin_and_end_and_do_not_flap() {
    let bad = Case::cpu(1.0, 1.0, 10, 0.5).go(16, Basis::RuntimeVariable, None);
    let between = Case::cpu(1.0, 1.0, 0, 0.03).go(16, Basis::RuntimeVariable, None);
    let good = Case::cpu(0.2, 1.0, 0, 0.0).go(16, Basis::RuntimeVariable, None);
    let mut tracker = Tracker::default();
    let mut told = Vec::new();
    let series = [
        &bad, &good, &bad, &bad, &good, &bad, &between, &good, &good, &bad, &good, &good, &good,
        &good,
    ];
    for (second, case) in series.into_iter().enumerate() {
        let now = (second as u64 + 1) * SECOND;
        for event in tracker.observe(
            Part::Processes,
            &case.observation(),
            &Thresholds::default(),
            now,
        ) {
            told.push((second, event.phase, event.lasted_ns));
        }
    }
    let expected = [
        (3, FindingPhase::Start, None),
        (12, FindingPhase::End, Some(9 * SECOND)),
    ];
    assert_eq!(told, expected);
    assert!(tracker.is_at_rest());
    tracker.observe(
        Part::Processes,
        &bad.observation(),
        &Thresholds::default(),
        1,
    );
    tracker.observe(
        Part::Processes,
        &bad.observation(),
        &Thresholds::default(),
        2,
    );
    assert_eq!(tracker.end(&bad.stats.container, 9)[0].lasted_ns, Some(7));
}

fn verdict(case: &Case, kill_s: u64) -> oom::OomVerdict {
    verdict_beside(case, kill_s, None)
}

fn verdict_beside(case: &Case, kill_s: u64, shared: Option<&str>) -> oom::OomVerdict {
    let reached = case.memory_limit.map(|bytes| Reached { bytes, shared });
    let thresholds = Thresholds::default();
    oom_verdict::judge(&case.history, kill_s * SECOND, reached, &thresholds)
}
