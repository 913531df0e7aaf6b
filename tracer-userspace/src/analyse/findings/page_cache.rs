//! Memory looks full, but most of it is page cache, which the kernel gives back when the limit is
//! reached: no leak.

use super::{Observation, Thresholds, Verdict, words};
use crate::model::finding::{Confidence, Evidence, Finding, FindingKind, Severity};

/// Share of what is used that must be page cache.
const MOSTLY: f64 = 0.4;

/// Judges the memory at an interval's end.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let (Some(limit), Some(sample)) = (observation.memory_limit, observation.history.last()) else {
        return Verdict::Clear;
    };
    let limit = limit.max(1);
    let used = sample.current_bytes as f64 / limit as f64;
    let held = sample.held_bytes() as f64 / limit as f64;
    let file = sample.file_bytes as f64 / sample.current_bytes.max(1) as f64;
    let near = thresholds.near_limit_ratio;
    if held >= near || file < MOSTLY || used < near - 0.1 {
        return Verdict::Clear;
    }
    if used < near {
        return Verdict::Between;
    }
    Verdict::Holds(Box::new(Finding {
        kind: FindingKind::PageCacheNotALeak,
        severity: Severity::Info,
        confidence: Confidence::High,
        summary: format!(
            "{} of the limit of {} are in use, but {} of that is page cache that the kernel gives \
             back when it is needed; only {} are held",
            words::percent(used),
            words::bytes(limit),
            words::percent(file),
            words::bytes(sample.held_bytes()),
        ),
        evidence: vec![
            (
                "memory_current_bytes",
                Evidence::Count(sample.current_bytes),
            ),
            ("memory_file_bytes", Evidence::Count(sample.file_bytes)),
            ("memory_held_bytes", Evidence::Count(sample.held_bytes())),
            ("memory_limit_bytes", Evidence::Count(limit)),
        ],
        recommendation: "nothing: judge the container by what it holds, not by its usage"
            .to_owned(),
    }))
}
