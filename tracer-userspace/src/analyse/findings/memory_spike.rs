//! What cannot be given back rose at once, by much of the limit.

use super::{Observation, Thresholds, Verdict, history::grown_most, memory_leak, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    limits::MemorySample,
};

/// Judges the memory of the last intervals.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let Some(limit) = observation.memory_limit else {
        return Verdict::Clear;
    };
    // At least from one interval's end to the next.
    let window = thresholds
        .spike_window_ns()
        .max(observation.stats.interval_ns + observation.stats.interval_ns / 2);
    let Some((from, to)) = observation.history.rise(window) else {
        return Verdict::Clear;
    };
    // The upward half of a saw-tooth is nothing new.
    let highest_before = observation
        .history
        .iter()
        .filter(|sample| sample.at_ns < from.at_ns)
        .map(MemorySample::held_bytes)
        .max();
    if highest_before.is_some_and(|highest| to.held_bytes() < highest + highest / 10) {
        return Verdict::Clear;
    }
    let rise = to.held_bytes() - from.held_bytes();
    let share = rise as f64 / limit.max(1) as f64;
    if share < thresholds.spike_ratio {
        return if share < thresholds.spike_ratio / 2.0 {
            Verdict::Clear
        } else {
            Verdict::Between
        };
    }
    // What grows steadily is told as that; which has time while as much again is left.
    let left = limit.saturating_sub(to.held_bytes());
    let is_leak = matches!(
        memory_leak::judge(observation, thresholds),
        Verdict::Holds(_)
    );
    let is_even = || (observation.history).is_even(window, thresholds.leak_steadiness);
    if is_leak || left >= rise && is_even() {
        return Verdict::Between;
    }
    let seconds = (to.at_ns - from.at_ns) as f64 / 1e9;
    let (part, part_bytes) = grown_most(from, to);
    Verdict::Holds(Box::new(Finding {
        kind: FindingKind::MemorySpike,
        severity: if left < rise {
            Severity::Warning
        } else {
            Severity::Info
        },
        confidence: Confidence::High,
        summary: format!(
            "memory that cannot be given back rose by {} in {}, {} of the limit of {}, most of it \
             {}; {} are left",
            words::bytes(rise),
            words::seconds(seconds),
            words::percent(share),
            words::bytes(limit),
            part.name(),
            words::bytes(left),
        ),
        evidence: vec![
            ("rise_bytes", Evidence::Count(rise)),
            ("window_seconds", Evidence::Number(seconds)),
            ("from_bytes", Evidence::Count(from.held_bytes())),
            ("to_bytes", Evidence::Count(to.held_bytes())),
            ("memory_limit_bytes", Evidence::Count(limit)),
            ("growing_part", Evidence::Text(part.name().to_owned())),
            ("growing_part_bytes", Evidence::Count(part_bytes)),
        ],
        recommendation: recommendation(limit, to.held_bytes() + rise),
    }))
}

/// `after_another` is what would be held after another such rise, in bytes.
fn recommendation(limit: u64, after_another: u64) -> String {
    if after_another <= limit {
        let left = words::bytes(limit - after_another);
        return format!(
            "bound what one request or batch may take; another such rise has room and leaves {left}"
        );
    }
    format!(
        "bound what one request or batch may take, or leave room for it: another such rise needs a \
         limit of {}",
        words::bytes(after_another.next_multiple_of(1 << 20))
    )
}
