//! Throttled although less is used than the limit allows: the work comes in bursts that are larger
//! than the quota of one period.

use super::{Observation, Thresholds, Verdict, cpu::UnderLimit, words};
use crate::model::finding::{Confidence, Evidence, Finding, FindingKind, Severity};

/// The kernel hands out quota to a CPU in slices of this many microseconds
/// (`sysctl_sched_cfs_bandwidth_slice` in kernel/sched/fair.c). A quota of few slices is used up by
/// being spread over CPUs.
const SLICE_US: u64 = 5_000;
/// The usual period in microseconds.
const USUAL_PERIOD_US: u64 = 100_000;

/// Judges an interval.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let Some(case) = UnderLimit::of(observation) else {
        return Verdict::Clear;
    };
    // Whose bursts used up a limit above it cannot be seen from here.
    if !case.limit.own
        || case.too_wide(thresholds).is_some()
        || case.used() >= thresholds.limit_unused_ratio
        || case.throttled < thresholds.throttled_ratio / 2.0
    {
        return Verdict::Clear;
    }
    // Whether a pool is too wide is known when the processes have been asked.
    if !case.asked || case.throttled.min(case.lost()) < thresholds.throttled_ratio {
        return Verdict::Between;
    }
    Verdict::Holds(Box::new(finding(&case)))
}

fn finding(case: &UnderLimit<'_>) -> Finding {
    let limit = case.limit;
    let recommendation = if limit.period_us < USUAL_PERIOD_US || limit.quota_us < SLICE_US {
        let quota = (limit.cpus * USUAL_PERIOD_US as f64) as u64;
        format!(
            "set the usual period: cpu.max \"{quota} {USUAL_PERIOD_US}\" (cgroup v1: \
             cpu.cfs_period_us={USUAL_PERIOD_US}, then cpu.cfs_quota_us={quota}; docker: \
             --cpu-period {USUAL_PERIOD_US} --cpu-quota {quota})"
        )
    } else if limit.burst_us == 0 {
        format!(
            "allow bursts: cpu.max.burst {quota} (cgroup v1: cpu.cfs_burst_us={quota}), which lets \
             unused quota be saved for the next period; or raise the CPU limit to what the bursts \
             need",
            quota = limit.quota_us
        )
    } else {
        "raise the CPU limit to what the bursts need, or spread the work".to_owned()
    };
    let mut evidence = case.evidence();
    evidence.extend([
        ("quota_us", Evidence::Count(limit.quota_us)),
        ("period_us", Evidence::Count(limit.period_us)),
        ("burst_us", Evidence::Count(limit.burst_us)),
    ]);
    Finding {
        kind: FindingKind::CpuLimitQuotaPeriodMismatch,
        severity: Severity::Warning,
        confidence: Confidence::Medium,
        summary: format!(
            "it used only {} of its limit of {}, and yet {}: its work comes in bursts larger than \
             {} ms, the quota of a period of {} ms",
            words::percent(case.used()),
            words::in_cpus(limit.cpus),
            case.harm(),
            words::cpus(limit.quota_us as f64 / 1000.0),
            words::cpus(limit.period_us as f64 / 1000.0),
        ),
        evidence,
        recommendation,
    }
}
