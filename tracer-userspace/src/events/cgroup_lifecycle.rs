//! [`tracer_common::records::CgroupLifecycle`]: the births and deaths of cgroups.

use bytes::Buf;
use tracer_common::{
    header::{CgroupKey, RecordHeader},
    maps::SLOT_NONE,
    records::{
        CGROUP_ATTACH, CGROUP_MKDIR, CGROUP_PATH_MAX, CGROUP_RELEASE, CGROUP_RMDIR,
        KIND_CGROUP_LIFECYCLE,
    },
};

use super::DecodeError;

/// What happened to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupOperation {
    /// It was made.
    Made,
    /// A process was moved into it while it had no slot; it has one now.
    Attached,
    /// Its directory was removed.
    Removed,
    /// Its last reference is gone.
    Released,
}

/// Something happened to a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupEvent {
    /// Monotonic time in nanoseconds.
    pub monotonic_ns: u64,
    /// What happened.
    pub operation: CgroupOperation,
    /// The cgroup.
    pub key: CgroupKey,
    /// Id of its parent in the same hierarchy, 0 for a root.
    pub parent_id: u64,
    /// Its slot, where it got one.
    pub slot: Option<u32>,
    /// Its path within the hierarchy: bytes of any kind. One of more than 1,023 is cut, and says so
    /// behind an ellipsis.
    pub path: Vec<u8>,
}

/// Decodes a record that is at least as long as its header says.
pub fn decode(bytes: &[u8]) -> Result<CgroupEvent, DecodeError> {
    let impossible = |member, value| DecodeError::Impossible {
        kind: KIND_CGROUP_LIFECYCLE,
        member,
        value,
    };
    // The caller has checked that all but the path is there.
    let monotonic_ns = super::header(bytes)?.monotonic_ns;
    let mut rest = bytes.get(size_of::<RecordHeader>()..).unwrap_or_default();
    let hierarchy = rest.get_u32_ne();
    rest.advance(4);
    let id = rest.get_u64_ne();
    let parent_id = rest.get_u64_ne();
    let operation = match rest.get_u32_ne() {
        CGROUP_MKDIR => CgroupOperation::Made,
        CGROUP_ATTACH => CgroupOperation::Attached,
        CGROUP_RMDIR => CgroupOperation::Removed,
        CGROUP_RELEASE => CgroupOperation::Released,
        other => return Err(impossible("operation", u64::from(other))),
    };
    rest.advance(4);
    let slot = rest.get_u32_ne();
    rest.advance(4);
    let path_len = rest.get_u32_ne();
    rest.advance(4);
    let path = rest
        .get(..path_len as usize)
        .ok_or_else(|| impossible("path_len", u64::from(path_len)))?;
    let mut path = path.to_vec();
    // The kernel cuts what does not fit (with the final NUL): said, and still one path a cgroup.
    if path.len() >= CGROUP_PATH_MAX - 1 {
        path.extend_from_slice(format!("…(cgroup {id})").as_bytes());
    }
    Ok(CgroupEvent {
        monotonic_ns,
        operation,
        key: CgroupKey::new(hierarchy, id),
        parent_id,
        slot: (slot != SLOT_NONE).then_some(slot),
        path,
    })
}
