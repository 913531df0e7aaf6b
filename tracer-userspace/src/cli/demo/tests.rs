//! What is done with events, and when a demo has failed.

use serde_json::json;

use super::{
    limits::CpuStat,
    outcome::Outcome,
    seen::{AgentSeen, Kill, Seen},
};

fn interval(summed_ns: u64, growth: f64) -> serde_json::Value {
    json!({
        "event": "container_stats",
        "throttle.summed_ns": summed_ns,
        "throttle.frozen_ns": summed_ns / 2,
        "throttle.periods": 5,
        "throttle.throttled_periods": 4,
        "sched.cpu_time_ns": 7,
        "sched.context_switches.voluntary": 2,
        "sched.context_switches.involuntary": 1,
        "sched.run_queue.buckets": [[0, 98], [4096, 2]],
        "memory.current_bytes": summed_ns,
        "memory.growth_bytes_per_second": growth,
    })
}

#[test]
fn intervals_add_up() {
    let mut seen = Seen::default();
    seen.take(&interval(1000, 5.0));
    seen.take(&interval(3000, -9.0));
    assert_eq!((seen.summed_ns, seen.frozen_ns), (4000, 2000));
    assert_eq!((seen.periods, seen.throttled_periods), (10, 8));
    assert_eq!((seen.voluntary, seen.involuntary), (4, 2));
    assert_eq!(seen.cpu_time_ns, 14);
    assert_eq!(seen.memory_bytes, 3000);
    assert!((seen.growth_bytes_per_second - 5.0).abs() < f64::EPSILON);
    assert_eq!(seen.waits.count(), 200);
    assert!(seen.waits.quantile(0.99).unwrap() >= 4096);
}

#[test]
fn the_middle_burn_counts_and_none_is_none() {
    let mut seen = Seen::default();
    assert_eq!(seen.burn_ns(), None);
    for burn in [30, 10, 20] {
        seen.take(&json!({"event": "cpu_throttle", "throttle.burn_ns": burn, "throttle.cpu": 1}));
    }
    seen.take(&json!({"event": "cpu_throttle", "throttle.cpu": 0, "throttle.source": "timer"}));
    assert_eq!(seen.burn_ns(), Some(20));
    assert_eq!(seen.cpus.len(), 2);
}

#[test]
fn the_tracers_words_on_itself() {
    let mut agent = AgentSeen::default();
    agent.take(&json!({"agent.phase": "start", "agent.lost.ring": 0}));
    assert_eq!((agent.lost, agent.cpu_ratio()), (0, None));
    agent.take(&json!({"agent.phase": "interval", "agent.cost.cpu_ratio": 0.1}));
    agent.take(&json!({"agent.phase": "interval", "agent.cost.cpu_ratio": 0.3}));
    agent.take(&json!({
        "agent.phase": "stop",
        "agent.lost.ring": 1,
        "agent.lost.sink": 2,
        "agent.cost.cpu_ratio": 9.0,
        "agent.cost.resident_bytes": 5,
    }));
    assert_eq!((agent.lost, agent.resident_bytes), (3, 5));
    assert!((agent.cpu_ratio().unwrap() - 0.2).abs() < 1e-9);
}

fn good() -> Outcome {
    Outcome {
        leaking: Seen {
            kills: vec![Kill::default()],
            ..Seen::default()
        },
        burning: Seen {
            summed_ns: 1_000,
            ..Seen::default()
        },
        quiet: Seen {
            voluntary: 1,
            ..Seen::default()
        },
        cpu_stat: CpuStat {
            throttled_ns: 1_001,
            ..CpuStat::default()
        },
        oom_kills: 1,
        ..Outcome::default()
    }
}

#[test]
fn everything_seen_is_success() {
    assert_eq!(good().missing(), Vec::<String>::new());
    assert_eq!(good().json()["missing"], json!([]));
}

#[test]
fn whatever_is_not_seen_is_said() {
    type Change = fn(&mut Outcome);
    let cases: [(Change, &str); 6] = [
        (|o| o.leaking.kills.clear(), "OOM kill"),
        (|o| o.oom_kills = 2, "the kernel counts 2"),
        (|o| o.burning.summed_ns = 0, "throttling"),
        (|o| o.cpu_stat.throttled_ns = 1_500, "1500 ns"),
        (|o| o.quiet.voluntary = 0, "context switches"),
        (|o| o.agent.lost = 1, "lost"),
    ];
    for (change, words) in cases {
        let mut outcome = good();
        change(&mut outcome);
        let missing = outcome.missing().join("; ");
        assert!(missing.contains(words), "{words}: {missing}");
    }
}

#[test]
fn durations_have_bounds() {
    assert!(super::duration("6s").is_ok());
    for bad in ["1s", "11min", "0s", "soon"] {
        assert!(super::duration(bad).is_err(), "{bad}");
    }
}
