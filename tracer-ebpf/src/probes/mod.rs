//! The programs, one hook a file.

mod bandwidth_csd;
mod bandwidth_timer;
mod cgroup;
mod mark_victim;
mod oom_kill_process;
mod sched_switch;
mod signal_deliver;
mod signal_generate;
mod unthrottle;
