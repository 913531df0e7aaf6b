//! A container's memory over the last minutes, bounded, and what its growth looks like.

use std::collections::VecDeque;

use super::slope::{Slope, theil_sen};
use crate::model::limits::{MemoryPart, MemorySample};

/// Samples that are kept of each container: ten minutes at an interval of ten seconds.
const KEPT: usize = 60;
/// Fewest samples of a steady growth.
const FEWEST: usize = 5;
/// Every later growth must be above what was there before by this share, so that the upward half of
/// a saw-tooth is none.
const ABOVE_BEFORE: f64 = 1.1;
/// The last third must grow at least by this share of the whole slope, so that a start that settles
/// is none.
const STILL_GROWING: f64 = 0.5;

/// The last samples, oldest first.
#[derive(Clone, Debug, Default)]
pub struct MemoryHistory {
    samples: VecDeque<MemorySample>,
}

/// A steady growth of what cannot be given back.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Growth {
    /// Its slope, in bytes a second.
    pub slope: Slope,
    /// Over how long, in nanoseconds.
    pub window_ns: u64,
    /// From how many bytes.
    pub from_bytes: u64,
    /// To how many bytes.
    pub to_bytes: u64,
    /// The part that grew most.
    pub part: MemoryPart,
    /// What that part grew by, in bytes.
    pub part_bytes: u64,
    /// Samples that it rests on.
    pub samples: usize,
    /// Whether there is a time before it to compare with.
    pub has_before: bool,
}

impl MemoryHistory {
    /// Adds a sample; one that is not later than the last is dropped.
    pub fn add(&mut self, sample: MemorySample) {
        if self
            .samples
            .back()
            .is_some_and(|last| last.at_ns >= sample.at_ns)
        {
            return;
        }
        if self.samples.len() == KEPT {
            self.samples.pop_front();
        }
        self.samples.push_back(sample);
    }

    /// The last one.
    pub fn last(&self) -> Option<&MemorySample> {
        self.samples.back()
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &MemorySample> + ExactSizeIterator {
        self.samples.iter()
    }

    /// A steady growth up to the last sample over at least `window_ns`, of at least `least_bytes`;
    /// over the whole history if that shows it, else over a shorter time. `steady` is the least
    /// [`Slope::steadiness`].
    pub fn growth(&self, window_ns: u64, least_bytes: u64, steady: f64) -> Option<Growth> {
        let last = self.last()?;
        let mut windows = vec![u64::MAX, window_ns.saturating_mul(3), window_ns];
        windows.dedup();
        windows
            .into_iter()
            .find_map(|window| self.growth_within(last, window, window_ns, least_bytes, steady))
    }

    fn growth_within(
        &self,
        last: &MemorySample,
        window_ns: u64,
        shortest_ns: u64,
        least_bytes: u64,
        steady: f64,
    ) -> Option<Growth> {
        // The sample at or before the window's start belongs to it.
        let begin = last.at_ns.saturating_sub(window_ns);
        let first = self
            .samples
            .iter()
            .rposition(|sample| sample.at_ns <= begin)
            .unwrap_or(0);
        let points: Vec<(u64, u64)> = self
            .samples
            .range(first..)
            .map(|sample| (sample.at_ns, sample.held_bytes()))
            .collect();
        let (&(start_ns, from_bytes), &(end_ns, to_bytes)) = (points.first()?, points.last()?);
        if points.len() < FEWEST || end_ns - start_ns < shortest_ns {
            return None;
        }
        let slope = theil_sen(&points).filter(|slope| slope.steadiness >= steady)?;
        let third = points.len() - (points.len() / 3).max(3);
        let lately = theil_sen(&points[third..])?;
        let highest_before = self
            .samples
            .range(..first)
            .map(MemorySample::held_bytes)
            .max();
        let above =
            highest_before.is_none_or(|highest| to_bytes as f64 >= highest as f64 * ABOVE_BEFORE);
        let grows = slope.per_second > 0.0
            && to_bytes.saturating_sub(from_bytes) >= least_bytes
            && lately.per_second >= slope.per_second * STILL_GROWING;
        if !above || !grows {
            return None;
        }
        let (part, part_bytes) = grown_most(self.samples.get(first)?, last);
        Some(Growth {
            slope,
            window_ns: end_ns - start_ns,
            from_bytes,
            to_bytes,
            part,
            part_bytes,
            samples: points.len(),
            has_before: highest_before.is_some(),
        })
    }

    /// Whether it grows steadily and goes on to, by at least so many samples of the last `window_ns`
    /// that this can be told.
    pub fn is_even(&self, window_ns: u64, steady: f64) -> bool {
        let even = |last| self.growth_within(last, window_ns, 0, 0, steady);
        self.last().and_then(even).is_some()
    }

    /// The rise within the last `window_ns` from its lowest point, the latest of several, to the last
    /// sample: both ends. `None` without a rise.
    pub fn rise(&self, window_ns: u64) -> Option<(&MemorySample, &MemorySample)> {
        let last = self.last()?;
        let begin = last.at_ns.saturating_sub(window_ns);
        let lowest = self
            .samples
            .iter()
            .rev()
            .filter(|sample| sample.at_ns >= begin)
            .min_by_key(|sample| sample.held_bytes())?;
        (lowest.held_bytes() < last.held_bytes()).then_some((lowest, last))
    }
}

/// Which part grew most from one sample to another, and by how much.
pub fn grown_most(from: &MemorySample, to: &MemorySample) -> (MemoryPart, u64) {
    let grown = |part| to.part(part).saturating_sub(from.part(part));
    MemoryPart::ALL
        .into_iter()
        .map(|part| (part, grown(part)))
        .max_by_key(|(_, bytes)| *bytes)
        .unwrap_or((MemoryPart::Anon, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const MIB: u64 = 1 << 20;

    fn history(step_s: u64, held_mib: impl IntoIterator<Item = u64>) -> MemoryHistory {
        let mut history = MemoryHistory::default();
        for (index, mib) in held_mib.into_iter().enumerate() {
            history.add(MemorySample {
                at_ns: (index as u64 + 1) * step_s * SECOND,
                current_bytes: (mib + 50) * MIB,
                anon_bytes: mib * MIB,
                file_bytes: 50 * MIB,
                ..MemorySample::default()
            });
        }
        history
    }

    fn grows(history: &MemoryHistory) -> Option<Growth> {
        history.growth(40 * SECOND, 4 * MIB, 0.8)
    }

    #[test]
    fn a_leak_is_seen_after_forty_seconds() {
        let leak: Vec<u64> = (0..5).map(|index| 20 + 10 * index).collect();
        assert_eq!(grows(&history(10, leak[..4].iter().copied())), None);
        let growth = grows(&history(10, leak)).unwrap();
        assert!((growth.slope.per_second - MIB as f64).abs() < 1.0);
        assert_eq!(
            (growth.part, growth.part_bytes),
            (MemoryPart::Anon, 40 * MIB)
        );
        assert!(!growth.has_before);
    }

    #[test]
    fn what_settles_or_goes_back_is_no_growth() {
        assert_eq!(
            grows(&history(10, [20, 60, 90, 92, 92, 93, 93, 93])),
            None,
            "a start"
        );
        let saw = (0..40).map(|index| 50 + 12 * (index % 8));
        for length in 9..40 {
            assert_eq!(
                grows(&history(10, saw.clone().take(length))),
                None,
                "{length}"
            );
        }
        assert_eq!(grows(&history(10, [90; 20])), None);
    }

    #[test]
    fn a_leak_after_a_calm_time_is_seen() {
        let calm = std::iter::repeat_n(40, 30).chain((1..6).map(|index| 40 + 10 * index));
        let growth = grows(&history(10, calm)).unwrap();
        assert!(growth.has_before);
        assert!(growth.window_ns <= 120 * SECOND, "{growth:?}");
    }

    #[test]
    fn it_is_bounded_and_in_order() {
        let mut history = history(1, 0..500);
        assert_eq!(history.iter().len(), KEPT);
        history.add(MemorySample::default());
        assert_eq!(history.last().unwrap().held_bytes(), 499 * MIB);
        let (from, _) = history.rise(10 * SECOND).unwrap();
        assert_eq!(from.held_bytes(), 489 * MIB);
    }
}
