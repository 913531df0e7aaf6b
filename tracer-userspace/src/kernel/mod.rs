//! The kernel's side of things: what the host offers, and what is read from it.

pub mod btf;
pub mod loader;
pub mod object;
pub mod offsets;
