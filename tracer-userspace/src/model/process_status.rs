//! What the kernel tells of a process's memory in `/proc/PID/status` (`task_mem` in `fs/proc/task_mmu.c`).

/// The value of a line, as in `Name:\tsh`.
pub fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    let mut values = status
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    values.next().map(str::trim)
}

/// Bytes of memory that cannot be given back: resident anonymous and shared memory, and swap. `None` where
/// the process has no memory of its own, as threads of the kernel.
pub fn held_bytes(status: &str) -> Option<u64> {
    let bytes = |name: &str| {
        let kib: u64 = field(status, name)?
            .strip_suffix(" kB")?
            .trim()
            .parse()
            .ok()?;
        kib.checked_mul(1024)
    };
    let all = [
        bytes("RssAnon")?,
        bytes("RssShmem").unwrap_or(0),
        bytes("VmSwap").unwrap_or(0),
    ];
    all.into_iter().try_fold(0, u64::checked_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_and_swapped_memory_adds_up() {
        let status = "Name:\tsh ell\nVmRSS:\t  99 kB\nRssAnon:\t  10 kB\nRssFile:\t  80 kB\n\
                      RssShmem:\t   2 kB\nVmSwap:\t   3 kB\n";
        assert_eq!(field(status, "Name"), Some("sh ell"));
        assert_eq!(held_bytes(status), Some(15 * 1024));
        assert_eq!(held_bytes("Name:\tkthreadd\n"), None);
        let huge = format!("RssAnon:\t{} kB\n", u64::MAX / 1024);
        assert_eq!(held_bytes(&format!("{huge}VmSwap:\t9 kB\n")), None);
    }
}
