//! The limit is used up and there is work left, while no more threads run than it has room for.

use super::{Observation, Thresholds, Verdict, cpu::UnderLimit, words};
use crate::model::finding::{Confidence, Evidence, Finding, FindingKind};

/// At most this many times the present limit is recommended: what is beyond cannot be judged from
/// below.
const MOST_TIMES: f64 = 4.0;

/// Share of a limit above it that a container has to use to be told about it.
const PART: f64 = 0.25;

/// Judges an interval.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let Some(case) = UnderLimit::of(observation) else {
        return Verdict::Clear;
    };
    // Fewer threads would help there, and more CPUs might not.
    if case.too_wide(thresholds).is_some() {
        return Verdict::Clear;
    }
    let hurts = case.lost() >= thresholds.throttled_ratio;
    let throttled = case.throttled >= thresholds.limit_too_low_ratio;
    // One that uses little of a limit that it shares stands still by the doing of others.
    if !case.limit.own && case.used() < PART {
        return Verdict::Clear;
    }
    // Whether fewer threads would help is known when the processes have been asked.
    let holds = hurts && throttled && case.limit_used() >= thresholds.limit_used_ratio;
    if let Some(processes) = observation.processes.filter(|_| holds) {
        return Verdict::Holds(Box::new(finding(&case, processes.len())));
    }
    let used = case.limit_used() >= thresholds.limit_unused_ratio;
    if used && hurts && case.throttled >= thresholds.limit_too_low_ratio / 2.0 {
        Verdict::Between
    } else {
        Verdict::Clear
    }
}

fn finding(case: &UnderLimit<'_>, processes: usize) -> Finding {
    let limit = case.limit;
    let least = limit.cpus * 1.1;
    // While it could run it used so much; it would do the same in the time in which it stood still.
    let used = case.limit_cpus_used();
    let wanted = (used / (1.0 - case.frozen().min(0.95))).max(least);
    // Never more than its threads could use, which are known of a single process.
    let pool = case.pool.filter(|_| processes == 1 && limit.own);
    let most = pool.map_or(f64::MAX, |pool| pool.threads.max(case.whole_cpus()) as f64);
    let wanted = wanted.min(limit.cpus * MOST_TIMES).min(most.max(least));
    // Rounded up to a tenth of a CPU, as limits are written, and small ones to a hundredth.
    let step = if wanted < 0.5 { 10 } else { 100 };
    let milli = ((wanted * 1000.0 - 1e-6).ceil() as u64).next_multiple_of(step);
    let recommended = milli as f64 / 1000.0;
    let place = if limit.own {
        String::new()
    } else {
        format!(" of {}", limit.cgroup)
    };
    let mut evidence = case.evidence();
    if !limit.own {
        evidence.push(("limit_cpus_used", Evidence::Number(used)));
    }
    evidence.push(("recommended_cpus", Evidence::Number(recommended)));
    Finding {
        kind: FindingKind::CpuLimitTooLow,
        severity: case.severity(),
        confidence: if processes > 0 {
            Confidence::High
        } else {
            Confidence::Medium
        },
        summary: if limit.own {
            format!(
                "it used {} of its limit of {}; {}",
                words::percent(case.used()),
                words::in_cpus(limit.cpus),
                case.harm(),
            )
        } else {
            format!(
                "{} of the limit of {}{place} are used, {} by this container; {}",
                words::percent(case.limit_used()),
                words::in_cpus(limit.cpus),
                words::percent(case.used()),
                case.harm(),
            )
        },
        evidence,
        recommendation: format!(
            "raise the CPU limit{place} to {milli}m (docker: --cpus {}), and look again: the need \
             can be larger than what is seen from below a limit",
            words::cpus(recommended)
        ),
    }
}
