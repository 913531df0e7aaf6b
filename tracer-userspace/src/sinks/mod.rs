//! What comes out: JSON lines, text for people, histogram reports and logs.

pub mod heartbeat;
pub mod hlog;
pub mod json;
pub mod output;
pub mod pretty;
pub mod recorded;
pub mod report;
pub mod runtime;
#[cfg(test)]
pub(crate) mod samples;
pub mod text;
pub mod wall_clock;
