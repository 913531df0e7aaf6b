//! The kernel's side of things: what the host offers, and what is read from it.

pub mod btf;
pub mod capabilities;
pub mod cgroup_files;
pub mod cgroup_limits;
pub mod cgroup_mounts;
pub mod grants;
pub mod host;
pub mod kallsyms;
pub mod limit_memo;
pub mod loader;
pub mod mapped;
pub mod memory_bounds;
pub mod mount_table;
pub mod object;
pub mod offsets;
pub mod plan;
pub mod privileges;
pub mod problems;
pub mod process_memory;
pub mod process_times;
pub mod rings;
pub mod trial;
