//! What can be wrong with BTF, or missing from it.

use std::io;
use std::path::PathBuf;

/// Why BTF could not be read, or what it does not hold.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error("cannot read the kernel's BTF from {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The magic number is that of the other byte order.
    #[error("the BTF is of the other byte order, so it is another machine's")]
    ForeignByteOrder,
    /// There is another magic number.
    #[error("this is no BTF: it begins with {0:#06x} instead of 0xeb9f")]
    Magic(u16),
    /// Only version 1 exists.
    #[error("BTF of version {0}, but only version 1 is known")]
    Version(u8),
    /// Something lies outside of the bytes.
    #[error("damaged BTF: {what} at byte {offset} lies outside of it")]
    Truncated {
        /// What was to be read.
        what: &'static str,
        /// Where, counted from the section it is in.
        offset: usize,
    },
    /// A kind that is not known, and whose size the BTF does not tell.
    #[error("BTF type {id} is of the unknown kind {kind}")]
    UnknownKind {
        /// The type.
        id: u32,
        /// Its kind.
        kind: u32,
    },
    /// A type id beyond the last type.
    #[error("damaged BTF: type {0} is referred to but does not exist")]
    NoType(u32),
    /// A chain of types, or a nest of structs, that no kernel has.
    #[error("damaged BTF: types at {0} are nested too deeply or in a circle")]
    TooDeep(u32),
    /// An offset or size that does not fit into 32 bits.
    #[error("damaged BTF: an offset or size of type {0} is too large")]
    TooLarge(u32),
    /// A type of another kind than is needed.
    #[error("BTF type {id} is no {wanted}")]
    WrongKind {
        /// The type.
        id: u32,
        /// What was needed.
        wanted: &'static str,
    },
    /// Nothing has this name.
    #[error("this kernel has no {kind} `{name}`")]
    NotFound {
        /// What was looked for.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// A struct or enum has no such member.
    #[error("`{parent}` of this kernel has no `{member}`")]
    NoMember {
        /// The struct or enum.
        parent: String,
        /// The member.
        member: String,
    },
}

impl BtfError {
    /// Whether the BTF is fine and just lacks what was asked for.
    pub const fn is_absence(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::NoMember { .. })
    }
}

/// `Ok(None)` where the thing is just not there; an error only for damaged BTF.
pub(in crate::kernel) fn optional<T>(result: Result<T, BtfError>) -> Result<Option<T>, BtfError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_absence() => Ok(None),
        Err(error) => Err(error),
    }
}
