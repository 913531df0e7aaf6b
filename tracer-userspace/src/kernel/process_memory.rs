//! The memory of a process, as `/proc/PID/status` tells it.

use std::fs;

use crate::model::oom::LargeProcess;

/// A process's name and what it has of memory that cannot be given back: resident anonymous and
/// shared memory, and swap. `None` where it is gone or has none, as threads of the kernel.
pub fn of(pid: u32) -> Option<LargeProcess> {
    let status = fs::read(format!("/proc/{pid}/status")).ok()?;
    parse(pid, &String::from_utf8_lossy(&status))
}

fn parse(pid: u32, status: &str) -> Option<LargeProcess> {
    let of = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let bytes = |name: &str| {
        let kib: u64 = of(name)?.strip_suffix(" kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(LargeProcess {
        pid,
        command: of("Name")?.to_owned(),
        bytes: bytes("RssAnon")? + bytes("RssShmem").unwrap_or(0) + bytes("VmSwap").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_and_swapped_memory_adds_up() {
        let status = "Name:\tsh ell\nVmRSS:\t  99 kB\nRssAnon:\t  10 kB\nRssFile:\t  80 kB\n\
                      RssShmem:\t   2 kB\nVmSwap:\t   3 kB\n";
        let process = parse(7, status).unwrap();
        assert_eq!(
            (process.command.as_str(), process.bytes),
            ("sh ell", 15 * 1024)
        );
        assert_eq!(parse(2, "Name:\tkthreadd\n"), None);
        assert!(of(std::process::id()).unwrap().bytes > 0);
    }
}
