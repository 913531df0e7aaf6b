//! The demo's own cgroups: made, limited, read and removed, on cgroup v1 and v2 alike.
//!
//! Everything is below one directory per hierarchy, `limitscope-demo-PID`, whose lock is held as
//! long as the demo lives. A directory of that name that nobody holds was left by a demo that was
//! killed, and is removed by the next one.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, Signal, kill_process},
};

use crate::kernel::cgroup_mounts::{CgroupLayout, CgroupVersion};

use super::cgroup_file;

/// What the names of the demo's cgroups begin with.
const PREFIX: &str = "limitscope-demo-";
/// The controllers whose limits are shown.
const CONTROLLERS: [&str; 2] = ["cpu", "memory"];
/// How long the kernel may take to let go of a cgroup whose processes were killed.
const PATIENCE: Duration = Duration::from_secs(5);

/// A hierarchy with at least one of the controllers.
#[derive(Clone, Debug)]
pub struct Place {
    /// Version of its interface.
    pub version: CgroupVersion,
    /// Those of [`CONTROLLERS`] that it has.
    pub controllers: Vec<&'static str>,
    mount: PathBuf,
}

/// The directories of one demo. Dropping it kills what runs inside and removes them.
#[derive(Debug)]
pub struct Sandbox {
    name: String,
    made: Vec<Made>,
    /// Controllers that the children of a v2 root did not have before: the file and the names.
    handed_down: Vec<(PathBuf, Vec<&'static str>)>,
}

#[derive(Debug)]
struct Made {
    place: Place,
    dir: PathBuf,
    /// Open, and with it the lock held.
    _lock: File,
}

/// One of the demo's cgroups.
#[derive(Clone, Debug)]
pub struct Group {
    /// The end of its path in every hierarchy: `/limitscope-demo-PID/NAME`.
    pub path: String,
    dirs: Vec<(Place, PathBuf)>,
}

/// Where the controllers are on this machine.
pub fn places(layout: &CgroupLayout) -> Result<Vec<Place>> {
    let mut places: Vec<Place> = Vec::new();
    for controller in CONTROLLERS {
        let hierarchy = layout.with_controller(controller).with_context(|| {
            format!(
                "this kernel has no cgroup controller {controller}: the demo has no limit to set"
            )
        })?;
        let mount = hierarchy.mount.as_ref().with_context(|| {
            format!(
                "the cgroup hierarchy {} with the controller {controller} is not mounted here, and \
                 the demo makes its cgroups in it; mount it below /sys/fs/cgroup",
                hierarchy.label()
            )
        })?;
        match places.iter_mut().find(|place| place.mount == mount.path) {
            Some(place) => place.controllers.push(controller),
            None => places.push(Place {
                version: hierarchy.version,
                controllers: vec![controller],
                mount: mount.path.clone(),
            }),
        }
    }
    Ok(places)
}

/// Removes what demos that were killed have left; tells how many directories it were.
pub fn remove_leftovers(places: &[Place]) -> usize {
    let mut removed = 0;
    for place in places {
        for entry in fs::read_dir(&place.mount).into_iter().flatten().flatten() {
            if !is_ours(&entry.file_name()) {
                continue;
            }
            // Whoever holds the lock is alive, in whichever PID namespace.
            let Ok(Some(_lock)) = lock(&entry.path()) else {
                continue;
            };
            match clear(&entry.path()) {
                Ok(()) => removed += 1,
                Err(error) => tracing::warn!("a killed demo's cgroup stays: {error:#}"),
            }
        }
    }
    removed
}

fn is_ours(name: &OsStr) -> bool {
    name.to_str()
        .and_then(|name| name.strip_prefix(PREFIX))
        .is_some_and(|rest| {
            rest.starts_with(|c: char| c.is_ascii_digit())
                && rest
                    .bytes()
                    .all(|byte| byte.is_ascii_digit() || byte == b'-')
        })
}

/// Opens a directory and takes its lock; `None` when somebody else has it.
fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = File::open(dir)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Sandbox {
    /// Makes the directories.
    pub fn make(places: &[Place]) -> Result<Self> {
        let mut sandbox = Self {
            name: format!("{PREFIX}{}", std::process::id()),
            made: Vec::new(),
            handed_down: Vec::new(),
        };
        for place in places {
            if place.version == CgroupVersion::V2 {
                let new = hand_down(&place.mount, &place.controllers)?;
                if !new.is_empty() {
                    let file = place.mount.join("cgroup.subtree_control");
                    sandbox.handed_down.push((file, new));
                }
            }
            let dir = place.mount.join(&sandbox.name);
            let lock = make_locked(&dir)?;
            sandbox.made.push(Made {
                place: place.clone(),
                dir: dir.clone(),
                _lock: lock,
            });
            if place.version == CgroupVersion::V2 {
                hand_down(&dir, &place.controllers)?;
            }
        }
        Ok(sandbox)
    }

    /// Makes a cgroup inside.
    pub fn group(&self, name: &str) -> Result<Group> {
        let mut dirs = Vec::new();
        for made in &self.made {
            let dir = made.dir.join(name);
            fs::create_dir(&dir)
                .with_context(|| format!("cannot make the cgroup {}", dir.display()))?;
            dirs.push((made.place.clone(), dir));
        }
        Ok(Group {
            path: format!("/{}/{name}", self.name),
            dirs,
        })
    }

    /// Removes everything now; what stays is an error.
    pub fn remove(mut self) -> Result<()> {
        self.clear()
    }

    fn clear(&mut self) -> Result<()> {
        let mut stays = Vec::new();
        for made in self.made.drain(..).rev() {
            if let Err(error) = clear(&made.dir) {
                stays.push(format!("{error:#}"));
            }
        }
        for (file, controllers) in self.handed_down.drain(..) {
            for controller in controllers {
                // Refused where somebody has come to use it meanwhile: then it is theirs.
                let _ = fs::write(&file, format!("-{controller}"));
            }
        }
        if stays.is_empty() {
            Ok(())
        } else {
            bail!("left behind: {}", stays.join("; "))
        }
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("limitscope: {error:#}");
        }
    }
}

/// Makes a directory and holds its lock. Another demo may take a new directory for a leftover until
/// the lock is held, so it is made again when it is gone then.
fn make_locked(dir: &Path) -> Result<File> {
    for _ in 0..10 {
        match fs::create_dir(dir) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                bail!("cannot make the cgroup {}: this needs root", dir.display())
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot make the cgroup {}", dir.display()));
            }
        }
        if let Ok(Some(lock)) = lock(dir)
            && dir.is_dir()
        {
            return Ok(lock);
        }
    }
    bail!(
        "the cgroup {} is removed by somebody all the time",
        dir.display()
    )
}

/// Gives the children of a v2 cgroup the controllers; tells which they did not have.
fn hand_down(dir: &Path, controllers: &[&'static str]) -> Result<Vec<&'static str>> {
    let file = dir.join("cgroup.subtree_control");
    let before = cgroup_file::read(&file)?;
    let new: Vec<_> = controllers
        .iter()
        .copied()
        .filter(|controller| !before.split_whitespace().any(|has| has == *controller))
        .collect();
    for controller in &new {
        cgroup_file::write(&file, &format!("+{controller}")).with_context(|| {
            format!(
                "the cgroups below {} get no {controller} controller",
                dir.display()
            )
        })?;
    }
    Ok(new)
}

impl Group {
    /// Whether this is the path of it, seen from wherever.
    pub fn is_at(&self, path: &str) -> bool {
        path.ends_with(&self.path)
    }

    /// Moves a process of the demo into it, in every hierarchy.
    pub fn add(&self, pid: u32) -> Result<()> {
        for (_, dir) in &self.dirs {
            cgroup_file::write(&dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Its directory where `controller` is, and the version of the interface.
    pub fn with_controller(&self, controller: &str) -> Result<(CgroupVersion, &Path)> {
        self.dirs
            .iter()
            .find(|(place, _)| place.controllers.contains(&controller))
            .map(|(place, dir)| (place.version, dir.as_path()))
            .with_context(|| format!("there is no controller {controller}"))
    }
}

/// Kills all processes at and below `dir` and removes the directories, deepest first.
fn clear(dir: &Path) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match clear_once(dir) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > deadline => {
                return Err(error)
                    .with_context(|| format!("cannot remove the cgroup {}", dir.display()));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
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
    let inside = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    for pid in inside.lines().filter_map(|line| line.parse().ok()) {
        // 0 stands for a process of another PID namespace. One that is dead already is well.
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
    fs::remove_dir(dir)
}

#[cfg(test)]
mod tests;
