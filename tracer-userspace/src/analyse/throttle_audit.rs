//! Our account of throttled time against the kernel's.
//!
//! The kernel adds to `throttled_time` when an interval ends, and so do we. What its account has
//! grown by and ours has not, for longer than two readings can be apart, ended where no program
//! could see it; it is told and not hidden.

/// Difference below which nothing is said: two readings are not taken at one instant.
const NOISE_NS: u64 = 2_000_000;

/// The two accounts of one cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThrottleAudit {
    started: bool,
    kernel_at_start: u64,
    ours_at_start: u64,
    /// What was missing at the last reading.
    missing_before: u64,
    /// What was told so far.
    told: u64,
}

impl ThrottleAudit {
    /// Takes both accounts, in nanoseconds since whenever, and returns what was found missing in
    /// ours since the last call.
    pub fn reading(&mut self, kernel_ns: u64, ours_ns: u64) -> u64 {
        if !self.started {
            *self = Self {
                started: true,
                kernel_at_start: kernel_ns,
                ours_at_start: ours_ns,
                ..Self::default()
            };
            return 0;
        }
        let kernel = kernel_ns.saturating_sub(self.kernel_at_start);
        let ours = ours_ns.saturating_sub(self.ours_at_start);
        let missing = kernel.saturating_sub(ours);
        // What is missing in both readings is not an interval that ended between two of them.
        let lasting = missing.min(self.missing_before);
        self.missing_before = missing;
        let new = lasting.saturating_sub(self.told);
        if new < NOISE_NS {
            return 0;
        }
        self.told = lasting;
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn equal_accounts_miss_nothing_however_they_began() {
        let mut audit = ThrottleAudit::default();
        assert_eq!(audit.reading(900 * MS, 0), 0);
        assert_eq!(audit.reading(950 * MS, 50 * MS), 0);
        assert_eq!(audit.reading(1000 * MS, 100 * MS), 0);
    }

    #[test]
    fn what_is_missing_twice_is_told_once() {
        let mut audit = ThrottleAudit::default();
        audit.reading(0, 0);
        assert_eq!(audit.reading(100 * MS, 10 * MS), 0, "may be under way");
        assert_eq!(audit.reading(200 * MS, 110 * MS), 90 * MS);
        assert_eq!(audit.reading(300 * MS, 210 * MS), 0);
    }

    #[test]
    fn an_interval_that_was_under_way_is_not_missing() {
        let mut audit = ThrottleAudit::default();
        audit.reading(0, 0);
        assert_eq!(audit.reading(100 * MS, 10 * MS), 0);
        assert_eq!(audit.reading(200 * MS, 200 * MS), 0);
    }
}
