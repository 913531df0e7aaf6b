//! Plain domain types: what the rest of the program speaks of. No input, no output.

pub mod event;
pub mod exit;
pub mod finding;
pub mod histogram;
pub mod identity;
pub mod limits;
pub mod oom;
pub mod plan;
pub mod process_stat;
pub mod process_status;
pub mod runtime;
pub mod stats;
pub mod throttle;
