//! Reads of kernel memory.
//!
//! There are two ways. [`direct`] compiles to one load; the verifier checks offset and size against
//! the kernel's own BTF and lets a fault read as 0. It is for chains that start at an argument of a
//! tp_btf program, on the path of every context switch. [`checked`] calls a helper that cannot
//! fault, and works with any address; it is for everything else.
//!
//! Trap: the verifier takes the arguments of a tp_btf program for valid and does not guard the
//! first load. An argument that can be NULL (the `csd` of `csd_function_entry`) must be read by
//! [`checked`].

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tracer_common::counters::FAILED_READ;

use crate::emit::count;

/// One load, checked by the verifier.
pub mod direct {
    macro_rules! loads {
        ($($name:ident: $ty:ty),+) => {
            $(
                /// Loads at `base + offset`.
                #[inline(always)]
                pub fn $name(base: u64, offset: u32) -> $ty {
                    // SAFETY: the verifier accepts the program only if `base` is a pointer to a
                    // kernel struct that has this many bytes at `offset`; a fault reads as 0.
                    unsafe { ((base + u64::from(offset)) as *const $ty).read_volatile() }
                }
            )+
        };
    }
    loads!(u8: u8, u32: u32, u64: u64);
}

/// Reads that cannot fault, whatever the address.
pub mod checked {
    use super::{FAILED_READ, bpf_probe_read_kernel, count};

    /// Reads a `T` at `base + offset`; `T` must be an integer or an array of integers.
    #[inline(always)]
    pub fn read<T: Copy + Default>(base: u64, offset: u32) -> T {
        // SAFETY: the helper copies kernel memory and reports a fault instead of taking it; every
        // bit pattern is a `T`.
        match unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) } {
            Ok(value) => value,
            Err(_) => {
                count(FAILED_READ);
                T::default()
            }
        }
    }
}
