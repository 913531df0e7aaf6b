//! The contract between limitscope's eBPF programs and its user space, and nothing else.
//!
//! Both sides compile this crate: the programs for the BPF target (`no_std`, no allocation), user
//! space with the feature `user`. Everything that crosses the border is here once: records of the
//! ring buffers, values of the maps, the globals that user space sets before loading, and the
//! arithmetic of the histograms.
//!
//! Records and map values are `repr(C)` integers and byte arrays with explicit padding. No `bool`,
//! `enum`, `Option` or `usize` crosses the border: an unknown value must be data, not undefined
//! behaviour.
#![no_std]

pub mod counters;
pub mod globals;
pub mod header;
pub mod log_linear;
pub mod maps;
pub mod peaks;
pub mod records;

#[cfg(feature = "user")]
mod pod;
