//! The commands, one file each.

pub mod check;
pub mod demo;
mod engines;
pub mod explain;
pub mod inspect;
mod kubernetes;
pub mod probe;
pub mod report;
pub mod run;
