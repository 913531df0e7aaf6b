//! How a container ended.

/// What a runtime says of a container's end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExitReport {
    /// The exit code: 128 and the signal's number where a signal ended it.
    pub code: Option<i32>,
    /// Whether the runtime says that the kernel's OOM killer was there. It says so too where only a
    /// child was killed.
    pub says_oom: bool,
    /// How often it was restarted so far, as the runtime counts.
    pub restart_count: Option<u32>,
}
