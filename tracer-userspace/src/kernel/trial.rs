//! Whether this kernel attaches programs to functions, found by trying.
//!
//! A kernel can have a function in its BTF and still refuse: without ftrace's direct calls loading
//! fails, and lockdown or a capability may be in the way. So a program that does nothing is loaded
//! and attached for a moment.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
};

use super::{btf::Btf, plan::UNTHROTTLE};

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

/// Tries the function whose exit ends throttling. `None` where the kernel's BTF cannot be read or
/// has not that function.
pub fn fexit() -> Option<bool> {
    let btf = Btf::from_sysfs().ok()?;
    let function = btf.func_id(UNTHROTTLE)?;
    drop(btf);
    Some(attach(function).is_ok())
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
    }
}
