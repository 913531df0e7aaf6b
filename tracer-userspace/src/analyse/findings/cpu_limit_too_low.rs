//! The limit is used up and there is work left, while no more threads run than it has room for.

use super::{Observation, Thresholds, Verdict, is_too_wide, whole_cpus, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    limits::CpuLimit,
};

/// At most this many times the present limit is recommended: what is beyond cannot be judged from
/// below.
const MOST_TIMES: f64 = 4.0;

/// Judges an interval.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let Some(limit) = observation.cpu_limit else {
        return Verdict::Clear;
    };
    let pool = observation.widest_pool();
    // Fewer threads would help there, and more CPUs might not.
    if pool.is_some_and(|pool| is_too_wide(pool.threads, limit, thresholds)) {
        return Verdict::Clear;
    }
    let throttled = observation.throttled_ratio();
    let used = observation.cpus_used() / limit.cpus;
    let hurts = observation.lost_ratio() >= thresholds.throttled_ratio;
    if hurts && throttled >= thresholds.limit_too_low_ratio && used >= thresholds.limit_used_ratio {
        let most = pool.map(|pool| pool.threads.max(whole_cpus(limit)));
        return Verdict::Holds(Box::new(finding(observation, limit, throttled, most)));
    }
    if hurts && throttled >= thresholds.limit_too_low_ratio / 2.0 {
        Verdict::Between
    } else {
        Verdict::Clear
    }
}

fn finding(
    observation: &Observation<'_>,
    limit: &CpuLimit,
    throttled: f64,
    most_threads: Option<u64>,
) -> Finding {
    let used = observation.cpus_used();
    let frozen = observation.frozen_ratio().min(0.95);
    // While it could run it used so much; it would do the same in the time in which it stood still.
    let wanted = (used / (1.0 - frozen)).max(limit.cpus * 1.1);
    let most = most_threads.map_or(f64::MAX, |threads| threads as f64);
    let wanted = wanted
        .min(limit.cpus * MOST_TIMES)
        .min(most.max(limit.cpus * 1.1));
    // Rounded up to a tenth of a CPU, as limits are written.
    let milli = (wanted * 10.0).ceil() as u64 * 100;
    let place = if limit.own {
        String::new()
    } else {
        format!(" of {}", limit.cgroup)
    };
    Finding {
        kind: FindingKind::CpuLimitTooLow,
        severity: if frozen >= 0.5 {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: if observation.processes.is_empty() {
            Confidence::Medium
        } else {
            Confidence::High
        },
        summary: format!(
            "it used {} of its limit of {} CPUs{place}; {} of the periods ended throttled, and it \
             stood still for {} of the time",
            words::percent(used / limit.cpus),
            words::cpus(limit.cpus),
            words::percent(throttled),
            words::percent(observation.frozen_ratio()),
        ),
        evidence: vec![
            ("cpu_limit_cpus", Evidence::Number(limit.cpus)),
            ("cpu_limit_cgroup", Evidence::Text(limit.cgroup.clone())),
            ("cpus_used", Evidence::Number(used)),
            ("recommended_cpus", Evidence::Number(milli as f64 / 1000.0)),
            ("throttled_ratio", Evidence::Number(throttled)),
            (
                "throttled_periods",
                Evidence::Count(observation.stats.throttle.throttled_periods),
            ),
            (
                "periods",
                Evidence::Count(observation.stats.throttle.periods),
            ),
            ("frozen_ns", Evidence::Count(observation.frozen_ns())),
            (
                "throttled_summed_ns",
                Evidence::Count(observation.stats.throttle.summed_ns),
            ),
        ],
        recommendation: format!(
            "raise the CPU limit{place} to {milli}m (docker: --cpus {}), and look again: the need \
             can be larger than what is seen from below a limit",
            words::cpus(milli as f64 / 1000.0)
        ),
    }
}
