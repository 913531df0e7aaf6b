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
    use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
    use core::mem::MaybeUninit;
    use tracer_common::counters::FAILED_READ;

    use crate::emit::count_by;

    /// Reads a `T` at `base + offset`; `T` must be an integer or an array of integers. A read that
    /// fails is counted and gives 0.
    #[inline(always)]
    pub fn read<T: Copy>(base: u64, offset: u32) -> T {
        let mut value = MaybeUninit::<T>::uninit();
        // SAFETY: the helper writes `T`'s bytes, zeros where the address faults; every bit pattern
        // is a `T`.
        unsafe {
            let result = bpf_probe_read_kernel(
                value.as_mut_ptr().cast(),
                size_of::<T>() as u32,
                (base + u64::from(offset)) as *const _,
            );
            count_by(FAILED_READ, result as u64 >> 63);
            value.assume_init()
        }
    }
}
