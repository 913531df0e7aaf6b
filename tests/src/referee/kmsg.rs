//! The kernel's own log of OOM kills, read from /dev/kmsg.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::wait::{self, PATIENCE};

/// The kernel prints the long report of at most 10 kills in 5 s (`oom_rs` in mm/oom_kill.c).
const RATE_INTERVAL: Duration = Duration::from_secs(5);
const RATE_BURST: usize = 10;

/// A reader that stands at a moment in the kernel's log.
#[derive(Debug)]
pub struct Kmsg(File);

/// `Killed process …` (mm/oom_kill.c, `__oom_kill_process`): printed for every kill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Killed {
    /// Thread id of the victim; the process id unless its leader had ended.
    pub pid: u32,
    /// Its command name.
    pub command: String,
    /// `total-vm`, `anon-rss`, `file-rss`, `shmem-rss`, `pgtables` in kB, `UID`,
    /// `oom_score_adj`.
    pub fields: BTreeMap<String, i64>,
}

/// The long report of one OOM, which the kernel leaves out when there are many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Command of the task that asked for memory, its `gfp_mask` (hex) and `order`.
    pub trigger_command: String,
    /// Flags of the allocation.
    pub gfp_mask: u64,
    /// Order of the allocation.
    pub order: i64,
    /// Thread id of the task that asked.
    pub trigger_pid: u32,
    /// `usage` and `limit` of the memory counter in kB.
    pub usage_kb: u64,
    /// See `usage_kb`.
    pub limit_kb: u64,
    /// The pairs of the `oom-kill:` line: constraint, oom_memcg, task_memcg, task, pid, uid.
    pub pairs: BTreeMap<String, String>,
}

/// All that was logged between two moments.
#[derive(Debug, Clone, Default)]
pub struct Log {
    /// Every victim.
    pub killed: Vec<Killed>,
    /// The reports that were printed.
    pub reports: Vec<Report>,
}

impl Log {
    /// The victims whose command is `command`.
    pub fn killed_with(&self, command: &str) -> Vec<&Killed> {
        self.killed
            .iter()
            .filter(|k| k.command == command)
            .collect()
    }

    /// The only victim of this command.
    pub fn victim(&self, command: &str) -> Result<&Killed> {
        match self.killed_with(command)[..] {
            [one] => Ok(one),
            ref many => bail!(
                "the kernel's log has {} victims {command:?}, not 1",
                many.len()
            ),
        }
    }

    /// The report of this victim.
    pub fn report(&self, victim: u32) -> Result<&Report> {
        self.reports
            .iter()
            .find(|r| r.pairs.get("pid").is_some_and(|p| *p == victim.to_string()))
            .with_context(|| format!("no report about {victim} in the kernel's log"))
    }
}

impl Kmsg {
    /// Opens the log at its present end, when the kernel would print a long report again.
    pub fn open() -> Result<Self> {
        let open = || {
            OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK)
                .open("/dev/kmsg")
                .context("opening /dev/kmsg")
        };
        wait::until("the kernel's rate limit of OOM reports", PATIENCE, || {
            let now = wait::monotonic_ns() / 1000;
            let recent = |at: u64| Duration::from_micros(now.saturating_sub(at)) < RATE_INTERVAL;
            let records = records(&mut open()?)?;
            let kills = records
                .iter()
                .filter(|(at, line)| recent(*at) && is_kill(line))
                .count();
            Ok((kills < RATE_BURST / 2).then_some(()))
        })?;
        let mut file = open()?;
        file.seek(SeekFrom::End(0))
            .context("seeking to the end of /dev/kmsg")?;
        Ok(Self(file))
    }

    /// Reads until `kills` victims of the command are logged (or the deadline passes), and then
    /// all there is.
    pub fn read_kills(&mut self, command: &str, kills: usize) -> Result<Log> {
        let mut lines = Vec::new();
        wait::until(
            &format!("{kills} kills of {command} in the kernel's log"),
            PATIENCE,
            || {
                lines.extend(records(&mut self.0)?.into_iter().map(|(_, line)| line));
                let log = parse(&lines);
                Ok((log.killed_with(command).len() >= kills).then_some(log))
            },
        )
    }

    /// Reads what there is now.
    pub fn read_now(&mut self) -> Result<Log> {
        let lines: Vec<_> = records(&mut self.0)?
            .into_iter()
            .map(|(_, line)| line)
            .collect();
        Ok(parse(&lines))
    }
}

fn is_kill(line: &str) -> bool {
    line.contains("Killed process ")
}

/// Reads all records up to now: (time in µs, text). A read gives one record
/// (Documentation/ABI/testing/dev-kmsg).
fn records(file: &mut File) -> Result<Vec<(u64, String)>> {
    let mut records = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        let length = match file.read(&mut buffer) {
            Ok(0) => return Ok(records),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(records),
            // Records were overwritten before they were read; the next read goes on behind them.
            Err(error) if error.raw_os_error() == Some(libc::EPIPE) => continue,
            Err(error) => return Err(error).context("reading /dev/kmsg"),
        };
        let text = String::from_utf8_lossy(&buffer[..length]);
        let Some((head, body)) = text.split_once(';') else {
            continue;
        };
        let time = head
            .split(',')
            .nth(2)
            .and_then(|t| t.parse().ok())
            .unwrap_or_default();
        let line = body.lines().next().unwrap_or_default();
        records.push((time, line.to_owned()));
    }
}

/// Reads the lines of the OOM killer out of a piece of the log.
pub fn parse(lines: &[String]) -> Log {
    let mut log = Log::default();
    let mut report = Report::default();
    for line in lines {
        if let Some((command, rest)) = line.split_once(" invoked oom-killer: ") {
            report = Report {
                trigger_command: command.to_owned(),
                ..Report::default()
            };
            for pair in rest.split(", ") {
                match pair.split_once('=') {
                    Some(("gfp_mask", mask)) => {
                        let hex = mask.split('(').next().unwrap_or_default();
                        let hex = hex.trim_start_matches("0x");
                        report.gfp_mask = u64::from_str_radix(hex, 16).unwrap_or_default();
                    }
                    Some(("order", order)) => report.order = order.parse().unwrap_or(-99),
                    _ => {}
                }
            }
        } else if line.starts_with("CPU: ") {
            report.trigger_pid = after(line, " PID: ").unwrap_or_default();
        } else if line.starts_with("memory: usage ") {
            report.usage_kb = after(line, "usage ").unwrap_or_default();
            report.limit_kb = after(line, "limit ").unwrap_or_default();
        } else if let Some(rest) = line.strip_prefix("oom-kill:") {
            report.pairs = pairs(rest);
            log.reports.push(report.clone());
        } else if let Some((_, rest)) = line.split_once("Killed process ") {
            // Of a group, the victim that was chosen is killed and printed twice: by itself, and
            // with its group (`oom_kill_process` in mm/oom_kill.c).
            let killed = killed(rest).filter(|new| log.killed.iter().all(|old| old.pid != new.pid));
            log.killed.extend(killed);
        }
    }
    log
}

/// The number right behind `key`.
fn after<T: std::str::FromStr>(line: &str, key: &str) -> Option<T> {
    let rest = line.split_once(key)?.1;
    let end = rest
        .find(|c: char| !c.is_ascii_digit() && c != '-')
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// `key=value` pairs divided by commas, of which some values hold commas themselves.
fn pairs(text: &str) -> BTreeMap<String, String> {
    let mut pairs: BTreeMap<String, String> = BTreeMap::new();
    let mut last = String::new();
    for part in text.split(',') {
        if let Some((key, value)) = part.split_once('=') {
            key.clone_into(&mut last);
            pairs.insert(key.to_owned(), value.to_owned());
        } else if let Some(value) = pairs.get_mut(&last) {
            value.push(',');
            value.push_str(part);
        } else {
            part.clone_into(&mut last);
            pairs.insert(last.clone(), String::new());
        }
    }
    pairs
}

/// `PID (COMMAND) total-vm:…kB, …, UID:… pgtables:…kB oom_score_adj:…`.
fn killed(text: &str) -> Option<Killed> {
    let (pid, rest) = text.split_once(" (")?;
    let (command, rest) = rest.rsplit_once(") ")?;
    let fields = rest
        .split([' ', ','])
        .filter_map(|part| part.split_once(':'))
        .filter_map(|(key, value)| Some((key.into(), value.trim_end_matches("kB").parse().ok()?)))
        .collect();
    Some(Killed {
        pid: pid.parse().ok()?,
        command: command.to_owned(),
        fields,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_of_the_kernel_is_read() {
        let lines = [
            "tail invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
            "CPU: 1 UID: 0 PID: 77 Comm: tail Not tainted 6.18 #1 PREEMPT",
            "memory: usage 32768kB, limit 32768kB, failcnt 32",
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,\
             oom_memcg=/a,task_memcg=/a/b,task=ta (il,pid=77,uid=0",
            "Memory cgroup out of memory: Killed process 77 (ta (il) total-vm:94688kB, \
             anon-rss:31744kB, file-rss:4kB, shmem-rss:0kB, UID:0 pgtables:108kB oom_score_adj:-3",
        ];
        let mut lines = lines.map(str::to_owned).to_vec();
        // As for a group.
        lines.push(lines[4].clone());
        let log = parse(&lines);
        let victim = log.victim("ta (il").unwrap();
        assert_eq!(
            (victim.pid, victim.fields["anon-rss"], victim.fields["UID"]),
            (77, 31744, 0)
        );
        assert_eq!(
            (victim.fields["pgtables"], victim.fields["oom_score_adj"]),
            (108, -3)
        );
        let report = log.report(77).unwrap();
        assert_eq!(
            (report.gfp_mask, report.order, report.trigger_pid),
            (0xcc0, 0, 77)
        );
        assert_eq!((report.usage_kb, report.limit_kb), (32768, 32768));
        assert_eq!(
            (&*report.pairs["oom_memcg"], &*report.pairs["task_memcg"]),
            ("/a", "/a/b")
        );
    }

    #[test]
    fn the_log_can_be_opened() {
        Kmsg::open().unwrap().read_now().unwrap();
    }
}
