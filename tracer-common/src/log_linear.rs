//! The buckets of the in-kernel histograms: one definition for both sides.
//!
//! Values are nanoseconds. The unit is 64 ns; below 16 units (1,024 ns) buckets are one unit
//! wide, above that every power of two is cut into 16 equal parts. So a bucket is never wider than
//! 64 ns or 1/16 (6.25 %) of its lower edge, whichever is more. Values from 2^38 ns (275 s) on
//! share the last bucket.

/// Shift from nanoseconds to units.
pub const UNIT_SHIFT: u32 = 6;
/// Log2 of the parts into which a power of two is cut.
pub const PARTS_SHIFT: u32 = 4;
/// Parts into which a power of two is cut.
pub const PARTS: u32 = 1 << PARTS_SHIFT;
/// Log2 of the first value, in units, that only the last bucket holds.
const TOP_SHIFT: u32 = 32;
/// Number of buckets.
pub const BUCKETS: usize = ((TOP_SHIFT - PARTS_SHIFT + 1) * PARTS) as usize;

/// Relative width of a bucket from 1,024 ns on.
pub const RELATIVE_WIDTH: f64 = 1.0 / PARTS as f64;

/// Bucket of a value in nanoseconds. Always less than [`BUCKETS`].
///
/// Written with comparisons instead of `leading_zeros`, which becomes some forty instructions on
/// BPF.
#[inline]
pub const fn bucket_of(value_ns: u64) -> u32 {
    let units = value_ns >> UNIT_SHIFT;
    if units >= 1 << TOP_SHIFT {
        return BUCKETS as u32 - 1;
    }
    let mut rest = units as u32;
    if rest < PARTS {
        return rest;
    }
    let mut log2 = 0;
    if rest >= 1 << 16 {
        rest >>= 16;
        log2 += 16;
    }
    if rest >= 1 << 8 {
        rest >>= 8;
        log2 += 8;
    }
    if rest >= 1 << 4 {
        rest >>= 4;
        log2 += 4;
    }
    if rest >= 1 << 2 {
        rest >>= 2;
        log2 += 2;
    }
    if rest >= 1 << 1 {
        log2 += 1;
    }
    let shift = log2 - PARTS_SHIFT;
    // `units >> shift` lies in PARTS..2*PARTS, so octave 0 continues the linear part.
    shift * PARTS + (units as u32 >> shift)
}

/// Lowest value in nanoseconds that falls into `bucket`.
pub const fn lower_edge(bucket: u32) -> u64 {
    if bucket < PARTS {
        return (bucket as u64) << UNIT_SHIFT;
    }
    let shift = bucket / PARTS - 1;
    let part = (bucket % PARTS + PARTS) as u64;
    part << shift << UNIT_SHIFT
}

/// Highest value in nanoseconds that falls into `bucket`; the last bucket has none and gives the
/// edge that it would have.
pub const fn upper_edge(bucket: u32) -> u64 {
    lower_edge(bucket + 1) - 1
}

/// Value that stands for all values of `bucket`: its middle.
pub const fn middle(bucket: u32) -> u64 {
    let low = lower_edge(bucket);
    low + (upper_edge(bucket) - low) / 2
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_are_dense_and_in_order() {
        for bucket in 0..BUCKETS as u32 {
            assert_eq!(
                bucket_of(lower_edge(bucket)),
                bucket,
                "lower edge of {bucket}"
            );
            assert_eq!(
                bucket_of(upper_edge(bucket)),
                bucket,
                "upper edge of {bucket}"
            );
            if bucket > 0 {
                assert_eq!(upper_edge(bucket - 1) + 1, lower_edge(bucket));
            }
        }
        assert_eq!(
            upper_edge(BUCKETS as u32 - 1),
            (1 << (TOP_SHIFT + UNIT_SHIFT)) - 1
        );
    }

    #[test]
    fn the_last_bucket_takes_all_that_is_larger() {
        assert_eq!(bucket_of(1 << (TOP_SHIFT + UNIT_SHIFT)), BUCKETS as u32 - 1);
        assert_eq!(bucket_of(u64::MAX), BUCKETS as u32 - 1);
    }

    proptest! {
        #[test]
        fn a_value_lies_between_its_buckets_edges(value in 0u64..1 << 38) {
            let bucket = bucket_of(value);
            prop_assert!((bucket as usize) < BUCKETS);
            prop_assert!(lower_edge(bucket) <= value && value <= upper_edge(bucket));
        }

        #[test]
        fn a_bucket_is_as_narrow_as_stated(value in 0u64..1 << 38) {
            let bucket = bucket_of(value);
            let width = upper_edge(bucket) - lower_edge(bucket) + 1;
            let allowed = (value as f64 * RELATIVE_WIDTH).max((1 << UNIT_SHIFT) as f64);
            prop_assert!(width as f64 <= allowed, "{} is {} wide", value, width);
        }

        #[test]
        fn larger_values_never_fall_into_lower_buckets(a in any::<u64>(), b in any::<u64>()) {
            let (low, high) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(bucket_of(low) <= bucket_of(high));
        }
    }
}
