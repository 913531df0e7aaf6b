//! What the programs count about themselves: every way to lose something has a number.

/// A record did not fit into a ring buffer, by kind.
pub const LOST_RING_OOM: u32 = 0;
/// See [`LOST_RING_OOM`].
pub const LOST_RING_THROTTLE: u32 = 1;
/// See [`LOST_RING_OOM`].
pub const LOST_RING_CGROUP: u32 = 2;
/// A cgroup got no slot because none was free; its switches go to the slot of the unknown.
pub const LOST_SLOTS: u32 = 3;
/// A clock went backwards: the value was dropped.
pub const LOST_CLOCK: u32 = 4;
/// A throttled run queue was not followed: more at once than a list of the programs holds.
pub const LOST_THROTTLE_LIST: u32 = 5;
/// A map had no room for an entry.
pub const LOST_MAP_FULL: u32 = 6;
/// A throttled interval ended unseen and was closed at a later switch (an upper bound).
pub const LATE_THROTTLE_END: u32 = 7;
/// A read of kernel memory failed.
pub const FAILED_READ: u32 = 8;
/// `mark_victim` for a task that was already dying: no kill, not reported.
pub const OOM_ALREADY_DYING: u32 = 9;
/// A CPU number above the one the maps were made for.
pub const LOST_CPU: u32 = 10;

/// How many counters there are.
pub const COUNTERS: u32 = 16;
