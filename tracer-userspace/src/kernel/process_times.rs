//! When a process began and what CPU time it has used.

use std::fs;

use crate::model::process_stat::{self, ProcessTimes};

/// `None` where it is gone.
pub fn of(pid: u32) -> Option<ProcessTimes> {
    process_stat::times(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_passes() {
        let before = super::of(std::process::id()).unwrap();
        let begin = std::time::Instant::now();
        while begin.elapsed().as_millis() < 100 {
            std::hint::spin_loop();
        }
        let after = super::of(std::process::id()).unwrap();
        assert_eq!(before.start_ticks, after.start_ticks);
        assert!(before.cpu_ticks <= after.cpu_ticks && after.cpu_ticks > 0);
        assert_eq!(super::of(u32::MAX), None);
    }
}
