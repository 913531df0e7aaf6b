//! Children that see other mounts, or have other rights, than the test.

use std::{
    ffi::{CStr, CString},
    fs, io,
    os::unix::{
        ffi::{OsStrExt, OsStringExt},
        fs::PermissionsExt,
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use rustix::{
    fs::{Mode, OFlags},
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
};

use crate::cgroup::Cgroup;

/// Has the child live in a mount namespace of its own, with an empty tmpfs of this size mounted on
/// `dir`; nothing of it is seen outside, and it ends with the child.
pub fn mount_tmpfs(command: &mut Command, dir: &Path, size: &str) -> Result<()> {
    let dir = CString::new(dir.as_os_str().as_bytes())?;
    let options = CString::new(format!("size={size}"))?;
    // SAFETY: only system calls on memory that was made before the fork.
    unsafe { command.pre_exec(move || mount_privately(&dir, &options)) };
    Ok(())
}

/// Leaves a namespace of this thread (`CLONE_NEWNS`, …) for a new one.
pub(crate) fn leave(namespace: libc::c_int) -> io::Result<()> {
    // SAFETY: unshare takes no memory.
    match unsafe { libc::unshare(namespace) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Leaves the mount namespace; what this thread and its children mount from now on stays within the
/// new one.
pub fn make_mounts_private() -> io::Result<()> {
    leave(libc::CLONE_NEWNS)?;
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    Ok(mount_change(c"/", private)?)
}

fn mount_privately(dir: &CStr, options: &CStr) -> io::Result<()> {
    make_mounts_private()?;
    Ok(mount(
        c"tmpfs",
        dir,
        c"tmpfs",
        MountFlags::empty(),
        options,
    )?)
}

/// Has the child live in a mount namespace of its own, whose /proc hides other users' processes.
pub fn hide_processes(command: &mut Command) {
    // SAFETY: only system calls on memory that was made before the fork.
    unsafe {
        command.pre_exec(|| {
            make_mounts_private()?;
            let (flags, options) = (MountFlags::empty(), c"hidepid=2");
            Ok(mount(c"proc", c"/proc", c"proc", flags, options)?)
        });
    }
}

/// Has the child live in this cgroup, and in a cgroup namespace that begins there.
pub fn own_cgroups(command: &mut Command, home: &Cgroup) -> Result<()> {
    let files = (home.dirs().iter())
        .map(|dir| CString::new(dir.join("cgroup.procs").into_os_string().into_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    // SAFETY: only system calls on memory that was made before the fork.
    unsafe {
        command.pre_exec(move || {
            for file in &files {
                let file = rustix::fs::open(file, OFlags::WRONLY, Mode::empty())?;
                rustix::io::write(&file, b"0")?;
            }
            leave(libc::CLONE_NEWCGROUP)
        });
    }
    Ok(())
}

/// A copy of the program that every user can start, in a folder that every user can enter.
pub fn copy_for_everybody(program: &Path, dir: &Path) -> Result<PathBuf> {
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
    let copy = dir.join("limitscope");
    fs::copy(program, &copy).with_context(|| format!("copying {}", program.display()))?;
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o755))?;
    Ok(copy)
}

/// Kernel-wide ids of the BPF programs that a process holds, from its descriptors.
pub fn bpf_programs(pid: u32) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed in between.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        let id: Option<u32> = text
            .lines()
            .find_map(|l| l.strip_prefix("prog_id:")?.trim().parse().ok());
        ids.extend(id);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

/// Whether a BPF program with this id is loaded (BPF_PROG_GET_FD_BY_ID of bpf(2)).
pub fn bpf_program_exists(id: u32) -> Result<bool> {
    const PROG_GET_FD_BY_ID: libc::c_int = 13;
    let attributes = [id, 0, 0];
    let size = size_of_val(&attributes);
    // SAFETY: the attributes are of the given size and live until the call returns.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, PROG_GET_FD_BY_ID, attributes.as_ptr(), size) };
    if fd >= 0 {
        // SAFETY: the descriptor was just made and has no other owner.
        unsafe { libc::close(fd as libc::c_int) };
        return Ok(true);
    }
    let error = io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::ENOENT) => Ok(false),
        _ => bail!("BPF_PROG_GET_FD_BY_ID {id}: {error}"),
    }
}
