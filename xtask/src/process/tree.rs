//! The living descendants of this process, from `/proc`.

use std::{
    collections::{HashMap, HashSet},
    fmt, fs,
};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal};

/// A living process.
pub struct Process {
    pid: Pid,
    /// Its command line, or its short name in brackets where it has none.
    command: String,
}

impl Process {
    /// Kills it, if it has not ended by itself.
    pub fn kill(&self) {
        let _ = rustix::process::kill_process(self.pid, Signal::KILL);
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid.as_raw_nonzero(), self.command)
    }
}

/// All descendants that still run. Zombies do not.
pub fn descendants() -> Result<Vec<Process>> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for entry in fs::read_dir("/proc").context("cannot read /proc")? {
        let entry = entry.context("cannot read /proc")?;
        if !entry
            .file_name()
            .as_encoded_bytes()
            .iter()
            .all(u8::is_ascii_digit)
        {
            continue;
        }
        // A process may be gone since the folder was read.
        let Ok(line) = fs::read(entry.path().join("stat")) else {
            continue;
        };
        if let Some(stat) = Stat::parse(&String::from_utf8_lossy(&line)) {
            children.entry(stat.parent).or_default().push(stat);
        }
    }
    let mut found = Vec::new();
    let mut parents = vec![rustix::process::getpid().as_raw_nonzero().get()];
    while let Some(parent) = parents.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            parents.push(child.pid);
            if let Some(pid) = Pid::from_raw(child.pid)
                && !matches!(child.state, 'Z' | 'X')
            {
                found.push(Process {
                    pid,
                    command: command_of(&child),
                });
            }
        }
    }
    Ok(found)
}

/// The descendants at one moment, which are not to be touched later.
pub struct Before {
    pids: HashSet<Pid>,
}

impl Before {
    pub fn now() -> Result<Self> {
        let pids = descendants()?
            .into_iter()
            .map(|process| process.pid)
            .collect();
        Ok(Self { pids })
    }

    /// The descendants that came since.
    pub fn others(&self) -> Result<Vec<Process>> {
        let mut found = descendants()?;
        found.retain(|process| !self.pids.contains(&process.pid));
        Ok(found)
    }

    /// Kills those that came since, and again until none is left: one may have forked meanwhile.
    pub fn kill_others(&self) -> Result<()> {
        for _ in 0..100 {
            let found = self.others()?;
            if found.is_empty() {
                return Ok(());
            }
            for process in found {
                process.kill();
            }
            std::thread::sleep(super::POLL);
        }
        anyhow::bail!("processes of the last step could not be killed")
    }
}

fn command_of(stat: &Stat) -> String {
    let words = fs::read(format!("/proc/{}/cmdline", stat.pid)).unwrap_or_default();
    let words = String::from_utf8_lossy(&words).replace('\0', " ");
    match words.trim() {
        "" => format!("[{}]", stat.name),
        words => words.escape_debug().to_string(),
    }
}

/// The first fields of `/proc/PID/stat` (fs/proc/array.c, `do_task_stat`).
struct Stat {
    pid: i32,
    name: String,
    state: char,
    parent: i32,
}

impl Stat {
    fn parse(line: &str) -> Option<Self> {
        // The name may hold anything, also blanks and parentheses.
        let (pid, rest) = line.split_once(" (")?;
        let (name, rest) = rest.rsplit_once(") ")?;
        let mut fields = rest.split(' ');
        Some(Self {
            pid: pid.parse().ok()?,
            name: name.to_owned(),
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_is_no_other_field() {
        let stat = Stat::parse("12 (a) S 1 (b)) R 7 12 12 0").unwrap();
        assert_eq!((stat.pid, stat.state, stat.parent), (12, 'R', 7));
        assert_eq!(stat.name, "a) S 1 (b)");
        assert!(Stat::parse("12 a R 7").is_none());
        assert!(Stat::parse("").is_none());
    }
}
