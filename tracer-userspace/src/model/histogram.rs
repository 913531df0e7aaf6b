//! A histogram in the kernel's log-linear buckets, with 64-bit counts.

use tracer_common::log_linear::{BUCKETS, lower_edge, middle, upper_edge};

/// Counts by bucket of [`tracer_common::log_linear`]; values in nanoseconds. Empty ones take no
/// memory for their buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Histogram {
    /// Adds `count` values to `bucket`; buckets beyond the last are taken as the last.
    pub fn add(&mut self, bucket: usize, count: u64) {
        if count == 0 {
            return;
        }
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        if let Some(slot) = self.counts.get_mut(bucket.min(BUCKETS - 1)) {
            *slot = slot.saturating_add(count);
        }
        self.total = self.total.saturating_add(count);
    }

    /// Adds another histogram's counts; exact.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in other.iter() {
            self.add(bucket, count);
        }
    }

    /// Number of values.
    pub const fn count(&self) -> u64 {
        self.total
    }

    /// Whether it has no value.
    pub const fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The buckets that are not empty, lowest first: bucket and count.
    pub fn iter(&self) -> impl Iterator<Item = (usize, u64)> + '_ {
        self.counts
            .iter()
            .copied()
            .enumerate()
            .filter(|&(_, count)| count > 0)
    }

    /// The value in nanoseconds below or at which `quantile` (0 to 1) of all values lie: the middle
    /// of that value's bucket, so at most 1/32 (3.1 %) or 32 ns off. `None` when empty.
    pub fn quantile(&self, quantile: f64) -> Option<u64> {
        let rank = ((quantile.clamp(0.0, 1.0) * self.total as f64).ceil() as u64).max(1);
        let mut seen = 0u64;
        for (bucket, count) in self.iter() {
            seen = seen.saturating_add(count);
            if seen >= rank {
                return Some(middle(bucket as u32));
            }
        }
        None
    }

    /// Upper edge, in nanoseconds, of the highest bucket in use; `None` when empty.
    pub fn max(&self) -> Option<u64> {
        self.iter()
            .last()
            .map(|(bucket, _)| upper_edge(bucket as u32))
    }

    /// Lower edge, in nanoseconds, of the lowest bucket in use; `None` when empty.
    pub fn min(&self) -> Option<u64> {
        self.iter()
            .next()
            .map(|(bucket, _)| lower_edge(bucket as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::log_linear::bucket_of;

    #[test]
    fn an_empty_histogram_has_no_quantile() {
        let empty = Histogram::default();
        assert_eq!(
            (empty.quantile(0.5), empty.min(), empty.max()),
            (None, None, None)
        );
    }

    #[test]
    fn quantiles_are_as_precise_as_stated() {
        let mut histogram = Histogram::default();
        for value in 1..=100_000u64 {
            histogram.add(bucket_of(value * 1_000) as usize, 1);
        }
        for quantile in [0.01, 0.5, 0.9, 0.99, 0.999, 1.0] {
            let exact = quantile * 100_000_000.0;
            let got = histogram.quantile(quantile).unwrap() as f64;
            assert!(
                (got - exact).abs() <= exact / 32.0,
                "{quantile}: {got} for {exact}"
            );
        }
    }

    #[test]
    fn merging_adds_up() {
        let (mut a, mut b) = (Histogram::default(), Histogram::default());
        a.add(3, 5);
        b.add(3, 1);
        b.add(700_000, 2);
        a.merge(&b);
        assert_eq!(a.count(), 8);
        assert_eq!(a.iter().collect::<Vec<_>>(), [(3, 6), (BUCKETS - 1, 2)]);
    }
}
