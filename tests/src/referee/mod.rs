//! What the kernel, or another tool, says about the same thing.

pub mod cpu_stat;
pub mod fdinfo;
pub mod kmsg;
pub mod memory_events;
pub mod pressure;
pub mod runqlat;
pub mod schedstat;
