//! Array maps read in place: an interval's reading of many slots takes no system call.

use std::{
    io,
    marker::PhantomData,
    os::fd::AsFd,
    ptr::{NonNull, null_mut},
};

use aya::{Pod, maps::MapData};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// The elements of an array map that was made with `BPF_F_MMAPABLE` (since 5.5), read-only.
///
/// The kernel side goes on writing them: an element is what it was word by word at some moment
/// during the reading.
pub struct MappedArray<T: Pod> {
    first: NonNull<T>,
    length: usize,
    element: PhantomData<T>,
}

// SAFETY: the memory belongs to the mapping, is only read, and stays until the drop.
unsafe impl<T: Pod + Send> Send for MappedArray<T> {}

impl<T: Pod> MappedArray<T> {
    /// Maps the whole array.
    pub fn new(map: &MapData) -> io::Result<Self> {
        // Elements lie at multiples of 8 bytes (`array_map_alloc`, `kernel/bpf/arraymap.c`).
        const { assert!(size_of::<T>().is_multiple_of(8), "elements without gaps") };
        let length = map.info().map_err(io::Error::other)?.max_entries() as usize;
        // SAFETY: a new mapping at an address that the kernel chooses.
        let first = unsafe {
            mmap(
                null_mut(),
                length * size_of::<T>(),
                ProtFlags::READ,
                MapFlags::SHARED,
                map.fd().as_fd(),
                0,
            )?
        };
        let first = NonNull::new(first.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Self {
            first,
            length,
            element: PhantomData,
        })
    }

    /// The element at `index`; `None` beyond the end.
    pub fn get(&self, index: usize) -> Option<T> {
        if index >= self.length {
            return None;
        }
        // SAFETY: within the mapping and aligned; any bytes are a `T`. Volatile, since the kernel
        // writes meanwhile.
        Some(unsafe { self.first.as_ptr().add(index).read_volatile() })
    }
}

impl<T: Pod> Drop for MappedArray<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made, used by nobody else.
        let _ = unsafe { munmap(self.first.as_ptr().cast(), self.length * size_of::<T>()) };
    }
}
