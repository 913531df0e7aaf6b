//! More threads compute at once than the limit has room for: they burn the quota in a part of the
//! period, and then all of them stand still.

use super::{
    Observation, Thresholds, Verdict,
    cpu::{Pool, UnderLimit},
    words,
};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind},
    limits::CpuLimit,
    runtime::Language,
};

/// Judges an interval.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let Some(case) = UnderLimit::of(observation) else {
        return Verdict::Clear;
    };
    let pool = case.too_wide(thresholds);
    if case.asked && pool.is_none() {
        return Verdict::Clear;
    }
    // A wide pool that is idle harms nobody, whatever others do to a limit above.
    if !case.is_its_doing() {
        return Verdict::Clear;
    }
    let sched = &observation.stats.sched;
    // What it waits for others says nothing about its own threads.
    let contention = sched.wait_own_ns as f64 / sched.cpu_time_ns.max(1) as f64;
    let busy = case.used() >= thresholds.limit_unused_ratio;
    let contends = busy && contention >= thresholds.contention_ratio;
    let holds = case.throttled >= thresholds.throttled_ratio || contends;
    if let Some(pool) = pool.filter(|_| holds) {
        return Verdict::Holds(Box::new(finding(&case, &pool, sched.wait_own_ns)));
    }
    // Half the threshold, so that what hovers about it does not flap.
    if case.throttled >= thresholds.throttled_ratio / 2.0
        || contention >= thresholds.contention_ratio / 2.0 && busy
    {
        Verdict::Between
    } else {
        Verdict::Clear
    }
}

fn finding(case: &UnderLimit<'_>, pool: &Pool<'_>, wait_own_ns: u64) -> Finding {
    // More than there are CPUs fit nowhere, whatever the limit allows.
    let cpus = pool.process.cpus_allowed.unwrap_or(u64::MAX).max(1);
    let fitting = case.whole_cpus().min(cpus);
    let name = pool.pool.setting;
    let exact = pool.pool.threads.is_exact();
    let about = if exact { "" } else { "an estimated " };
    let summary = format!(
        "`{}` (pid {}) computes with {about}{} threads ({name}) under a limit of {}; {}",
        pool.process.command,
        pool.process.pid,
        pool.threads,
        words::in_cpus(case.limit.cpus),
        case.harm(),
    );
    let text = |text: &str| Evidence::Text(text.to_owned());
    let mut evidence = case.evidence();
    evidence.extend([
        ("runtime", text(pool.runtime.language.name())),
        ("setting", text(name)),
        ("threads_at_once", Evidence::Count(pool.threads)),
        ("recommended_threads", Evidence::Count(fitting)),
        ("run_queue_wait_own_ns", Evidence::Count(wait_own_ns)),
        ("process_pid", Evidence::Count(u64::from(pool.process.pid))),
        ("process_command", text(&pool.process.command)),
        ("process_threads", Evidence::Count(pool.process.threads)),
    ]);
    if let Some(basis) = pool.pool.threads.basis() {
        evidence.push(("basis", text(basis.name())));
    }
    if let Some(version) = &pool.runtime.version {
        evidence.push(("runtime_version", text(version)));
    }
    Finding {
        kind: FindingKind::CpuOversubscription,
        severity: case.severity(),
        confidence: if exact {
            Confidence::High
        } else {
            Confidence::Medium
        },
        summary,
        evidence,
        recommendation: recommendation(pool, fitting, case.limit),
    }
}

/// What to set, ready to be pasted.
fn recommendation(pool: &Pool<'_>, fitting: u64, limit: &CpuLimit) -> String {
    match pool.runtime.language {
        Language::Go => {
            let way = match &pool.runtime.go {
                _ if !limit.own => {
                    "or give the container a CPU limit of its own: neither Go nor automaxprocs sees \
                     one above it"
                }
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
