//! What cannot be given back is close to the limit.

use super::{Observation, Thresholds, Verdict, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    limits::MemoryPart,
};

/// How far below the threshold it ends.
const END_BELOW: f64 = 0.05;
/// From this share of the limit on the next allocation may be the last.
const CRITICAL: f64 = 0.95;

/// Judges the memory at an interval's end.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let (Some(limit), Some(sample)) = (observation.memory_limit, observation.history.last()) else {
        return Verdict::Clear;
    };
    let held = sample.held_bytes();
    let share = held as f64 / limit.max(1) as f64;
    if share < thresholds.near_limit_ratio {
        return if share < thresholds.near_limit_ratio - END_BELOW {
            Verdict::Clear
        } else {
            Verdict::Between
        };
    }
    let before = observation.history.rise(60_000_000_000);
    let moved = before.map(|(from, to)| {
        let seconds = (to.at_ns - from.at_ns) as f64 / 1e9;
        (to.held_bytes() - from.held_bytes()) as f64 / seconds.max(0.001)
    });
    let how = match moved {
        Some(rate) => format!(
            ", and it rose by {} in the last minute at most",
            words::rate(rate)
        ),
        None => ", and it does not rise".to_owned(),
    };
    let (part, bytes) = MemoryPart::ALL
        .into_iter()
        .map(|part| (part, sample.part(part)))
        .max_by_key(|(_, bytes)| *bytes)
        .unwrap_or((MemoryPart::Anon, 0));
    let wanted = {
        // With room, so that it ends then.
        let ratio = thresholds.near_limit_ratio;
        (held as f64 / (ratio - 2.0 * END_BELOW).max(ratio / 2.0)) as u64
    };
    Verdict::Holds(Box::new(Finding {
        kind: FindingKind::MemoryNearLimit,
        severity: if share >= CRITICAL {
            Severity::Critical
        } else {
            Severity::Warning
        },
        confidence: Confidence::High,
        summary: format!(
            "{} of the limit of {} hold memory that cannot be given back, most of it {}{how}",
            words::percent(share),
            words::bytes(limit),
            part.name(),
        ),
        evidence: vec![
            ("memory_held_bytes", Evidence::Count(held)),
            ("memory_limit_bytes", Evidence::Count(limit)),
            ("memory_held_ratio", Evidence::Number(share)),
            (
                "memory_current_bytes",
                Evidence::Count(sample.current_bytes),
            ),
            ("memory_file_bytes", Evidence::Count(sample.file_bytes)),
            ("largest_part", Evidence::Text(part.name().to_owned())),
            ("largest_part_bytes", Evidence::Count(bytes)),
            (
                "rise_bytes_per_second",
                Evidence::Number(moved.unwrap_or(0.0)),
            ),
        ],
        recommendation: format!(
            "raise the memory limit to {}, or bound what the program keeps",
            words::bytes(wanted.next_multiple_of(1 << 20))
        ),
    }))
}
