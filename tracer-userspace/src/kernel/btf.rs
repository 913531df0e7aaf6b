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
use std::ops::Range;

pub use error::BtfError;
pub(super) use error::optional;
pub use query::{Member, TypeId};

/// Where the kernel shows its own BTF.
pub const SYSFS_PATH: &str = "/sys/kernel/btf/vmlinux";

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
    /// Hash of the name and id of every struct, union, enum, typedef and function, sorted.
    names: Vec<(u32, u32)>,
}

impl Btf<'static> {
    /// Reads the running kernel's BTF (some 6 MB, freed when dropped).
    pub fn from_sysfs() -> Result<Self, BtfError> {
        let bytes = std::fs::read(SYSFS_PATH).map_err(|source| BtfError::Read {
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
