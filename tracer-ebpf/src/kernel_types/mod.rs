//! Reads of kernel structs by offset, one struct a file.
//!
//! A value of these types is an address. All reads here are checked; the path of a context switch
//! uses [`crate::read::direct`] instead, in one place.

pub mod bandwidth;
pub mod cfs_rq;
pub mod cgroup;
pub mod mem_cgroup;
pub mod mm;
pub mod oom_control;
pub mod task;

/// Levels of groups that are followed upwards.
pub const LEVELS: u32 = 12;
