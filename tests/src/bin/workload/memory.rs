//! Modes that use memory, page by page, bypassing the allocator.

use std::{
    ffi::c_void,
    fs::{File, OpenOptions},
    io::{self, Write},
    mem,
    os::fd::{AsRawFd, FromRawFd},
    ptr, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{Options, own};

const MIB: usize = 1 << 20;
const PAGE: usize = 4096;

/// A mapping that stays for the life of the process.
struct Mapping(*mut c_void, usize);

impl Mapping {
    fn new(length: usize, flags: i32, file: Option<&File>) -> Result<Self> {
        let fd = file.map_or(-1, AsRawFd::as_raw_fd);
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let at = unsafe { libc::mmap(ptr::null_mut(), length, protection, flags, fd, 0) };
        if at == libc::MAP_FAILED {
            bail!("mmap of {length} bytes: {}", io::Error::last_os_error());
        }
        Ok(Self(at, length))
    }

    /// Writes one byte into each page of `[from, to)`.
    fn touch(&self, from: usize, to: usize) {
        for at in (from..to.min(self.1)).step_by(PAGE) {
            // SAFETY: `at` is within the mapping, which is writable and never unmapped.
            unsafe { ptr::write_volatile(self.0.cast::<u8>().add(at), 1) };
        }
    }

    /// Touches it: at once, or in chunks of `--chunk` KiB at `--rate` MiB/s.
    fn fill(&self, options: &Options) -> Result<()> {
        self.fill_from(0, options)
    }

    /// The same from an offset on.
    fn fill_from(&self, from: usize, options: &Options) -> Result<()> {
        let rate: f64 = options.number("rate", 0.0)?;
        let chunk = options.number("chunk", 256_usize)? * 1024;
        let start = Instant::now();
        for at in (from..self.1).step_by(chunk) {
            self.touch(at, at + chunk);
            if rate > 0.0 {
                let due = Duration::from_secs_f64((at + chunk - from) as f64 / MIB as f64 / rate);
                thread::sleep(due.saturating_sub(start.elapsed()));
            }
        }
        Ok(())
    }

    /// Gives the pages from an offset on back to the kernel.
    fn give_back(&self, from: usize) -> Result<()> {
        // SAFETY: the range is within this mapping, and nothing of it is in use: new pages of a
        // private anonymous mapping are zero.
        let done = unsafe {
            let at = self.0.cast::<u8>().add(from).cast();
            libc::madvise(at, self.1 - from, libc::MADV_DONTNEED)
        };
        if done != 0 {
            bail!("madvise: {}", io::Error::last_os_error());
        }
        Ok(())
    }

    /// Reads one byte of each page.
    fn look(&self) {
        for at in (0..self.1).step_by(PAGE) {
            // SAFETY: `at` is within the mapping, which is readable and never unmapped.
            unsafe { ptr::read_volatile(self.0.cast::<u8>().add(at)) };
        }
    }

    /// Keeps the pages from being reclaimed.
    fn lock(&self) -> Result<()> {
        // SAFETY: the range is exactly this mapping.
        if unsafe { libc::mlock(self.0, self.1) } != 0 {
            bail!("mlock: {}", io::Error::last_os_error());
        }
        Ok(())
    }
}

/// Touches a new private mapping: at once, or in chunks at `--rate` MiB/s.
fn leak(options: &Options, mib: usize) -> Result<()> {
    Mapping::new(mib * MIB, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?.fill(options)
}

/// `saw-tooth --low N --high M --rate MIB_PER_S --times T`: from N MiB to M and back at once, so
/// often.
pub fn saw_tooth(options: &Options) -> Result<Value> {
    let low = options.number("low", 16_usize)? * MIB;
    let high = options.number("high", 32_usize)? * MIB;
    let map = Mapping::new(high, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?;
    map.touch(0, low);
    for _ in 0..options.number("times", 4)? {
        map.fill_from(low, options)?;
        map.give_back(low)?;
    }
    Ok(json!({}))
}

/// `cache --file PATH --mib N`: writes and reads a file, whose pages stay in the page cache.
pub fn cache(options: &Options) -> Result<Value> {
    let path = options.text("file").context("--file?")?;
    let mut file = File::create_new(path)?;
    let block = vec![7; MIB];
    for _ in 0..options.number("mib", 64_usize)? {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    io::copy(&mut File::open(path)?, &mut io::sink())?;
    Ok(json!({}))
}

/// `anon --mib N [--rate MIB_PER_S] [--chunk KIB]`.
pub fn anon(options: &Options) -> Result<Value> {
    leak(options, options.number("mib", 64)?)?;
    Ok(json!({}))
}

/// `shmem --kind anon|tmpfs|memfd --mib N [--dir TMPFS]`.
pub fn shmem(options: &Options) -> Result<Value> {
    let length = options.number("mib", 64_usize)? * MIB;
    let kind = options.text("kind").unwrap_or("anon");
    let file = match kind {
        "anon" => None,
        "tmpfs" => Some(tempfile::tempfile_in(
            options.text("dir").context("--dir?")?,
        )?),
        "memfd" => {
            // SAFETY: the name is a NUL-terminated literal.
            let fd = unsafe { libc::memfd_create(c"limitscope-workload".as_ptr(), 0) };
            if fd < 0 {
                bail!("memfd_create: {}", io::Error::last_os_error());
            }
            // SAFETY: the descriptor was just made and has no other owner.
            Some(unsafe { File::from_raw_fd(fd) })
        }
        other => bail!("--kind {other:?}?"),
    };
    if let Some(file) = &file {
        file.set_len(length as u64)?;
    }
    let anonymous = if file.is_some() {
        0
    } else {
        libc::MAP_ANONYMOUS
    };
    let map = Mapping::new(length, libc::MAP_SHARED | anonymous, file.as_ref())?;
    map.fill(options)?;
    mem::forget(file);
    Ok(json!({}))
}

/// `mixed --file PATH --file-mib N --mib M`: maps a file of its own on disk and holds it in
/// memory, then uses private memory.
pub fn mixed(options: &Options) -> Result<Value> {
    let path = options.text("file").context("--file?")?;
    let length = options.number("file-mib", 8_usize)? * MIB;
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    let block = vec![7; MIB];
    for _ in 0..length / MIB {
        file.write_all(&block)?;
    }
    file.sync_all()?;
    let map = Mapping::new(length, libc::MAP_SHARED, Some(&file))?;
    map.look();
    map.lock()?;
    leak(options, options.number("mib", 64)?)?;
    Ok(json!({}))
}

/// `threads --threads N --mib M [--leader-exits 1]`: each thread uses M MiB.
pub fn threads(options: &Options) -> Result<Value> {
    let count = options.number("threads", 4_usize)?;
    let length = options.number("mib", 64_usize)? * MIB;
    let leader_exits = options.number("leader-exits", 0_u8)? == 1;
    let mut handles = Vec::new();
    for _ in 0..count {
        handles.push(thread::spawn(move || -> Result<()> {
            if leader_exits {
                // Long enough for the leader to be gone; the order does not matter otherwise.
                thread::sleep(Duration::from_millis(100));
            }
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            Mapping::new(length, flags, None).map(|map| map.touch(0, length))
        }));
    }
    if leader_exits {
        // SAFETY: ends only this thread; nothing on its stack is shared with the others.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
    }
    for handle in handles {
        handle
            .join()
            .map_err(|_| anyhow::anyhow!("a thread panicked"))??;
    }
    Ok(json!({}))
}

/// `fork --mib N`: a child uses the memory; the parent tells how the child ended.
pub fn fork(options: &Options) -> Result<Value> {
    own::never_killed()?;
    let pid = own::fork()?;
    if pid == 0 {
        own::die_with_parent()?;
        own::killed_like_others()?;
        let survived = leak(options, options.number("mib", 64)?);
        std::process::exit(i32::from(survived.is_err()));
    }
    let mut status = 0;
    // SAFETY: `status` is a valid place for the result.
    if unsafe { libc::waitpid(pid, &raw mut status, 0) } != pid {
        bail!("waitpid: {}", io::Error::last_os_error());
    }
    let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
    Ok(json!({ "child": pid, "signal": signal }))
}

/// `sharer --mib N`: a child uses the memory, and a process that shares all of it without being a
/// thread of it sleeps. The parent tells how the two ended.
pub fn sharer(options: &Options) -> Result<Value> {
    // SAFETY: the option takes no pointer. Orphans become this process's children.
    if unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1) } != 0 {
        bail!("prctl: {}", io::Error::last_os_error());
    }
    own::never_killed()?;
    let child = own::fork()?;
    if child == 0 {
        own::die_with_parent()?;
        own::killed_like_others()?;
        clone_sleeper()?;
        let survived = leak(options, options.number("mib", 64)?);
        std::process::exit(i32::from(survived.is_err()));
    }
    let mut ends = Vec::new();
    while ends.len() < 2 {
        let mut status = 0;
        // SAFETY: `status` is a valid place for the result.
        let pid = unsafe { libc::waitpid(-1, &raw mut status, 0) };
        if pid < 0 {
            bail!("waitpid: {}", io::Error::last_os_error());
        }
        let signal = libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        ends.push(json!({ "pid": pid, "leaks": pid == child, "signal": signal }));
    }
    Ok(json!({ "ends": ends }))
}

/// Makes a process that shares this one's memory and sleeps.
fn clone_sleeper() -> Result<()> {
    extern "C" fn sleep(_: *mut c_void) -> i32 {
        // So that it goes even if nobody kills it.
        // SAFETY: both calls only concern this process.
        unsafe {
            libc::alarm(120);
            loop {
                libc::pause();
            }
        }
    }
    const STACK: usize = 64 << 10;
    let stack = Mapping::new(STACK, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?;
    // SAFETY: the stack is mapped for the life of the process and nobody else uses it; the function
    // touches nothing that is shared.
    let pid = unsafe {
        let top = stack.0.cast::<u8>().add(STACK).cast();
        libc::clone(sleep, top, libc::CLONE_VM | libc::SIGCHLD, ptr::null_mut())
    };
    if pid < 0 {
        bail!("clone: {}", io::Error::last_os_error());
    }
    Ok(())
}
