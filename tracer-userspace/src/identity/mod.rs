//! Which container, pod or service a cgroup is.
//!
//! - [`path`]: what a cgroup's path alone says (pure).

pub mod path;
