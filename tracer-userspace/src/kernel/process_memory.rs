//! The memory of a process, as `/proc/PID/status` tells it.

use std::fs;

use crate::model::{oom::LargeProcess, process_status};

/// A process's name and what it has of memory that cannot be given back: resident anonymous and
/// shared memory, and swap. `None` where it is gone or has none, as threads of the kernel.
pub fn of(pid: u32) -> Option<LargeProcess> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    Some(LargeProcess {
        pid,
        command: process_status::field(&status, "Name")?.to_owned(),
        bytes: process_status::held_bytes(&status)?,
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_process_has_some() {
        let own = super::of(std::process::id()).unwrap();
        assert!(own.bytes > 0 && !own.command.is_empty());
    }
}
