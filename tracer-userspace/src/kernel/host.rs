//! What this machine offers: facts only, no decisions.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::process::Resource;

use super::btf;
use super::capabilities::Capabilities;
use super::cgroup_mounts::CgroupLayout;
use super::mount_table::{Mount, mounts};

#[cfg(test)]
mod tests;

/// Inode of the initial user namespace (`PROC_USER_INIT_INO`, `linux/proc_ns.h`).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";
/// Inode of the initial PID namespace (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// A fact's file that could not be read. Facts that may be absent are `Option`s instead.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// A file of `/proc` or `/sys` that every kernel has.
    #[error("cannot read {}: {source} (is /proc or /sys mounted?)", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds something else than it should.
    #[error("{} holds no {expected}: {text:?}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        text: String,
    },
}

/// The kernel's lockdown mode (`/sys/kernel/security/lockdown`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// The kernel does not tell: no lockdown, or securityfs is not mounted.
    Unknown,
    /// Off.
    None,
    /// The kernel cannot be changed; tracing works.
    Integrity,
    /// The kernel's memory cannot be read, not even by BPF programs.
    Confidentiality,
}

/// Limit of locked memory (`RLIMIT_MEMLOCK`) in bytes; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemlockLimit {
    /// In force.
    pub soft: Option<u64>,
    /// Up to which it can be raised without `CAP_SYS_RESOURCE`.
    pub hard: Option<u64>,
}

/// Whether this kernel attaches programs to its functions, found by trying; `None` where nobody
/// tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FunctionPrograms {
    /// By fentry and fexit.
    pub fexit: Option<bool>,
    /// By kprobe and kretprobe; an error says why not.
    pub kprobe: Option<Result<(), String>>,
}

/// What this machine offers.
#[derive(Clone, Debug)]
pub struct HostFacts {
    /// Kernel release, for people: nothing is decided by it.
    pub kernel_release: String,
    /// Highest possible CPU number and one: what per-CPU maps need.
    pub possible_cpus: u32,
    /// CPUs that are online.
    pub online_cpus: u32,
    /// Bytes of a page.
    pub page_size: u64,
    /// Effective user id.
    pub uid: u32,
    /// Effective capabilities.
    pub capabilities: Capabilities,
    /// The bounding set: what a program that is started from here can come to hold.
    pub bounding: Capabilities,
    /// Whether no program that is started from here gets more rights (`no_new_privs`), by file
    /// capabilities or by sudo.
    pub no_new_privs: bool,
    /// The running program's own file, for commands that people are told.
    pub program: PathBuf,
    /// Whether this is the initial user namespace: capabilities of others do not count for BPF.
    pub initial_user_namespace: bool,
    /// Whether this is the initial PID namespace: elsewhere `/proc` has other numbers than the
    /// kernel's records.
    pub initial_pid_namespace: bool,
    /// `kernel.perf_event_paranoid`; does not matter to `tp_btf` programs.
    pub perf_event_paranoid: Option<i64>,
    /// `kernel.unprivileged_bpf_disabled`; does not matter with `CAP_BPF`.
    pub unprivileged_bpf_disabled: Option<i64>,
    /// `kernel.bpf_stats_enabled`: whether the kernel measures what programs cost.
    pub bpf_stats_enabled: Option<i64>,
    /// Lockdown mode.
    pub lockdown: Lockdown,
    /// Limit of locked memory.
    pub memlock: MemlockLimit,
    /// Size of the kernel's BTF in bytes; `None` where it has none.
    pub btf_bytes: Option<u64>,
    /// Where tracefs is mounted. Not needed by `tp_btf` programs.
    pub tracefs: Option<PathBuf>,
    /// Whether programs can be attached to functions.
    pub functions: FunctionPrograms,
    /// Cgroup mounts.
    pub cgroups: CgroupLayout,
}

impl HostFacts {
    /// Looks at this machine. With `cgroup_root`, only cgroup mounts at or below it count, e.g. the
    /// host's within a container.
    pub fn read(cgroup_root: Option<&Path>) -> Result<Self, HostError> {
        let mount_table = mounts(&bytes("/proc/self/mountinfo")?);
        let self_cgroup = bytes("/proc/self/cgroup")?;
        let status = text("/proc/self/status")?;
        Ok(Self {
            kernel_release: text("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            possible_cpus: cpu_list("/sys/devices/system/cpu/possible")?.highest + 1,
            online_cpus: cpu_list("/sys/devices/system/cpu/online")?.count,
            page_size: rustix::param::page_size() as u64,
            uid: rustix::process::geteuid().as_raw(),
            capabilities: Capabilities::effective(&status).ok_or_else(|| HostError::Content {
                path: "/proc/self/status".into(),
                expected: "effective capabilities",
                text: shortened(&status),
            })?,
            bounding: Capabilities::bounding(&status).unwrap_or_default(),
            no_new_privs: status.lines().any(|line| line == "NoNewPrivs:\t1"),
            program: std::env::current_exe().unwrap_or_else(|_| "limitscope".into()),
            initial_user_namespace: is_namespace("/proc/self/ns/user", INITIAL_USER_NAMESPACE),
            initial_pid_namespace: is_namespace("/proc/self/ns/pid", INITIAL_PID_NAMESPACE),
            perf_event_paranoid: sysctl("perf_event_paranoid"),
            unprivileged_bpf_disabled: sysctl("unprivileged_bpf_disabled"),
            bpf_stats_enabled: sysctl("bpf_stats_enabled"),
            lockdown: fs::read_to_string("/sys/kernel/security/lockdown")
                .map_or(Lockdown::Unknown, |text| Lockdown::parse(&text)),
            memlock: memlock(),
            btf_bytes: fs::metadata(btf::SYSFS_PATH).ok().map(|meta| meta.len()),
            tracefs: first_of_type(&mount_table, b"tracefs"),
            functions: FunctionPrograms::default(),
            cgroups: CgroupLayout::inspect(&mount_table, &self_cgroup, cgroup_root),
        })
    }
}

impl Lockdown {
    /// The mode in brackets: `none [integrity] confidentiality`.
    fn parse(text: &str) -> Self {
        let mode = text
            .split_ascii_whitespace()
            .find_map(|word| word.strip_prefix('[')?.strip_suffix(']'));
        match mode {
            Some("none") => Self::None,
            Some("integrity") => Self::Integrity,
            Some("confidentiality") => Self::Confidentiality,
            _ => Self::Unknown,
        }
    }

    /// Name for people and for JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::None => "none",
            Self::Integrity => "integrity",
            Self::Confidentiality => "confidentiality",
        }
    }
}

/// CPUs of a list such as `0-3,8`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct CpuList {
    count: u32,
    highest: u32,
}

impl CpuList {
    fn parse(text: &str) -> Option<Self> {
        let mut list = Self {
            count: 0,
            highest: 0,
        };
        for range in text.trim().split(',') {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
            // The kernel's NR_CPUS is 8,192 at most.
            if last < first || last >= 1 << 16 {
                return None;
            }
            list.count += last - first + 1;
            list.highest = list.highest.max(last);
        }
        Some(list)
    }
}

fn cpu_list(path: &str) -> Result<CpuList, HostError> {
    let text = text(path)?;
    CpuList::parse(&text).ok_or_else(|| HostError::Content {
        path: path.into(),
        expected: "list of CPUs",
        text: shortened(&text),
    })
}

fn bytes(path: &str) -> Result<Vec<u8>, HostError> {
    fs::read(path).map_err(|source| HostError::Read {
        path: path.into(),
        source,
    })
}

fn text(path: &str) -> Result<String, HostError> {
    bytes(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

fn sysctl(name: &str) -> Option<i64> {
    let text = fs::read_to_string(Path::new("/proc/sys/kernel").join(name)).ok()?;
    text.trim().parse().ok()
}

fn is_namespace(path: &str, initial: &str) -> bool {
    fs::read_link(path).is_ok_and(|target| target.as_os_str() == initial)
}

fn memlock() -> MemlockLimit {
    let limit = rustix::process::getrlimit(Resource::Memlock);
    MemlockLimit {
        soft: limit.current,
        hard: limit.maximum,
    }
}

fn first_of_type(mounts: &[Mount], fs_type: &[u8]) -> Option<PathBuf> {
    mounts
        .iter()
        .find(|mount| mount.fs_type == fs_type)
        .map(|mount| PathBuf::from(OsString::from_vec(mount.mount_point.clone())))
}
