//! From the kernel's monotonic clock to the wall clock.

use jiff::Timestamp;

/// Distance from CLOCK_MONOTONIC to CLOCK_REALTIME. Whoever measures it decides how often: after a
/// step of the wall clock (NTP, suspend) an old distance dates events by the old clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    offset_ns: i64,
}

impl WallClock {
    /// From `CLOCK_REALTIME - CLOCK_MONOTONIC` in nanoseconds.
    pub const fn from_offset_ns(offset_ns: i64) -> Self {
        Self { offset_ns }
    }

    /// Nanoseconds since the Unix epoch at a monotonic time in nanoseconds.
    pub const fn unix_ns(self, monotonic_ns: u64) -> i64 {
        self.offset_ns.saturating_add_unsigned(monotonic_ns)
    }

    /// UTC time at a monotonic time in nanoseconds.
    pub fn at(self, monotonic_ns: u64) -> Timestamp {
        // An i64 of nanoseconds spans 1677 to 2262, which a `Timestamp` always holds.
        Timestamp::from_nanosecond(i128::from(self.unix_ns(monotonic_ns))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distance_is_added_to_the_nanosecond() {
        let clock = WallClock::from_offset_ns(1_700_000_000_000_000_000);
        assert_eq!(
            format!("{:.9}", clock.at(1_000_000_007)),
            "2023-11-14T22:13:21.000000007Z"
        );
    }

    #[test]
    fn times_out_of_range_stay_in_range() {
        let clock = WallClock::from_offset_ns(i64::MAX);
        assert_eq!(
            format!("{:.9}", clock.at(u64::MAX)),
            "2262-04-11T23:47:16.854775807Z"
        );
    }
}
