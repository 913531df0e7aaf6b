//! [`Slot::peaks`](crate::maps::Slot::peaks): the epoch, and the most threads that were seen at a time in
//! it, in one word.

const MOST: u32 = u16::MAX as u32;

/// What it becomes when so many run and are runnable in that epoch.
#[inline]
#[must_use]
pub const fn raised(before: u64, epoch: u32, running: u32, runnable: u32) -> u64 {
    let (mut most_running, mut most_runnable) = match of(before, epoch) {
        Some(most) => most,
        None => (0, 0),
    };
    if running > most_running {
        most_running = if running > MOST { MOST } else { running };
    }
    if runnable > most_runnable {
        most_runnable = if runnable > MOST { MOST } else { runnable };
    }
    (epoch as u64) << 32 | (most_runnable as u64) << 16 | most_running as u64
}

/// Most that ran, and that were runnable; `None` where nobody looked in that epoch.
#[inline]
#[must_use]
pub const fn of(peaks: u64, epoch: u32) -> Option<(u32, u32)> {
    if (peaks >> 32) as u32 == epoch {
        Some((peaks as u32 & MOST, peaks as u32 >> 16))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{of, raised};

    #[test]
    fn peaks_are_of_one_epoch() {
        let first = raised(0, 1, 2, 7);
        assert_eq!(of(first, 1), Some((2, 7)));
        assert_eq!(of(first, 2), None);
        let higher = raised(first, 1, 1, 9);
        assert_eq!(of(higher, 1), Some((2, 9)));
        assert_eq!(of(raised(higher, 2, 1, 1), 2), Some((1, 1)));
        let most = raised(0, 1, 1 << 20, u32::MAX);
        assert_eq!(of(most, 1), Some((65_535, 65_535)));
    }
}
