//! Which container, pod or service a cgroup is.
//!
//! - [`path`]: what a cgroup's path alone says (pure).
//! - [`names`]: what runtimes add, and the interface of their clients.
//! - [`chosen`]: the labels and annotations that are told.
//! - [`index`]: all cgroups, dead ones for a while, with all that is known of them (pure).
//! - [`resolvers`]: all that can be asked for names, side by side.
//! - [`docker`]: names from Docker's API, which Podman has too.
//! - [`cri`]: names from the Container Runtime Interface.
//! - [`kubernetes`]: names from the API server or the kubelet.
//! - [`files`]: names from what the runtimes leave in the file system.
//! - [`walk`]: the cgroups that exist already.

pub mod chosen;
mod client;
pub mod cri;
pub mod docker;
pub mod files;
pub mod index;
pub mod kubernetes;
pub mod names;
pub mod path;
pub mod resolvers;
pub mod walk;
