//! What cannot be given back grows steadily: when will it reach the limit?

use super::{Observation, Thresholds, Verdict, history::Growth, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    limits::MemoryPart,
};

/// Growth below this is never told, in bytes: a program's caches fill by as much.
const LEAST_BYTES: u64 = 4 << 20;
/// Projected this close, in seconds, it is critical.
const SOON: f64 = 600.0;

/// Judges the memory of the last minutes.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let Some(limit) = observation.memory_limit else {
        return Verdict::Clear;
    };
    let least = LEAST_BYTES.max((limit as f64 * thresholds.leak_growth_ratio) as u64);
    let growth = observation.history.growth(
        thresholds.leak_window_ns(),
        least,
        thresholds.leak_steadiness,
    );
    let Some(growth) = growth else {
        return Verdict::Clear;
    };
    let left = limit.saturating_sub(growth.to_bytes) as f64;
    let seconds = left / growth.slope.per_second;
    if seconds > thresholds.leak_horizon_hours * 3600.0 {
        return Verdict::Between;
    }
    Verdict::Holds(Box::new(finding(&growth, limit, seconds)))
}

fn finding(growth: &Growth, limit: u64, seconds: f64) -> Finding {
    let window = growth.window_ns as f64 / 1e9;
    Finding {
        kind: FindingKind::MemoryLeakSuspected,
        severity: if seconds <= SOON {
            Severity::Critical
        } else {
            Severity::Warning
        },
        // Without a time before, it may be a start that takes long.
        confidence: if growth.has_before && growth.slope.steadiness >= 0.9 {
            Confidence::High
        } else {
            Confidence::Medium
        },
        summary: format!(
            "memory that cannot be given back grew steadily from {} to {} in {}, {}, most of it {}; \
             it reaches the limit of {} in about {}",
            words::bytes(growth.from_bytes),
            words::bytes(growth.to_bytes),
            words::seconds(window),
            words::rate(growth.slope.per_second),
            growth.part.name(),
            words::bytes(limit),
            words::seconds(seconds),
        ),
        evidence: vec![
            (
                "growth_bytes_per_second",
                Evidence::Number(growth.slope.per_second),
            ),
            ("seconds_to_limit", Evidence::Number(seconds)),
            ("window_seconds", Evidence::Number(window)),
            ("samples", Evidence::Count(growth.samples as u64)),
            ("steadiness", Evidence::Number(growth.slope.steadiness)),
            ("from_bytes", Evidence::Count(growth.from_bytes)),
            ("to_bytes", Evidence::Count(growth.to_bytes)),
            ("memory_limit_bytes", Evidence::Count(limit)),
            (
                "growing_part",
                Evidence::Text(growth.part.name().to_owned()),
            ),
            ("growing_part_bytes", Evidence::Count(growth.part_bytes)),
        ],
        recommendation: advice(growth.part).to_owned(),
    }
}

/// Where to look, by what grows.
pub const fn advice(part: MemoryPart) -> &'static str {
    match part {
        MemoryPart::Anon => {
            "take two heap profiles some minutes apart and compare them (Go: /debug/pprof/heap; \
             JVM: jcmd PID GC.class_histogram; Node: --heapsnapshot-signal; Python: tracemalloc); a \
             higher limit only delays it"
        }
        MemoryPart::Shmem => {
            "look for files that stay: du -s /dev/shm and every tmpfs and emptyDir of medium \
             Memory; ipcs -m"
        }
        MemoryPart::PageTables => {
            "look for mappings that grow or that many processes share: the VmPTE lines of \
             /proc/PID/status"
        }
        MemoryPart::Kernel => {
            "look for what the kernel keeps for it: threads, sockets, open files and dentries \
             (memory.stat: kernel_stack, sock, slab)"
        }
    }
}
