//! limitscope.
fn main() {}
