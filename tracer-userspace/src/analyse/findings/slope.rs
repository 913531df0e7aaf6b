//! Robust slopes: Theil–Sen, and how steadily values rise (Kendall).

/// A rise over time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// Median of the slopes of all pairs, in units of the value a second (Theil 1950, Sen 1968). A
    /// quarter of all values and more may be off without moving it far.
    pub per_second: f64,
    /// Pairs that rise minus pairs that fall, as a share of all pairs (Kendall's tau-a): 1 where
    /// each value is above the one before, 0 where there is no direction.
    pub steadiness: f64,
}

/// The slope of values at times in nanoseconds, which must rise; `None` for fewer than three.
pub fn theil_sen(values: &[(u64, u64)]) -> Option<Slope> {
    if values.len() < 3 {
        return None;
    }
    let mut slopes = Vec::with_capacity(values.len() * (values.len() - 1) / 2);
    let (mut up, mut down) = (0i64, 0i64);
    for (index, &(later, high)) in values.iter().enumerate() {
        for &(earlier, low) in &values[..index] {
            let seconds = later.checked_sub(earlier).filter(|ns| *ns > 0)? as f64 / 1e9;
            slopes.push((high as f64 - low as f64) / seconds);
            up += i64::from(high > low);
            down += i64::from(high < low);
        }
    }
    let pairs = slopes.len();
    let middle = pairs / 2;
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    Some(Slope {
        per_second: *median,
        steadiness: (up - down) as f64 / pairs as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64, value: u64) -> (u64, u64) {
        (seconds * 1_000_000_000, value)
    }

    #[test]
    fn outliers_do_not_move_it() {
        let mut values: Vec<_> = (0..20).map(|s| at(s, 1000 + 50 * s)).collect();
        values[3].1 = 90_000;
        values[11].1 = 0;
        let slope = theil_sen(&values).unwrap();
        assert!((slope.per_second - 50.0).abs() < 0.5, "{slope:?}");
        assert!(slope.steadiness > 0.7, "{slope:?}");
    }

    #[test]
    fn a_saw_tooth_has_no_direction() {
        let values: Vec<_> = (0..40).map(|s| at(s, 100 * (s % 8))).collect();
        assert!(theil_sen(&values).unwrap().steadiness.abs() < 0.2);
        assert_eq!(theil_sen(&[at(1, 1), at(2, 2)]), None);
        assert_eq!(theil_sen(&[at(1, 1), at(1, 2), at(2, 2)]), None);
    }

    proptest! {
        #[test]
        fn a_line_has_its_own_slope(start in 0u64..1 << 40, step in 0u64..1 << 30, n in 3usize..60) {
            let values: Vec<_> = (0..n as u64).map(|s| at(s, start + step * s)).collect();
            let slope = theil_sen(&values).unwrap();
            prop_assert!((slope.per_second - step as f64).abs() <= step as f64 * 1e-9);
            let steady = if step > 0 { 1.0 } else { 0.0 };
            prop_assert!((slope.steadiness - steady).abs() < 1e-9);
        }
    }
}
