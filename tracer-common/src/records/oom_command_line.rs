//! The arguments of a victim of the OOM killer, told by itself as it takes its SIGKILL.

use crate::header::RecordHeader;

/// Longest command line that a record carries, in bytes. It bounds what one kill takes of the ring.
pub const COMMAND_LINE_MAX: usize = 4096;

/// What a victim was started with. It follows the victim's [`super::OomKill`].
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct OomCommandLine {
    /// Kind [`super::KIND_OOM_COMMAND_LINE`]; its size covers only the used part.
    pub header: RecordHeader,
    /// The process.
    pub tgid: u32,
    /// Bytes of `arguments` in use.
    pub length: u32,
    /// What is in the process's memory from `mm->arg_start` to `mm->arg_end`: each argument with a
    /// NUL behind it, unless the process wrote over them. The record ends after `length` bytes.
    pub arguments: [u8; COMMAND_LINE_MAX],
}

const _: () = assert!(size_of::<OomCommandLine>() == 24 + 2 * 4 + COMMAND_LINE_MAX);
