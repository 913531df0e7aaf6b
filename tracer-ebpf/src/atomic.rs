//! Atomic additions without a result, which is what every kernel's BPF has.
//!
//! The standard library offers no `fetch_add` for this target, since BPF got the one that returns
//! the old value only in 5.12. The intrinsic behind it is compiled to the old instruction as long
//! as nobody looks at its result.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds `by` to the word at `word`, wrapping.
///
/// # Safety
///
/// `word` must be an aligned word of a map's element that is only ever changed atomically.
#[inline(always)]
pub unsafe fn add_u32(word: *mut u32, by: u32) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::Relaxed }>(word, by) };
}

/// Adds `by` to the word at `word`, wrapping.
///
/// # Safety
///
/// As for [`add_u32`].
#[inline(always)]
pub unsafe fn add_u64(word: *mut u64, by: u64) {
    // SAFETY: the caller's promise.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(word, by) };
}
