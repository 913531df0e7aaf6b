//! Which container, pod or service a cgroup is.
//!
//! - [`path`]: what a cgroup's path alone says (pure).
//! - [`names`]: what runtimes add, and the interface of their clients.
//! - [`index`]: all cgroups, dead ones for a while, with all that is known of them (pure).
//! - [`docker`]: names from Docker's API.
//! - [`walk`]: the cgroups that exist already.

pub mod docker;
pub mod index;
pub mod names;
pub mod path;
pub mod walk;
