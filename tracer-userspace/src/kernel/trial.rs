//! Whether this kernel attaches programs to functions, found by trying.
//!
//! A kernel can have a function in its BTF and still refuse: without ftrace's direct calls loading
//! fails, and lockdown or a capability may be in the way. So a program that does nothing is loaded
//! and attached for a moment, and where that is refused a kprobe is made for a moment.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use super::{
    btf::Btf,
    host::FunctionPrograms,
    plan::{OOM_KILL_PROCESS, UNTHROTTLE},
};

/// `BPF_PROG_LOAD` and `BPF_RAW_TRACEPOINT_OPEN` (`include/uapi/linux/bpf.h`).
const PROG_LOAD: libc::c_long = 5;
const RAW_TRACEPOINT_OPEN: libc::c_long = 17;
/// `BPF_PROG_TYPE_TRACING` and `BPF_TRACE_FEXIT`.
const TRACING: u32 = 26;
const TRACE_FEXIT: u32 = 25;
/// `r0 = 0; exit`, eight bytes each.
const NOTHING: [u64; 2] = [0x0000_0000_0000_00b7, 0x0000_0000_0000_0095];

/// The members of `union bpf_attr` for a program's load, up to the last that is needed.
#[repr(C)]
#[derive(Default)]
struct LoadAttr {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_prog_fd: u32,
    reserved: u32,
}

/// Those for attaching it.
#[repr(C)]
#[derive(Default)]
struct OpenAttr {
    name: u64,
    prog_fd: u32,
    reserved: u32,
}

/// The first members of `struct perf_event_attr` (`include/uapi/linux/perf_event.h`), up to its
/// second published size.
#[repr(C)]
#[derive(Default)]
struct PerfEventAttr {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    /// `kprobe_func`: a pointer to the function's name.
    config1: u64,
    /// `probe_offset`.
    config2: u64,
}

/// `PERF_FLAG_FD_CLOEXEC`.
const FD_CLOEXEC: libc::c_ulong = 1 << 3;

/// Tries what attaches to functions. A kprobe is only tried where fexit is refused, or if
/// `kprobe_too`.
pub fn functions(kprobe_too: bool) -> FunctionPrograms {
    let fexit = fexit();
    FunctionPrograms {
        fexit,
        kprobe: (kprobe_too || fexit != Some(true)).then(kprobe),
    }
}

/// Tries the function whose exit ends throttling, or that of OOM kills where there is no such.
/// `None` where the kernel's BTF cannot be read or has neither.
fn fexit() -> Option<bool> {
    let btf = Btf::from_sysfs().ok()?;
    let function = btf
        .func_id(UNTHROTTLE)
        .or_else(|| btf.func_id(OOM_KILL_PROCESS))?;
    drop(btf);
    Some(attach(function).is_ok())
}

/// Makes a kprobe and takes it away again. An error says why there can be none.
fn kprobe() -> Result<(), String> {
    const KIND: &str = "/sys/bus/event_source/devices/kprobe/type";
    let kind = match fs::read_to_string(KIND) {
        Ok(text) => text
            .trim()
            .parse()
            .map_err(|_| format!("{KIND} holds no number"))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("this kernel has no kprobes (needs CONFIG_KPROBE_EVENTS=y)".to_owned());
        }
        Err(error) => return Err(format!("cannot read {KIND}: {error}")),
    };
    let attr = PerfEventAttr {
        kind,
        size: size_of::<PerfEventAttr>() as u32,
        config1: c"oom_kill_process".as_ptr().expose_provenance() as u64,
        ..PerfEventAttr::default()
    };
    // SAFETY: the attributes are as long as they say, and the name lives on; the kernel only reads.
    let result = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&attr),
            -1,
            0,
            -1,
            FD_CLOEXEC,
        )
    };
    if result < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => format!(
                "kprobes are refused: {error} (CAP_SYS_ADMIN, or kernel.perf_event_paranoid of at \
                 most 2)"
            ),
            _ => format!("kprobes are refused: {error}"),
        });
    }
    // SAFETY: a new descriptor that nobody else has. Closing it takes the probe away.
    drop(unsafe { OwnedFd::from_raw_fd(result as i32) });
    Ok(())
}

fn attach(function: u32) -> io::Result<()> {
    let load = LoadAttr {
        prog_type: TRACING,
        insn_cnt: NOTHING.len() as u32,
        insns: NOTHING.as_ptr().expose_provenance() as u64,
        license: c"GPL".as_ptr().expose_provenance() as u64,
        expected_attach_type: TRACE_FEXIT,
        attach_btf_id: function,
        ..LoadAttr::default()
    };
    let program = bpf(PROG_LOAD, &load)?;
    let open = OpenAttr {
        prog_fd: program.as_raw_fd() as u32,
        ..OpenAttr::default()
    };
    // Detached again when the descriptor is closed.
    bpf(RAW_TRACEPOINT_OPEN, &open).map(drop)
}

/// One call of `bpf(2)` that returns a descriptor.
fn bpf<T>(command: libc::c_long, attr: &T) -> io::Result<OwnedFd> {
    // SAFETY: the attributes are as long as said, and what they point to lives until the call is
    // over; the kernel only reads them.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attr),
            size_of::<T>(),
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(result as i32) })
}

#[cfg(test)]
mod tests {
    use std::mem;

    use super::*;

    #[test]
    fn the_attributes_lie_where_the_kernel_looks() {
        assert_eq!(mem::offset_of!(LoadAttr, expected_attach_type), 68);
        assert_eq!(mem::offset_of!(LoadAttr, attach_btf_id), 108);
        assert_eq!(mem::offset_of!(OpenAttr, prog_fd), 8);
        // PERF_ATTR_SIZE_VER1
        assert_eq!(mem::offset_of!(PerfEventAttr, config1), 56);
        assert_eq!(size_of::<PerfEventAttr>(), 72);
    }
}
