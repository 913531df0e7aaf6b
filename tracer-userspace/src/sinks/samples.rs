//! Events for the sinks' tests.

use std::sync::Arc;

use tracer_common::log_linear::bucket_of;

use crate::model::event::{
    AgentCost, AgentEvent, AgentPhase, Event, EventBody, Lifecycle, Lost, NameCounts, NamedEvent,
};
use crate::model::exit::{Exit, ExitCause};
use crate::model::finding::{
    Confidence, Evidence, Finding, FindingEvent, FindingKind, FindingPhase, Severity,
};
use crate::model::histogram::Histogram;
use crate::model::identity::{Identity, Level};
use crate::model::limits::MemoryPart;
use crate::model::oom::{
    LargeProcess, MemoryReading, OomContext, OomKillEvent, OomLimit, OomProcess, OomScope,
    OomVerdict, Verdict, VictimMemory,
};
use crate::model::plan::{PlanSummary, SignalPlan};
use crate::model::stats::{
    Burst, ContainerStats, IntervalHistograms, MemoryStats, Neighbour, QuotaBurn, SchedStats,
    ThreadPeaks, ThrottleStats,
};
use crate::model::throttle::ThrottleEvent;
use crate::sinks::wall_clock::WallClock;

const MIB: u64 = 1 << 20;

/// 2026-01-02 03:04:05 UTC at monotonic time 0.
pub fn clock() -> WallClock {
    WallClock::from_offset_ns(1_767_323_045_000_000_000)
}

/// The 42nd event, 1.000000007 s after monotonic time 0.
pub fn event(body: EventBody) -> Event {
    Event {
        monotonic_ns: 1_000_000_007,
        seq: 42,
        body,
    }
}

/// A Docker container `web`.
pub fn web() -> Identity {
    Identity {
        cgroup_path: "/docker/4f2a".into(),
        level: Level::Container,
        container_id: Some("4f2a".into()),
        container_name: Some("web".into()),
        image_name: Some("nginx:1.27".into()),
        runtime_name: Some("docker"),
        ..Identity::default()
    }
}

/// A Kubernetes container whose name is not known.
pub fn pod() -> Identity {
    Identity {
        cgroup_path: "/kubepods/burstable/pod12/ab".into(),
        level: Level::Container,
        container_id: Some("ab".into()),
        k8s_pod_uid: Some("12".into()),
        unresolved: Some("no runtime socket".into()),
        ..Identity::default()
    }
}

/// A kill in `web` at its own limit.
pub fn oom() -> OomKillEvent {
    let web = Arc::new(web());
    OomKillEvent {
        container: Arc::clone(&web),
        scope: OomScope::MemoryCgroup,
        limit: Some(OomLimit {
            shares: None,
            cgroup: Arc::clone(&web),
            level: Level::Container,
            limit_bytes: Some(512 * MIB),
            usage_bytes: 512 * MIB,
            memory_and_swap: false,
            evidence: "memcg_event",
        }),
        victim: OomProcess {
            pid: 4211,
            command: "java".into(),
        },
        victim_thread: 4230,
        victim_parent_pid: 4200,
        victim_command_line: Some("java -jar app.jar".into()),
        victim_uid: 1000,
        victim_oom_score_adj: 0,
        victim_age_ns: Some(83_500_000_000),
        victim_badness_pages: None,
        memory: VictimMemory {
            total_vm_bytes: 3000 * MIB,
            anon_bytes: 497 * MIB,
            file_bytes: 12 * MIB,
            shmem_bytes: 0,
            swap_bytes: 0,
            page_tables_bytes: Some(1_536 << 10),
            exact: true,
        },
        trigger: OomProcess {
            pid: 4310,
            command: "curl".into(),
        },
        trigger_container: web,
        order: Some(0),
        gfp_flags: Some(0xcc0),
        group: false,
        victim_number: 1,
        victims: 1,
        trigger_thread: 4310,
        shares_memory_of_pid: None,
        source: "tracepoint",
        context: Some(Box::new(context())),
        container_memory: Some(MemoryReading {
            current_bytes: 14 * MIB,
            limit_bytes: Some(512 * MIB),
            peak_bytes: Some(512 * MIB),
        }),
    }
}

/// An interval of `web` throttled by its own quota of 1.5 CPUs.
pub fn throttle() -> ThrottleEvent {
    let web = Arc::new(web());
    ThrottleEvent {
        container: Arc::clone(&web),
        quota_cgroup: web,
        level: Level::Container,
        cpu: 3,
        duration_ns: 83_140_250,
        quota_ns: Some(150_000_000),
        period_ns: 100_000_000,
        burn_ns: Some(16_859_750),
        threads: 4,
        source: "tracepoint",
    }
}

/// A histogram of these values.
pub fn histogram(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    for &value in values {
        histogram.add(bucket_of(value) as usize, 1);
    }
    histogram
}

/// An interval of `web`.
pub fn stats() -> ContainerStats {
    ContainerStats {
        container: Arc::new(web()),
        interval_ns: 2_000_000_000,
        sched: SchedStats {
            voluntary: 4000,
            involuntary: 100,
            cpu_time_ns: 1_500_000_000,
            wait_ns: 6_000_000,
            throttled_wait_ns: 300_000_000,
            ancestor_wait_ns: 100_000_000,
            wait_own_ns: 3_500_000,
            wait_others_ns: 2_000_000,
            preempted_by_own: 60,
            preempted_by_others: 30,
            threads_ran: 11,
            peaks: Some(ThreadPeaks {
                running: 2,
                runnable: Some(8),
            }),
            threads: Some(9),
        },
        throttle: ThrottleStats {
            summed_ns: 900_000_000,
            frozen_ns: Some(250_000_000),
            intervals: 2,
            periods: 20,
            throttled_periods: 5,
            unseen_ns: 0,
            burst: Some(Burst {
                periods: 3,
                ns: 12_000_000,
            }),
            burn: Some(QuotaBurn {
                periods: 4,
                summed_ns: 60_000_000,
                shortest_ns: 12_000_000,
                cpus: 7,
                threads: 18,
            }),
        },
        memory: Some(MemoryStats {
            reading: MemoryReading {
                current_bytes: 300 * MIB,
                limit_bytes: Some(512 * MIB),
                peak_bytes: None,
            },
            growth_bytes_per_second: Some(1024.5),
        }),
        histograms: IntervalHistograms {
            run_queue_wait: histogram(&[1_000_000, 2_000_000, 3_000_000]),
            on_cpu_slice: histogram(&[64, 64]),
            throttled_interval: histogram(&[450_000_000, 450_000_000]),
            frozen_time: Histogram::default(),
        },
        neighbours: vec![Neighbour {
            container: Arc::new(Identity {
                cgroup_path: "/docker/77aa".into(),
                container_name: Some("batch".into()),
                ..Identity::default()
            }),
            wait_ns: 1_800_000,
            cpu_time_ns: Some(1_200_000_000),
        }],
    }
}

/// The end of a run that lost something of everything.
pub fn agent() -> AgentEvent {
    AgentEvent {
        unwatched: 4,
        looks_awaited: 2,
        phase: AgentPhase::Stop,
        plan: PlanSummary {
            signals: vec![SignalPlan {
                signal: "oom_kill".into(),
                source: "tracepoint".into(),
                programs: vec!["mark_victim".into()],
                notes: vec!["no fexit".into()],
            }],
            cgroup_hierarchy: "v1:cpu".into(),
        },
        lost: Lost {
            ring: 1,
            slots: 2,
            clock: 3,
            undecodable: 4,
            sink: 5,
            maps: 6,
            reads: 7,
            unseen_throttle_ns: 8,
        },
        capabilities: vec!["CAP_SYS_PTRACE".into()],
        names: NameCounts {
            lines: 9,
            unnamed: 2,
            completed: 1,
        },
        cost: Some(AgentCost {
            bpf_ns_per_switch: None,
            cpu_ratio: 0.004,
            resident_bytes: 20 * MIB,
        }),
        attached_after_ns: 180_000_000,
    }
}

/// A name that came late.
pub fn named() -> NamedEvent {
    NamedEvent {
        container: Arc::new(web()),
        lines: 3,
        seqs: vec![4, 5, 7],
    }
}

/// What was known before the kill of [`oom`].
fn context() -> OomContext {
    OomContext {
        verdict: OomVerdict {
            verdict: Verdict::Leak,
            part: Some(MemoryPart::Anon),
            bytes_per_second: Some(1_048_576.0),
            grown_bytes: Some(50 * MIB),
            window_ns: Some(50_000_000_000),
            samples: vec![
                (20_000_000_000, 400 * MIB),
                (10_000_000_000, 450 * MIB),
                (1_000_000_000, 500 * MIB),
            ],
            explanation: "a leak: it grew".into(),
            recommendation: "take two heap profiles".into(),
        },
        largest: vec![LargeProcess {
            pid: 4211,
            command: "java".into(),
            bytes: 497 * MIB,
        }],
    }
}

/// GOMAXPROCS is too high.
pub fn finding() -> FindingEvent {
    FindingEvent {
        container: Arc::new(web()),
        phase: FindingPhase::Start,
        lasted_ns: None,
        finding: Finding {
            kind: FindingKind::CpuOversubscription,
            severity: Severity::Warning,
            confidence: Confidence::High,
            summary: "`server` (pid 7) computes with 16 threads".into(),
            evidence: vec![
                ("threads_at_once", Evidence::Count(16)),
                ("throttled_ratio", Evidence::Number(0.5)),
                ("not_a_number", Evidence::Number(f64::NAN)),
                ("setting", Evidence::Text("GOMAXPROCS".into())),
            ],
            recommendation: "set GOMAXPROCS=1".into(),
        },
    }
}

/// One event of each kind.
pub fn all() -> Vec<Event> {
    let life = |lifetime_ns| Lifecycle {
        container: Arc::new(web()),
        lifetime_ns,
        restart_count: lifetime_ns.map(|_| 2),
        exit: lifetime_ns.map(|_| Exit {
            code: 137,
            signal: Some(9),
            cause: ExitCause::OomKilled,
            oom_kill_seq: Some(1),
            killed_by: None,
            killer: None,
        }),
    };
    [
        EventBody::OomKill(Box::new(oom())),
        EventBody::CpuThrottle(Box::new(throttle())),
        EventBody::ContainerStart(life(None)),
        EventBody::ContainerExit(life(Some(50_000_000))),
        EventBody::ContainerStats(Box::new(stats())),
        EventBody::Finding(Box::new(finding())),
        EventBody::Agent(Box::new(agent())),
    ]
    .map(event)
    .into()
}
