//! The records of the ring buffers, one file each, and their index.

mod cgroup_lifecycle;
mod kill_signal;
mod oom_command_line;
mod oom_kill;
mod throttle_interval;

pub use cgroup_lifecycle::{
    CGROUP_ATTACH, CGROUP_MKDIR, CGROUP_PATH_MAX, CGROUP_RELEASE, CGROUP_RMDIR, CgroupLifecycle,
};
pub use kill_signal::{KILL_FLAG_FIRST, KillSignal};
pub use oom_command_line::{COMMAND_LINE_MAX, OomCommandLine};
pub use oom_kill::{
    OOM_FLAG_EXACT, OOM_LEVELS, OOM_SOURCE_FENTRY, OOM_SOURCE_KPROBE, OOM_SOURCE_TRACEPOINT,
    OomControl, OomKill, OomLevel, OomTrigger, OomVictim, PAGE_COUNTER_MAX,
};
pub use throttle_interval::{
    THROTTLE_SOURCE_FEXIT, THROTTLE_SOURCE_KRETPROBE, THROTTLE_SOURCE_SWITCH,
    THROTTLE_SOURCE_TIMER, ThrottleInterval,
};

/// An [`OomKill`].
pub const KIND_OOM_KILL: u32 = 1;
/// A [`ThrottleInterval`].
pub const KIND_THROTTLE_INTERVAL: u32 = 2;
/// A [`CgroupLifecycle`].
pub const KIND_CGROUP_LIFECYCLE: u32 = 3;
/// An [`OomCommandLine`].
pub const KIND_OOM_COMMAND_LINE: u32 = 4;
/// A [`KillSignal`].
pub const KIND_KILL_SIGNAL: u32 = 5;

/// Smallest length of a record of `kind` in bytes, or `None` for an unknown kind.
///
/// A new kind without a line here cannot be decoded, so it cannot be forgotten silently.
pub const fn min_size(kind: u32) -> Option<usize> {
    match kind {
        KIND_OOM_KILL => Some(size_of::<OomKill>()),
        KIND_THROTTLE_INTERVAL => Some(size_of::<ThrottleInterval>()),
        // The path is sent only as far as it is used.
        KIND_CGROUP_LIFECYCLE => Some(size_of::<CgroupLifecycle>() - CGROUP_PATH_MAX),
        // As the path.
        KIND_OOM_COMMAND_LINE => Some(size_of::<OomCommandLine>() - COMMAND_LINE_MAX),
        KIND_KILL_SIGNAL => Some(size_of::<KillSignal>()),
        _ => None,
    }
}

/// Length of a task's command name, with the terminating NUL (`TASK_COMM_LEN`, `linux/sched.h`).
pub const COMM_LEN: usize = 16;
