//! More threads compute at once than the limit has room for: they burn the quota in a part of the
//! period, and then all of them stand still.

use super::{Observation, Pool, Thresholds, Verdict, is_too_wide, whole_cpus, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    limits::CpuLimit,
    runtime::Language,
};

/// Judges an interval.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let (Some(limit), Some(pool)) = (observation.cpu_limit, observation.widest_pool()) else {
        return Verdict::Clear;
    };
    if !is_too_wide(pool.threads, limit, thresholds) {
        return Verdict::Clear;
    }
    let throttled = observation.throttled_ratio();
    let sched = &observation.stats.sched;
    // What it waits for others says nothing about its own threads.
    let contention = sched.wait_own_ns as f64 / sched.cpu_time_ns.max(1) as f64;
    let busy = observation.cpus_used() >= limit.cpus * thresholds.limit_unused_ratio;
    let contends = busy && contention >= thresholds.contention_ratio;
    if throttled >= thresholds.throttled_ratio || contends {
        return Verdict::Holds(Box::new(finding(observation, limit, &pool, throttled)));
    }
    // Half the threshold, so that what hovers about it does not flap.
    if throttled >= thresholds.throttled_ratio / 2.0
        || contention >= thresholds.contention_ratio / 2.0 && busy
    {
        Verdict::Between
    } else {
        Verdict::Clear
    }
}

fn finding(
    observation: &Observation<'_>,
    limit: &CpuLimit,
    pool: &Pool<'_>,
    throttled: f64,
) -> Finding {
    let fitting = whole_cpus(limit);
    let name = pool.pool.setting;
    let exact = pool.pool.threads.is_exact();
    let about = if exact { "" } else { "an estimated " };
    let summary = format!(
        "`{}` (pid {}) computes with {about}{} threads ({name}) under a limit of {} CPUs; {} of \
         the periods ended throttled, and it stood still for {} of the time",
        pool.process.command,
        pool.process.pid,
        pool.threads,
        words::cpus(limit.cpus),
        words::percent(throttled),
        words::percent(observation.frozen_ratio()),
    );
    let throttle = &observation.stats.throttle;
    let mut evidence = vec![
        (
            "runtime",
            Evidence::Text(pool.runtime.language.name().to_owned()),
        ),
        ("setting", Evidence::Text(name.to_owned())),
        ("threads_at_once", Evidence::Count(pool.threads)),
        ("recommended_threads", Evidence::Count(fitting)),
        ("cpu_limit_cpus", Evidence::Number(limit.cpus)),
        ("throttled_ratio", Evidence::Number(throttled)),
        (
            "throttled_periods",
            Evidence::Count(throttle.throttled_periods),
        ),
        ("periods", Evidence::Count(throttle.periods)),
        ("frozen_ns", Evidence::Count(observation.frozen_ns())),
        (
            "run_queue_wait_own_ns",
            Evidence::Count(observation.stats.sched.wait_own_ns),
        ),
        ("cpus_used", Evidence::Number(observation.cpus_used())),
        ("process_pid", Evidence::Count(u64::from(pool.process.pid))),
        (
            "process_command",
            Evidence::Text(pool.process.command.clone()),
        ),
        ("process_threads", Evidence::Count(pool.process.threads)),
    ];
    if let Some(basis) = pool.pool.threads.basis() {
        evidence.push(("basis", Evidence::Text(basis.name().to_owned())));
    }
    if let Some(version) = &pool.runtime.version {
        evidence.push(("runtime_version", Evidence::Text(version.clone())));
    }
    Finding {
        kind: FindingKind::CpuOversubscription,
        severity: if observation.frozen_ratio() >= 0.5 {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: if exact {
            Confidence::High
        } else {
            Confidence::Medium
        },
        summary,
        evidence,
        recommendation: recommendation(pool, fitting),
    }
}

/// What to set, ready to be pasted.
fn recommendation(pool: &Pool<'_>, fitting: u64) -> String {
    match pool.runtime.language {
        Language::Go => {
            let way = match &pool.runtime.go {
                Some(go) if go.container_aware => {
                    "Go takes the limit into account by itself unless GOMAXPROCS is set or changed: \
                     remove what sets it"
                }
                Some(go) if go.automaxprocs => {
                    "go.uber.org/automaxprocs is built in and did not take effect: GOMAXPROCS in \
                     the environment overrides it"
                }
                _ => {
                    "or build with Go 1.25 or later, which takes the limit into account, or import \
                     go.uber.org/automaxprocs"
                }
            };
            format!("set GOMAXPROCS={fitting} in the container's environment; {way}")
        }
        Language::Jvm => format!("add -XX:ActiveProcessorCount={fitting} to JAVA_TOOL_OPTIONS"),
        _ => format!(
            "set {}={fitting} in the container's environment",
            pool.pool.setting
        ),
    }
}
