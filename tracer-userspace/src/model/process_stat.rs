//! What the kernel tells of a process in `/proc/PID/stat` (`do_task_stat` in `fs/proc/array.c`).

/// When a process began, and what it has used since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessTimes {
    /// Its begin, in clock ticks since boot: with its number it tells it from all others.
    pub start_ticks: u64,
    /// CPU time of all its threads in clock ticks.
    pub cpu_ticks: u64,
}

/// Reads the times in the file.
pub fn times(stat: &[u8]) -> Option<ProcessTimes> {
    let fields = fields(stat)?;
    // Numbers as in proc_pid_stat(5): 14 utime, 15 stime, 22 starttime.
    let field = |number: usize| fields.get(number - 3).copied();
    Some(ProcessTimes {
        start_ticks: field(22)?,
        cpu_ticks: field(14)?.saturating_add(field(15)?),
    })
}

/// The numbers from the third field on, with a 0 for the state, which is that. The name before them may
/// hold anything, so they begin behind its last parenthesis.
pub fn fields(stat: &[u8]) -> Option<Vec<u64>> {
    let text = String::from_utf8_lossy(stat);
    let (_, rest) = text.rsplit_once(") ")?;
    let number = |word: &str| {
        word.parse::<u64>()
            .or_else(|_| word.parse::<i64>().map(i64::cast_unsigned))
            .unwrap_or(0)
    };
    Some(rest.split_whitespace().map(number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_hold_anything() {
        let stat = b"7 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20";
        let expected = ProcessTimes {
            start_ticks: 19,
            cpu_ticks: 11 + 12,
        };
        assert_eq!(times(stat), Some(expected));
        assert_eq!(times(b"7 (a) S 1 2"), None);
        let moved = fields(b"7 (a) S 1) (b)) R 1 2 3");
        assert_eq!(moved.unwrap(), [0, 1, 2, 3]);
        assert_eq!(fields(b"7 (cut"), None);
    }
}
