//! One process, read through `/proc` without stopping it.
//!
//! The directory `/proc/PID` is opened once and everything is read relative to it. It stays that of
//! the process which it was opened for: when that one is gone every read fails (`ESRCH`), also when
//! its number has been given anew (`proc_pid_make_inode` in fs/proc/base.c keeps the `struct pid`).
//! What is left is exec, which puts another program under the same directory: [`Process::image`] is
//! taken before and after, and what was read in between counts only if both are the same.

use std::{
    fs::File,
    io::Read,
    os::fd::OwnedFd,
    os::unix::fs::{FileExt, MetadataExt},
};

use crate::model::process_stat::{self, ProcessTimes};
use rustix::{
    fs::{Mode, OFlags, open, openat, readlinkat},
    io::Errno,
    thread::{CapabilitySet, capabilities},
};

/// Most that is read of a file of `/proc`, in bytes.
const LARGEST: u64 = 4 << 20;
/// Most threads whose names are read.
pub const MOST_THREADS: usize = 4096;

/// Why a process could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// It was there, and has ended.
    #[error("process {0} is gone")]
    Gone(u32),
    /// It was not there from the first.
    #[error("there is no process {0}")]
    Absent(u32),
    /// It is there, and has nothing that could be read: `/proc/PID` shows its first thread, which
    /// has ended, also for the moment in which another of its threads calls exec.
    #[error(
        "process {0} has no program to look into: its first thread has ended, or it is just \
         becoming another program, or it is one of the kernel's"
    )]
    NoProgram(u32),
    /// It is there, and `/proc` does not show it.
    #[error(
        "process {0} is hidden: /proc is mounted with hidepid, and shows it only with CAP_SYS_PTRACE"
    )]
    Hidden(u32),
    /// Not allowed.
    #[error("{what} of process {pid} cannot be read: {}", reason(*.lacks))]
    NotAllowed {
        /// The process.
        pid: u32,
        /// What was to be read.
        what: &'static str,
        /// The capability that would allow it. Without one that is not held a security module may
        /// forbid it, and so does a user namespace that is not that of the process.
        lacks: Option<Lacks>,
    },
    /// It became another program while it was read.
    #[error("process {0} became another program while it was read")]
    Changed(u32),
    /// Anything else.
    #[error("{what} of process {pid} cannot be read: {error}")]
    Other {
        /// The process.
        pid: u32,
        /// What was to be read.
        what: &'static str,
        /// The system's reason.
        error: String,
    },
}

/// A capability that is not held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lacks {
    /// `CAP_SYS_PTRACE`: to look into processes.
    SysPtrace,
    /// `CAP_DAC_READ_SEARCH`: to read files that only their owner may.
    DacReadSearch,
}

/// What tells one program in a process from another: its file, and where the kernel put its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Device, inode, size and time of change of the file.
    pub file: FileKey,
    /// Start of the process in clock ticks since boot.
    pub start_ticks: u64,
    /// Start of its code, of its stack and of its arguments. The kernel shows zeros without
    /// `PTRACE_MODE_READ`.
    places: [u64; 3],
}

/// Which file a program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileKey {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
}

/// A process that is being read.
#[derive(Debug)]
pub struct Process {
    /// Its id, as this process sees it.
    pub pid: u32,
    directory: OwnedFd,
}

impl Process {
    /// Opens its directory below `/proc`.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match open(format!("/proc/{pid}"), flags, Mode::empty()) {
            Ok(directory) => Ok(Self { pid, directory }),
            Err(Errno::NOENT) if is_alive(pid) => Err(ProcessError::Hidden(pid)),
            Err(Errno::NOENT) => Err(ProcessError::Absent(pid)),
            Err(error) => Err(failure(pid, "/proc/PID", error)),
        }
    }

    /// Opens a file of it.
    pub fn file(&self, name: &'static str) -> Result<File, ProcessError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.directory, name, flags, Mode::empty())
            .map(File::from)
            .map_err(|error| self.failure(name, error))
    }

    /// What an error means: a file that is missing below a directory that is there is not the end
    /// of the process.
    fn failure(&self, name: &'static str, error: Errno) -> ProcessError {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        match failure(self.pid, name, error) {
            ProcessError::Gone(pid)
                if openat(&self.directory, "stat", flags, Mode::empty()).is_ok()
                    && is_alive(pid) =>
            {
                ProcessError::NoProgram(pid)
            }
            other => other,
        }
    }

    fn io_failure(&self, name: &'static str, error: &std::io::Error) -> ProcessError {
        match Errno::from_io_error(error) {
            Some(errno) => self.failure(name, errno),
            None => other_failure(self.pid, name, error),
        }
    }

    /// Reads a file of it, at most 4 MiB.
    pub fn read(&self, name: &'static str) -> Result<Vec<u8>, ProcessError> {
        let mut bytes = Vec::new();
        self.file(name)?
            .take(LARGEST)
            .read_to_end(&mut bytes)
            .map_err(|error| self.io_failure(name, &error))?;
        Ok(bytes)
    }

    /// The program that it runs now.
    pub fn image(&self) -> Result<Image, ProcessError> {
        let stat = self.read("stat")?;
        let exe = self.file("exe")?;
        let about = exe
            .metadata()
            .map_err(|error| self.io_failure("exe", &error))?;
        let malformed = || ProcessError::Other {
            pid: self.pid,
            what: "stat",
            error: "it has not the form that it should have".to_owned(),
        };
        let fields = process_stat::fields(&stat).ok_or_else(malformed)?;
        // Numbers as in proc_pid_stat(5): 22 starttime, 26 startcode, 28 startstack, 48 arg_start.
        let field = |number: usize| fields.get(number - 3).copied().ok_or_else(malformed);
        Ok(Image {
            file: FileKey {
                device: about.dev(),
                inode: about.ino(),
                size: about.size(),
                modified_ns: i128::from(about.mtime()) * 1_000_000_000
                    + i128::from(about.mtime_nsec()),
            },
            start_ticks: field(22)?,
            places: [field(26)?, field(28)?, field(48)?],
        })
    }

    /// When it began, and the CPU time that it has used.
    pub fn times(&self) -> Option<ProcessTimes> {
        process_stat::times(&self.read("stat").ok()?)
    }

    /// Name of its program's file, without the path; `None` where it may not be read.
    pub fn exe_name(&self) -> Option<String> {
        let target = readlinkat(&self.directory, "exe", Vec::new()).ok()?;
        let target = String::from_utf8_lossy(target.as_bytes()).into_owned();
        let target = target.strip_suffix(" (deleted)").unwrap_or(&target);
        target.rsplit('/').next().map(str::to_owned)
    }

    /// Its arguments, or the variables of its environment at the start: strings that end with a
    /// NUL each.
    pub fn strings(&self, name: &'static str) -> Result<Vec<String>, ProcessError> {
        let bytes = self.read(name)?;
        let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
        if bytes.is_empty() {
            return Ok(Vec::new());
        }
        let strings = bytes.split(|byte| *byte == 0);
        Ok(strings
            .map(|text| String::from_utf8_lossy(text).into_owned())
            .collect())
    }

    /// The names of its threads.
    pub fn thread_names(&self) -> Vec<String> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(tasks) = openat(&self.directory, "task", flags, Mode::empty()) else {
            return Vec::new();
        };
        let Ok(entries) = rustix::fs::Dir::read_from(&tasks) else {
            return Vec::new();
        };
        entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
            .take(MOST_THREADS)
            .filter_map(|thread| {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                let comm = openat(&tasks, format!("{thread}/comm"), flags, Mode::empty()).ok()?;
                let mut name = Vec::new();
                File::from(comm).take(64).read_to_end(&mut name).ok()?;
                Some(String::from_utf8_lossy(&name).trim_end().to_owned())
            })
            .collect()
    }

    /// Bytes of its memory; the handle is bound to the program that ran when it was opened.
    pub fn memory(&self) -> Result<Memory, ProcessError> {
        self.file("mem").map(|file| Memory {
            file,
            pid: self.pid,
        })
    }
}

/// A process's memory, of which this program only reads.
#[derive(Debug)]
pub struct Memory {
    file: File,
    pid: u32,
}

impl Memory {
    /// Fills `bytes` from an address.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), ProcessError> {
        self.file
            .read_exact_at(bytes, address)
            .map_err(|error| other_failure(self.pid, "its memory", &error))
    }
}

/// Whether a process of this number is there, seen or not.
fn is_alive(pid: u32) -> bool {
    i32::try_from(pid)
        .ok()
        .and_then(rustix::process::Pid::from_raw)
        .is_some_and(|pid| {
            matches!(
                rustix::process::test_kill_process(pid),
                Ok(()) | Err(Errno::PERM)
            )
        })
}

fn failure(pid: u32, what: &'static str, error: Errno) -> ProcessError {
    match error {
        Errno::NOENT | Errno::SRCH => ProcessError::Gone(pid),
        Errno::ACCESS | Errno::PERM => ProcessError::NotAllowed {
            pid,
            what,
            lacks: lacks(),
        },
        error => ProcessError::Other {
            pid,
            what,
            error: error.to_string(),
        },
    }
}

/// Why reading is not allowed.
const fn reason(lacks: Option<Lacks>) -> &'static str {
    match lacks {
        Some(Lacks::SysPtrace) => "it takes CAP_SYS_PTRACE",
        Some(Lacks::DacReadSearch) => {
            "it is another user's file, which takes CAP_DAC_READ_SEARCH beside CAP_SYS_PTRACE"
        }
        None => "permission denied",
    }
}

/// What this thread would need to read another user's process.
fn lacks() -> Option<Lacks> {
    let held = capabilities(None).map_or(CapabilitySet::empty(), |sets| sets.effective);
    // `environ`, `auxv` and `mem` are for their owner alone (`tgid_base_stuff` in fs/proc/base.c).
    let files = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::DAC_OVERRIDE;
    if !held.contains(CapabilitySet::SYS_PTRACE) {
        Some(Lacks::SysPtrace)
    } else if !held.intersects(files) {
        Some(Lacks::DacReadSearch)
    } else {
        None
    }
}

fn other_failure(pid: u32, what: &'static str, error: &std::io::Error) -> ProcessError {
    ProcessError::Other {
        pid,
        what,
        error: error.to_string(),
    }
}

#[cfg(test)]
mod tests;
