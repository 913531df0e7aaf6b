//! limitscope's user space: what happens at the limits of every container on a Linux host.
//!
//! Data flows one way, and so do the imports (checked by `cargo xtask tidy`):
//!
//! ```text
//! model ← events ← kernel, identity, runtimes, analyse ← sinks ← pipeline ← cli
//! ```
//!
//! - [`model`]: plain domain types, no input or output.
//! - [`events`]: bytes of a record to a domain type, one file per record.
//! - [`kernel`]: the host's facts, BTF offsets, the probe plan, loading, rings, map reading.
//! - [`identity`]: which container, pod or service a cgroup is.
//! - [`runtimes`]: what a process says of its language runtime, read from outside.
//! - [`analyse`]: pure folds over what was read: histograms, rates, memory.
//! - [`sinks`]: JSON lines, text for people, histogram reports and logs.
//! - [`pipeline`]: the only place that knows all stages.
//! - [`cli`]: one file per command.

pub mod analyse;
pub mod cli;
pub mod events;
pub mod identity;
pub mod kernel;
pub mod model;
pub mod pipeline;
pub mod runtimes;
pub mod sinks;
