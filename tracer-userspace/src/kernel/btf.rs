//! Reader of the running kernel's BTF: where a member lies, what a function or tracepoint takes.
//!
//! Only what the plan asks for is decoded: parsing makes one pass that notes where each type
//! begins and a sorted list of name hashes; everything else is read from the bytes on demand. The
//! format is that of `include/uapi/linux/btf.h`. Nothing in the bytes is trusted: reads are
//! checked, chains of types are followed for a bounded number of steps.

mod error;
mod query;
mod raw;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod writer;

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::ops::Range;

pub use error::BtfError;
pub(super) use error::optional;
pub use query::{Member, TypeId};

/// Where the kernel shows its own BTF.
pub const SYSFS_PATH: &str = "/sys/kernel/btf/vmlinux";

/// Room for the file. Blocks above 32 MiB go back to the kernel when they are freed, and glibc
/// does not take them as a reason to keep blocks of their size from then on
/// (`M_MMAP_THRESHOLD`, mallopt(3)); what is not filled takes no memory.
const ROOM: usize = 33 << 20;

/// A kernel's types.
#[derive(Debug)]
pub struct Btf<'a> {
    bytes: Cow<'a, [u8]>,
    /// The type section within `bytes`.
    types: Range<usize>,
    /// The string section within `bytes`; ends with a NUL.
    strings: Range<usize>,
    /// Where each type begins, counted from the type section; index 0 is `void` and unused.
    offsets: Vec<u32>,
    /// Hash of the name and id of every struct, union, enum and typedef, sorted. Functions are
    /// three quarters of all names and seldom asked for: they are looked for one by one.
    names: Vec<(u32, u32)>,
}

impl Btf<'static> {
    /// Reads the running kernel's BTF (some 6 MB, freed when dropped).
    pub fn from_sysfs() -> Result<Self, BtfError> {
        let mut bytes = Vec::with_capacity(ROOM);
        File::open(SYSFS_PATH)
            .and_then(|mut file| file.read_to_end(&mut bytes))
            .map_err(|source| BtfError::Read {
                path: SYSFS_PATH.into(),
                source,
            })?;
        Self::new(Cow::Owned(bytes))
    }
}

impl<'a> Btf<'a> {
    /// Reads the BTF in `bytes`, which must be of this machine's byte order.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BtfError> {
        Self::new(Cow::Borrowed(bytes))
    }

    /// Number of types, `void` not counted.
    pub fn len(&self) -> usize {
        self.offsets.len().saturating_sub(1)
    }

    /// Whether there is no type at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
