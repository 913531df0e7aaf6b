//! Pure folds over what was read.

pub mod names;
