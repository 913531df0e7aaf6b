//! The few calls of `bpf(2)` that the benchmark makes itself (`include/uapi/linux/bpf.h`).

use std::{
    collections::BTreeSet,
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use anyhow::{Context, Result};
use limitscope_tests::referee::fdinfo;

/// `BPF_PROG_TYPE_RAW_TRACEPOINT`
pub const RAW_TRACEPOINT: u32 = 17;
/// `BPF_PROG_TYPE_TRACING`
pub const TRACING: u32 = 26;
/// `BPF_TRACE_RAW_TP`
pub const TRACE_RAW_TP: u32 = 23;
/// `BPF_MAP_TYPE_ARRAY`
const ARRAY: u32 = 2;

/// Commands.
const MAP_CREATE: libc::c_long = 0;
const MAP_UPDATE_ELEM: libc::c_long = 2;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
const ENABLE_STATS: libc::c_long = 32;

/// `union bpf_attr`, filled by offset. What is behind the members that a kernel knows stays zero,
/// which every kernel takes.
#[repr(C, align(8))]
struct Attr([u8; 152]);

impl Attr {
    const fn new() -> Self {
        Self([0; 152])
    }

    fn put32(mut self, at: usize, value: u32) -> Self {
        self.0[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn put64(mut self, at: usize, value: u64) -> Self {
        self.0[at..at + 8].copy_from_slice(&value.to_ne_bytes());
        self
    }

    fn pointer<T>(self, at: usize, value: *const T) -> Self {
        self.put64(at, value.expose_provenance() as u64)
    }

    fn fd(self, at: usize, fd: &OwnedFd) -> Self {
        self.put32(at, fd.as_raw_fd() as u32)
    }

    fn get32(&self, at: usize) -> u32 {
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&self.0[at..at + 4]);
        u32::from_ne_bytes(bytes)
    }

    /// Makes the call.
    ///
    /// # Safety
    ///
    /// What the attributes point to must live until it is over and be as long as they say.
    unsafe fn call(&mut self, command: libc::c_long) -> io::Result<i32> {
        // SAFETY: the attributes are as long as said; for the rest the caller stands.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                command,
                self.0.as_mut_ptr(),
                size_of::<Self>(),
            )
        };
        if result < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(result as i32)
    }

    /// Makes a call that returns a new descriptor.
    ///
    /// # Safety
    ///
    /// As for [`Self::call`].
    unsafe fn open(mut self, command: libc::c_long) -> io::Result<OwnedFd> {
        // SAFETY: the caller's promise.
        let fd = unsafe { self.call(command) }?;
        // SAFETY: a new descriptor that nobody else has.
        Ok(unsafe { OwnedFd::from_raw_fd(fd) })
    }
}

/// One instruction (`struct bpf_insn`).
pub const fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> u64 {
    code as u64
        | (dst as u64 | (src as u64) << 4) << 8
        | (off as u16 as u64) << 16
        | (imm as u32 as u64) << 32
}

/// Loads a program. A [`TRACING`] one is for the tracepoint whose typedef has this BTF id.
pub fn load(kind: u32, insns: &[u64], tracepoint: Option<u32>) -> Result<OwnedFd> {
    let mut log = vec![0_u8; 64 << 10];
    let mut attr = Attr::new()
        .put32(0, kind)
        .put32(4, insns.len() as u32)
        .pointer(8, insns.as_ptr())
        .pointer(16, c"GPL".as_ptr())
        .put32(24, 1)
        .put32(28, log.len() as u32)
        .pointer(32, log.as_mut_ptr());
    attr.0[48..63].copy_from_slice(b"limitscope_benc");
    if let Some(id) = tracepoint {
        attr = attr.put32(68, TRACE_RAW_TP).put32(108, id);
    }
    // SAFETY: instructions, licence and log live until the end of this function.
    unsafe { attr.open(PROG_LOAD) }.with_context(|| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(0);
        format!(
            "loading a program: {}",
            String::from_utf8_lossy(&log[..end])
        )
    })
}

/// Attaches a [`TRACING`] program; closing the descriptor detaches it.
pub fn attach(program: &OwnedFd) -> Result<OwnedFd> {
    // SAFETY: it points to nothing.
    unsafe { Attr::new().fd(8, program).open(RAW_TRACEPOINT_OPEN) }.context("attaching a program")
}

/// Has the kernel measure the run time of every program as long as the descriptor is open, which
/// is what `kernel.bpf_stats_enabled` does until it is put back.
pub fn enable_stats() -> Result<OwnedFd> {
    // SAFETY: it points to nothing; type 0 is BPF_STATS_RUN_TIME.
    unsafe { Attr::new().open(ENABLE_STATS) }
        .context("having the kernel measure the run time of programs (BPF_ENABLE_STATS)")
}

/// Makes an array with one element.
pub fn array_of_one(value: &[u8]) -> Result<OwnedFd> {
    let attr = Attr::new()
        .put32(0, ARRAY)
        .put32(4, 4)
        .put32(8, value.len() as u32)
        .put32(12, 1);
    // SAFETY: it points to nothing.
    let map = unsafe { attr.open(MAP_CREATE) }.context("making a map")?;
    let key = 0_u32;
    let mut attr = Attr::new()
        .fd(0, &map)
        .pointer(8, &raw const key)
        .pointer(16, value.as_ptr());
    // SAFETY: key and value are as long as the map says.
    unsafe { attr.call(MAP_UPDATE_ELEM) }.context("filling a map")?;
    Ok(map)
}

/// Runs a [`RAW_TRACEPOINT`] program on this CPU with one argument and tells what it returned.
pub fn run(program: &OwnedFd, argument: u64) -> Result<u32> {
    let mut attr = Attr::new()
        .fd(0, program)
        .put32(40, size_of_val(&argument) as u32)
        .pointer(48, &raw const argument);
    // SAFETY: the argument is as long as said.
    unsafe { attr.call(PROG_TEST_RUN) }.context("running a program (BPF_PROG_TEST_RUN)")?;
    Ok(attr.get32(4))
}

/// A program of some process.
#[derive(Debug)]
pub struct Program {
    fd: OwnedFd,
    /// Its name, of which the kernel keeps 15 bytes.
    pub name: String,
}

/// What the kernel measured of a program up to now.
#[derive(Clone, Copy, Debug, Default)]
pub struct Run {
    /// Nanoseconds.
    pub time_ns: u64,
    /// Runs.
    pub count: u64,
}

/// Length of `struct bpf_prog_info` up to `run_cnt`.
const INFO: usize = 208;

impl Program {
    /// One that is loaded already.
    pub fn new(fd: OwnedFd) -> Result<Self> {
        let info = info::<INFO>(&fd)?;
        let name: Vec<u8> = info[64..80]
            .iter()
            .copied()
            .take_while(|&b| b != 0)
            .collect();
        Ok(Self {
            fd,
            name: String::from_utf8_lossy(&name).into_owned(),
        })
    }

    /// Its run time now.
    pub fn run(&self) -> Result<Run> {
        let info = info::<INFO>(&self.fd)?;
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&info[at..at + 8]);
            u64::from_ne_bytes(bytes)
        };
        Ok(Run {
            time_ns: number(192),
            count: number(200),
        })
    }
}

/// The first `N` bytes of what the kernel tells of a program or map.
fn info<const N: usize>(fd: &OwnedFd) -> Result<[u8; N]> {
    #[repr(C, align(8))]
    struct Info<const N: usize>([u8; N]);

    let mut info = Info([0; N]);
    let mut attr = Attr::new()
        .fd(0, fd)
        .put32(4, N as u32)
        .pointer(8, info.0.as_mut_ptr());
    // SAFETY: the buffer is as long as said.
    unsafe { attr.call(OBJ_GET_INFO_BY_FD) }.context("asking about a program or map")?;
    Ok(info.0)
}

/// Every program that a process holds, by itself or by a link.
pub fn programs_of(pid: u32) -> Result<Vec<Program>> {
    let ids: BTreeSet<u64> = fdinfo::descriptors(pid)?
        .iter()
        .filter_map(|descriptor| descriptor.number("prog_id"))
        .collect();
    ids.into_iter()
        .map(|id| {
            // SAFETY: it points to nothing.
            let fd = unsafe { Attr::new().put32(0, id as u32).open(PROG_GET_FD_BY_ID) }
                .with_context(|| format!("opening program {id} of process {pid}"))?;
            Program::new(fd)
        })
        .collect()
}

/// Gets a descriptor of another process's open file (`pidfd_getfd(2)`).
pub fn borrow(pid: u32, fd: i32) -> Result<OwnedFd> {
    let pid = rustix::process::Pid::from_raw(pid as i32).context("not a process id")?;
    let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty())
        .context("pidfd_open")?;
    rustix::process::pidfd_getfd(&process, fd, rustix::process::PidfdGetfdFlags::empty())
        .context("pidfd_getfd")
}
