//! Somebody sent a process SIGKILL, seen at `signal:signal_generate`. Not the OOM killer, nor the kernel
//! for other reasons of its own.

use crate::header::{CgroupKey, RecordHeader};
use crate::records::COMM_LEN;

/// The process is the first of its PID namespace, as a container's is mostly: it ends the container.
pub const KILL_FLAG_FIRST: u32 = 1 << 0;

/// A SIGKILL that was not pending before.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KillSignal {
    /// Kind [`super::KIND_KILL_SIGNAL`].
    pub header: RecordHeader,
    /// Cgroup of the process that it goes to, in the hierarchy of the slots.
    pub cgroup: CgroupKey,
    /// That process.
    pub tgid: u32,
    /// `KILL_FLAG_` bits.
    pub flags: u32,
    /// Process that sent it.
    pub sender_tgid: u32,
    /// Explicit padding, always 0.
    pub reserved: u32,
    /// Command name of the thread that sent it, NUL-terminated unless it fills the array.
    pub sender_comm: [u8; COMM_LEN],
}

const _: () = assert!(size_of::<KillSignal>() == 24 + 16 + 4 * 4 + COMM_LEN);
