//! A cgroup of the test's own, in every hierarchy that matters, gone when the test is over.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    ended,
    mounts::{Hierarchies, Place, has_word},
};

/// Controllers that the tests set or read.
const CONTROLLERS: [&str; 4] = ["cpu", "cpuacct", "memory", "pids"];

static NEXT: AtomicU32 = AtomicU32::new(0);

/// The same path in each v1 hierarchy of the controllers that tests use and in the v2 tree, as runc lays it out.
///
/// Dropping it kills what runs inside, removes every directory, and fails the test if one stays.
#[derive(Debug)]
pub struct Cgroup {
    hierarchies: Hierarchies,
    path: PathBuf,
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// Makes a cgroup at the top, with a name that no other test or run has.
    pub fn new(label: &str) -> Result<Self> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self::at(format!("limitscope-test-{label}-{}-{number}", process::id()).as_ref())
    }

    /// Makes a cgroup with exactly this name (any bytes) at the top.
    pub fn at(name: &OsStr) -> Result<Self> {
        let hierarchies = Hierarchies::find()?;
        if let Some(v2) = &hierarchies.v2 {
            enable_controllers(v2).context("the top of the v2 tree")?;
        }
        Self::make(hierarchies, &Path::new("/").join(name))
    }

    /// Makes a cgroup below this one, with controllers of its own; in v2 this one must hold no
    /// process then.
    pub fn child(&self, name: &str) -> Result<Self> {
        if let Some(v2) = self.unified_dir() {
            enable_controllers(&v2)?;
        }
        self.plain_child(name.as_ref())
    }

    /// Makes a cgroup below this one without handing controllers down.
    pub fn plain_child(&self, name: &OsStr) -> Result<Self> {
        Self::make(self.hierarchies.clone(), &self.path.join(name))
    }

    fn make(hierarchies: Hierarchies, path: &Path) -> Result<Self> {
        let mut made = Self {
            path: path.to_owned(),
            dirs: Vec::new(),
            hierarchies,
        };
        for mount in made.mounts() {
            let dir = below(&mount, path);
            fs::create_dir(&dir).with_context(|| format!("making the cgroup {}", dir.display()))?;
            made.dirs.push(dir.clone());
            // Before 5.11 a v1 limit holds for children only where this is set.
            let switch = dir.join("memory.use_hierarchy");
            if fs::read_to_string(&switch).is_ok_and(|now| now.trim() == "0") {
                write(&switch, "1")?;
            }
        }
        Ok(made)
    }

    /// Mount points that get a directory, each once.
    fn mounts(&self) -> Vec<PathBuf> {
        let mut mounts: Vec<PathBuf> = Vec::new();
        for controller in CONTROLLERS {
            if let Some(Place::V1(mount)) = self.hierarchies.controller(controller)
                && !mounts.contains(&mount)
            {
                mounts.push(mount);
            }
        }
        mounts.extend(self.hierarchies.v2.clone());
        mounts
    }

    /// Path within the hierarchies, as /proc/PID/cgroup shows it.
    pub fn path(&self) -> String {
        self.path.to_string_lossy().into_owned()
    }

    /// Its directories in all hierarchies.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// Its directory in the v2 tree, where that is mounted.
    pub fn unified_dir(&self) -> Option<PathBuf> {
        self.hierarchies
            .v2
            .as_ref()
            .map(|mount| below(mount, &self.path))
    }

    /// Its directory where `controller` is managed, with the version of the interface.
    pub fn controller_dir(&self, controller: &str) -> Result<(u8, PathBuf)> {
        match self.hierarchies.controller(controller) {
            Some(Place::V1(mount)) => Ok((1, below(&mount, &self.path))),
            Some(Place::V2(mount)) => Ok((2, below(&mount, &self.path))),
            None => bail!("this kernel has no cgroup controller {controller:?}"),
        }
    }

    /// Moves a process of the test into this cgroup, in every hierarchy that has it.
    pub fn add(&self, pid: u32) -> Result<()> {
        for dir in &self.dirs {
            write(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Sets the CPU quota for each period, both in microseconds; no quota lifts the limit.
    pub fn set_cpu_quota(&self, quota_us: Option<u64>, period_us: u64) -> Result<()> {
        let (version, dir) = self.controller_dir("cpu")?;
        let quota = quota_us.map(|q| q.to_string());
        if version == 2 {
            let quota = quota.as_deref().unwrap_or("max");
            return write(&dir.join("cpu.max"), &format!("{quota} {period_us}"));
        }
        let period = dir.join("cpu.cfs_period_us");
        if read(&period)?.trim() != period_us.to_string() {
            // A quota that fits the new period may not fit the old one, so it is lifted between.
            write(&dir.join("cpu.cfs_quota_us"), "-1")?;
            write(&period, &period_us.to_string())?;
        }
        write(
            &dir.join("cpu.cfs_quota_us"),
            quota.as_deref().unwrap_or("-1"),
        )
    }

    /// Lets it save up to so many microseconds of quota for the next period; `false` where the kernel
    /// cannot (before 5.14).
    pub fn set_cpu_burst(&self, burst_us: u64) -> Result<bool> {
        let (version, dir) = self.controller_dir("cpu")?;
        let file = dir.join(if version == 2 {
            "cpu.max.burst"
        } else {
            "cpu.cfs_burst_us"
        });
        if !file.exists() {
            return Ok(false);
        }
        write(&file, &burst_us.to_string())?;
        Ok(true)
    }

    /// Lets it have the CPUs before everybody else, up to its quota: what is measured is the quota
    /// then, also on a machine that is busy with other things.
    pub fn prefer(&self) -> Result<()> {
        self.weigh(262_144)
    }

    /// Sets its weight in the CPU shares of cgroup v1, of which 1,024 are usual and 262,144 the most.
    pub fn weigh(&self, shares: u32) -> Result<()> {
        let (version, dir) = self.controller_dir("cpu")?;
        if version == 2 {
            // 100 are usual there, and 10,000 the most.
            let weight = (u64::from(shares) * 100 / 1024).clamp(1, 10_000);
            write(&dir.join("cpu.weight"), &weight.to_string())
        } else {
            write(&dir.join("cpu.shares"), &shares.to_string())
        }
    }

    /// Sets the memory limit in bytes, swap included where the kernel accounts it.
    pub fn set_memory_limit(&self, bytes: u64) -> Result<()> {
        let (version, dir) = self.controller_dir("memory")?;
        let (limit, swap, amount) = if version == 2 {
            ("memory.max", "memory.swap.max", 0)
        } else {
            (
                "memory.limit_in_bytes",
                "memory.memsw.limit_in_bytes",
                bytes,
            )
        };
        let mut files = vec![(limit, bytes)];
        if dir.join(swap).exists() {
            files.push((swap, amount));
        }
        // In v1 the limit with swap is never the smaller one: where it grows, it comes first.
        if version == 1 && self.memory_limit()? < bytes {
            files.reverse();
        }
        let mut files = files.into_iter();
        files.try_for_each(|(file, amount)| write(&dir.join(file), &amount.to_string()))
    }

    /// The memory limit as the kernel has it, in bytes.
    pub fn memory_limit(&self) -> Result<u64> {
        self.memory_number(["memory.limit_in_bytes", "memory.max"])
    }

    /// Memory in use as the kernel has it, in bytes.
    pub fn memory_in_use(&self) -> Result<u64> {
        self.memory_number(["memory.usage_in_bytes", "memory.current"])
    }

    /// The number in a file of the memory controller, of which there is one for each version.
    fn memory_number(&self, files: [&str; 2]) -> Result<u64> {
        let (version, dir) = self.controller_dir("memory")?;
        let file = files[usize::from(version == 2)];
        let text = read(&dir.join(file))?;
        text.trim()
            .parse()
            .with_context(|| format!("{file} is {text:?}"))
    }

    /// Has the kernel kill everything inside when one is chosen (v2 only).
    pub fn set_oom_group(&self) -> Result<()> {
        write(
            &self.controller_dir("memory")?.1.join("memory.oom.group"),
            "1",
        )
    }

    /// Processes inside, in all hierarchies.
    pub fn procs(&self) -> Result<Vec<u32>> {
        let mut pids: Vec<u32> = Vec::new();
        for dir in &self.dirs {
            pids.extend(procs_of(dir)?);
        }
        pids.sort_unstable();
        pids.dedup();
        Ok(pids)
    }

    /// Kills what is inside and removes the directories now; what stays is an error.
    pub fn remove(mut self) -> Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> Result<()> {
        let mut failed = Vec::new();
        for dir in self.dirs.drain(..) {
            if let Err(error) = clear_tree(&dir) {
                failed.push(format!("{error:#}"));
            }
        }
        if !failed.is_empty() {
            bail!("left behind: {}", failed.join("; "));
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        ended(self.clear());
    }
}

/// `mount` + the absolute hierarchy path `path`.
fn below(mount: &Path, path: &Path) -> PathBuf {
    let relative = path
        .as_os_str()
        .as_bytes()
        .strip_prefix(b"/")
        .unwrap_or_default();
    mount.join(OsStr::from_bytes(relative))
}

/// Hands every controller of `dir` that the tests use down to its children.
fn enable_controllers(dir: &Path) -> Result<()> {
    for controller in CONTROLLERS {
        if has_word(&dir.join("cgroup.controllers"), controller)
            && !has_word(&dir.join("cgroup.subtree_control"), controller)
        {
            write(
                &dir.join("cgroup.subtree_control"),
                &format!("+{controller}"),
            )?;
        }
    }
    Ok(())
}

fn procs_of(dir: &Path) -> Result<Vec<u32>> {
    Ok(read(&dir.join("cgroup.procs"))?
        .lines()
        .filter_map(|l| l.parse().ok())
        .collect())
}

/// Kills all processes at and below `dir` and removes the directories, deepest first.
pub fn clear_tree(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let error = match clear_once(dir) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        if Instant::now() > deadline {
            bail!("{} ({error}; processes {:?})", dir.display(), procs_of(dir));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn clear_once(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            clear_once(&entry.path())?;
        }
    }
    for pid in procs_of(dir).unwrap_or_default() {
        if let Some(pid) = rustix::process::Pid::from_raw(pid as i32) {
            // It may be dead already, which is what is wanted.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
    fs::remove_dir(dir)
}

/// Reads a cgroup file.
pub fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))
}

/// Writes a cgroup file.
pub fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("writing {text:?} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_set_and_nothing_stays() {
        let parent = Cgroup::new("fixture").unwrap();
        let child = parent.child("inner").unwrap();
        child.set_memory_limit(16 << 20).unwrap();
        assert_eq!(child.memory_limit().unwrap(), 16 << 20);
        child.set_cpu_quota(Some(5_000), 50_000).unwrap();
        child.set_cpu_quota(None, 100_000).unwrap();
        let mut sleeper = process::Command::new("sleep").arg("1000").spawn().unwrap();
        child.add(sleeper.id()).unwrap();
        assert_eq!(child.procs().unwrap(), [sleeper.id()]);
        let dirs: Vec<_> = parent.dirs.iter().chain(&child.dirs).cloned().collect();
        assert!(dirs.iter().all(|d| d.exists()));
        // In the wrong order: the parent has to take the child with it.
        drop(parent);
        drop(child);
        assert!(!sleeper.wait().unwrap().success());
        assert!(dirs.iter().all(|d| !d.exists()));
    }
}
