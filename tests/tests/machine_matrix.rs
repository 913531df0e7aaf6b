//! The suites of the kernel matrix as one program: its tests share one program under test, and starting
//! that is what a test costs most under emulation.

mod lifecycle;
mod machine;
mod machine_locked;
mod machine_wide;
mod oom;
mod privileges;
mod switches;
mod throttle;
