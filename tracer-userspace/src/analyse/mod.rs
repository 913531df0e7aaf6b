//! Pure folds over what was read. No input, no output, no clock of their own.

pub mod difference;
pub mod findings;
pub mod names;
pub mod oom_domain;
pub mod quota_burn;
pub mod report;
pub mod throttle_audit;
