//! A Go program whose collector does not know of the memory limit: it lets the heap grow to twice
//! what is in use, also where that is beyond the limit.

use super::{Observation, Thresholds, Verdict, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    runtime::Fact,
};

/// Share of the limit that is left to what is no Go heap.
const HEADROOM: f64 = 0.9;

/// Share of what the container holds from which on its Go programs without a limit matter for it.
const MATTERS: f64 = 0.25;

/// Judges the processes.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let (Some(limit), Some(sample)) = (observation.memory_limit, observation.history.last()) else {
        return Verdict::Clear;
    };
    // A small one beside what fills the container has nothing to do with it; several may fill it together.
    let without = |fact: &Fact<Option<u64>>| fact.value().is_some_and(Option::is_none);
    let of_those: Option<u64> = observation
        .go_memory_limits()
        .filter(|(_, _, fact)| without(fact))
        .map(|(process, _, _)| process.memory_held_bytes)
        .sum();
    let matters = of_those.is_none_or(|own| own as f64 >= sample.held_bytes() as f64 * MATTERS);
    let wrong = observation
        .go_memory_limits()
        .filter(|(_, _, fact)| {
            fact.value().is_some_and(|own| match own {
                Some(own) => *own > limit,
                None => matters,
            })
        })
        .max_by_key(|(process, _, _)| process.memory_held_bytes);
    let Some((process, runtime, fact)) = wrong else {
        return Verdict::Clear;
    };
    let held = sample.held_bytes();
    let share = held as f64 / limit.max(1) as f64;
    let own = fact.value().copied().flatten();
    // A program that is far below the limit needs no telling, unless what it was told is wrong.
    if own.is_none() && share < thresholds.gomemlimit_ratio {
        return if share < thresholds.gomemlimit_ratio - 0.1 {
            Verdict::Clear
        } else {
            Verdict::Between
        };
    }
    let recommended = (limit as f64 * HEADROOM) as u64;
    let what = match own {
        Some(own) => format!("has a GOMEMLIMIT of {}", words::bytes(own)),
        None => "has no GOMEMLIMIT".to_owned(),
    };
    let mut evidence = vec![
        ("memory_limit_bytes", Evidence::Count(limit)),
        ("recommended_gomemlimit_bytes", Evidence::Count(recommended)),
        ("memory_held_bytes", Evidence::Count(held)),
        ("process_pid", Evidence::Count(u64::from(process.pid))),
        ("process_command", Evidence::Text(process.command.clone())),
    ];
    evidence.extend(own.map(|own| ("gomemlimit_bytes", Evidence::Count(own))));
    if let Some(basis) = fact.basis() {
        evidence.push(("basis", Evidence::Text(basis.name().to_owned())));
    }
    if let Some(version) = &runtime.version {
        evidence.push(("runtime_version", Evidence::Text(version.clone())));
    }
    Verdict::Holds(Box::new(Finding {
        kind: FindingKind::GomemlimitMissingOrAboveLimit,
        severity: Severity::Warning,
        confidence: if fact.is_exact() {
            Confidence::High
        } else {
            Confidence::Medium
        },
        summary: format!(
            "`{}` (pid {}) {what} under a memory limit of {}, of which {} are in use",
            process.command,
            process.pid,
            words::bytes(limit),
            words::percent(share),
        ),
        evidence,
        recommendation: format!(
            "set GOMEMLIMIT={}MiB, 90 % of the limit, in the container's environment (Go 1.19 or \
             later)",
            recommended >> 20
        ),
    }))
}
