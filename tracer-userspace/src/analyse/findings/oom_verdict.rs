//! At an OOM kill: was it a leak or a spike, by the memory of the last minutes?

use super::{
    Thresholds,
    history::{MemoryHistory, grown_most},
    memory_leak, words,
};
use crate::model::{
    identity::Identity,
    oom::{OomLimit, OomVerdict, Verdict},
};

/// A leak explains the kill if its slope reaches at least this share of the limit by the time of
/// the kill.
const EXPLAINS: f64 = 0.85;
/// What is known of a kill this soon after the last sample goes on in a straight line; a kill later
/// than that cannot be judged by it. Nanoseconds.
const STALE_NS: u64 = 60_000_000_000;

/// The limit that was reached.
#[derive(Clone, Copy, Debug)]
pub struct Reached<'a> {
    /// Bytes.
    pub bytes: u64,
    /// What else than the memory of the samples counts against it, if anything.
    pub shared: Option<&'a str>,
}

/// Judges by the samples from before the kill, which was at `kill_ns`. A leak that leads to the limit
/// explains the kill in any case. That the rest came at once can only be said where nothing else
/// counts against the limit.
pub fn judge(
    history: &MemoryHistory,
    kill_ns: u64,
    reached: Option<Reached<'_>>,
    thresholds: &Thresholds,
) -> OomVerdict {
    let mut verdict = judge_alone(history, kill_ns, reached.map(|it| it.bytes), thresholds);
    if let Some(shared) = reached.and_then(|it| it.shared)
        && verdict.verdict == Verdict::Spike
    {
        verdict.verdict = Verdict::Unknown;
        verdict.part = None;
        verdict.bytes_per_second = None;
        verdict.grown_bytes = None;
        verdict.window_ns = None;
        verdict.explanation = format!("neither can be told: {shared} counts against the limit too");
        "look at the largest processes".clone_into(&mut verdict.recommendation);
    }
    verdict
}

/// What to do where several share the limit that was reached; `None` where the victim's own container
/// has most of it.
pub fn advice_for_shared(limit: &OomLimit, victim: &Identity) -> Option<String> {
    let shares = limit.shares.as_ref()?;
    let half = limit.usage_bytes / 2;
    if let Some(rest) = shares.rest_bytes.filter(|rest| *rest >= half) {
        return Some(format!(
            "{} are charged to no container that lives: look for files in memory (tmpfs, an emptyDir with \
             medium Memory) that one has left behind, and bound them (sizeLimit)",
            words::bytes(rest)
        ));
    }
    let first = shares.largest.first()?;
    let below = victim.cgroup_path.strip_prefix(&*first.who.cgroup_path);
    let is_own = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if first.bytes < half || is_own {
        return None;
    }
    Some(format!(
        "look at {}, which uses {} of it: a limit of its own would have made it the victim",
        first.who.display_name(),
        words::bytes(first.bytes)
    ))
}

fn judge_alone(
    history: &MemoryHistory,
    kill_ns: u64,
    limit_bytes: Option<u64>,
    thresholds: &Thresholds,
) -> OomVerdict {
    let mut before = MemoryHistory::default();
    for sample in history.iter().filter(|sample| sample.at_ns <= kill_ns) {
        before.add(*sample);
    }
    let samples = before
        .iter()
        .map(|sample| (kill_ns - sample.at_ns, sample.held_bytes()))
        .collect();
    let verdict = |verdict, part, explanation, recommendation| OomVerdict {
        verdict,
        part,
        bytes_per_second: None,
        grown_bytes: None,
        window_ns: None,
        samples,
        explanation,
        recommendation,
    };
    let (Some(limit), Some(last)) = (limit_bytes, before.last()) else {
        let explanation = if limit_bytes.is_none() {
            "no limit was reached"
        } else {
            "its memory was not seen before: it lived, or was watched, for less than an interval"
        };
        return verdict(
            Verdict::Unknown,
            None,
            explanation.to_owned(),
            "look at the largest processes".to_owned(),
        );
    };
    let since = kill_ns - last.at_ns;
    let growth = before.growth(
        thresholds.leak_window_ns(),
        (limit as f64 * thresholds.leak_growth_ratio) as u64,
        thresholds.leak_steadiness,
    );
    if let Some(growth) = growth.filter(|_| since <= STALE_NS) {
        let reached = growth.to_bytes as f64 + growth.slope.per_second * since as f64 / 1e9;
        if reached >= limit as f64 * EXPLAINS {
            let window = growth.window_ns as f64 / 1e9;
            let text = format!(
                "a leak: memory that cannot be given back grew steadily by {} in {} ({}), most of \
                 it {}",
                words::bytes(growth.to_bytes - growth.from_bytes),
                words::seconds(window),
                words::rate(growth.slope.per_second),
                growth.part.name(),
            );
            let mut made = verdict(
                Verdict::Leak,
                Some(growth.part),
                text,
                memory_leak::advice(growth.part).to_owned(),
            );
            made.bytes_per_second = Some(growth.slope.per_second);
            made.grown_bytes = Some(growth.to_bytes - growth.from_bytes);
            made.window_ns = Some(growth.window_ns);
            return made;
        }
    }
    // What is missing to the limit came after the lowest point of the last moments.
    let window = thresholds.spike_window_ns();
    let from = before
        .iter()
        .filter(|sample| kill_ns - sample.at_ns <= window.max(since))
        .min_by_key(|sample| sample.held_bytes())
        .unwrap_or(last);
    let rise = limit.saturating_sub(from.held_bytes());
    let took = kill_ns - from.at_ns;
    let seconds = took as f64 / 1e9;
    if (rise as f64) < limit as f64 * thresholds.spike_ratio {
        return verdict(
            Verdict::Unknown,
            None,
            format!(
                "neither: {} of {} were held already {} before, without a steady growth",
                words::bytes(from.held_bytes()),
                words::bytes(limit),
                words::seconds(seconds),
            ),
            format!(
                "it runs close to its limit: raise the memory limit to {}, or bound what it keeps",
                words::bytes((limit + limit / 4).next_multiple_of(1 << 20))
            ),
        );
    }
    let part = (from.at_ns < last.at_ns).then(|| grown_most(from, last).0);
    let mut made = verdict(
        Verdict::Spike,
        part,
        format!(
            "a spike: {} were held {} before, and {} more were taken since",
            words::bytes(from.held_bytes()),
            words::seconds(seconds),
            words::bytes(rise),
        ),
        format!(
            "bound what one request or batch may take, or leave room for it: a limit of at least \
             {} would be needed",
            words::bytes((limit + rise / 4).next_multiple_of(1 << 20))
        ),
    );
    made.grown_bytes = Some(rise);
    made.window_ns = Some(took);
    made.bytes_per_second = (seconds > 0.0).then(|| rise as f64 / seconds);
    made
}
