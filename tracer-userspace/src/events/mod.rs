//! Bytes of a ring buffer to records: checked for length and tag before anything is read.
//!
//! One file per record turns it into what the rest of the program speaks of. What does not fit is
//! an error that the caller counts, never a panic.

mod cgroup_lifecycle;
mod kill_signal;
mod oom_command_line;
mod oom_kill;
mod throttle_interval;

pub use cgroup_lifecycle::{CgroupEvent, CgroupOperation};
pub use kill_signal::SentKill;
pub use oom_command_line::CommandLine;
pub use oom_kill::{Constraint, Kill, KillControl, KillLevel, KillPages, KillProcess};
pub use throttle_interval::{Interval, source_name as throttle_source_name};

use bytes::Buf;
use thiserror::Error;
use tracer_common::{
    header::RecordHeader,
    records::{
        KIND_CGROUP_LIFECYCLE, KIND_KILL_SIGNAL, KIND_OOM_COMMAND_LINE, KIND_OOM_KILL,
        KIND_THROTTLE_INTERVAL, KillSignal, OomKill, ThrottleInterval, min_size,
    },
};

/// A record, decoded.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// See [`Kill`].
    OomKill(Box<Kill>),
    /// See [`CommandLine`].
    OomCommandLine(CommandLine),
    /// See [`SentKill`].
    Kill(SentKill),
    /// See [`Interval`].
    Throttle(Interval),
    /// See [`CgroupEvent`].
    Cgroup(CgroupEvent),
}

/// Why bytes are no record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Shorter than any record.
    #[error("{0} bytes are too few for a record's header")]
    NoHeader(usize),
    /// Of a kind that this version does not know.
    #[error("a record of the unknown kind {0}")]
    UnknownKind(u32),
    /// Shorter than its kind needs, or than it says itself.
    #[error("a record of kind {kind} with {got} bytes, {needed} are needed")]
    TooShort {
        /// Its kind.
        kind: u32,
        /// Bytes that are needed.
        needed: usize,
        /// Bytes that are there.
        got: usize,
    },
    /// A member has a value that it cannot have.
    #[error("a record of kind {kind} with the impossible {member} {value}")]
    Impossible {
        /// Its kind.
        kind: u32,
        /// The member.
        member: &'static str,
        /// Its value.
        value: u64,
    },
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    let header = header(bytes)?;
    let needed = min_size(header.kind).ok_or(DecodeError::UnknownKind(header.kind))?;
    let needed = needed.max(header.size as usize);
    if bytes.len() < needed {
        return Err(DecodeError::TooShort {
            kind: header.kind,
            needed,
            got: bytes.len(),
        });
    }
    match header.kind {
        KIND_OOM_KILL => Ok(Record::OomKill(oom_kill::decode(&copy::<OomKill>(bytes)?))),
        KIND_THROTTLE_INTERVAL => {
            throttle_interval::decode(&copy::<ThrottleInterval>(bytes)?).map(Record::Throttle)
        }
        KIND_KILL_SIGNAL => {
            let record = copy::<KillSignal>(bytes)?;
            Ok(Record::Kill(kill_signal::decode(&record)))
        }
        KIND_OOM_COMMAND_LINE => oom_command_line::decode(bytes).map(Record::OomCommandLine),
        KIND_CGROUP_LIFECYCLE => cgroup_lifecycle::decode(bytes).map(Record::Cgroup),
        kind => Err(DecodeError::UnknownKind(kind)),
    }
}

fn header(mut bytes: &[u8]) -> Result<RecordHeader, DecodeError> {
    if bytes.len() < size_of::<RecordHeader>() {
        return Err(DecodeError::NoHeader(bytes.len()));
    }
    Ok(RecordHeader {
        kind: bytes.get_u32_ne(),
        size: bytes.get_u32_ne(),
        cpu: bytes.get_u32_ne(),
        reserved: bytes.get_u32_ne(),
        monotonic_ns: bytes.get_u64_ne(),
    })
}

/// A record type: `repr(C)`, made of integers and arrays of them alone.
///
/// # Safety
///
/// Every bit pattern must be a value of the type.
unsafe trait Plain: Copy {}
// SAFETY: see `tracer_common::records`: integers and arrays of integers only.
unsafe impl Plain for OomKill {}
// SAFETY: as above.
unsafe impl Plain for ThrottleInterval {}
// SAFETY: as above.
unsafe impl Plain for KillSignal {}

/// Copies a record out of the ring.
fn copy<T: Plain>(bytes: &[u8]) -> Result<T, DecodeError> {
    if bytes.len() < size_of::<T>() {
        return Err(DecodeError::TooShort {
            kind: 0,
            needed: size_of::<T>(),
            got: bytes.len(),
        });
    }
    // SAFETY: there are enough bytes (checked above), they need not be aligned, and every bit
    // pattern is a `T`.
    Ok(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Text of a NUL-terminated array from the kernel; invalid UTF-8 is replaced.
fn text(bytes: &[u8]) -> String {
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

#[cfg(test)]
mod tests;
