//! Children with chosen rights, and what the kernel says that a process may do.

use std::{fs, io, os::unix::process::CommandExt, process::Command, thread};

use anyhow::{Context, Result, bail};
use rustix::{
    process::{
        Gid, Resource, Rlimit, Signal, Uid, getrlimit, set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, capabilities, configure_capability_in_ambient_set,
        set_capabilities, set_keep_capabilities, set_thread_groups, set_thread_res_gid,
        set_thread_res_uid,
    },
};

/// The user that owns nothing.
pub const NOBODY: u32 = 65534;

/// Has the child run as [`NOBODY`], in no group besides, with exactly these capabilities, which it
/// keeps when it starts its program (capabilities(7), ambient set).
pub fn as_nobody(command: &mut Command, held: CapabilitySet) {
    // SAFETY: only system calls, without memory that they would have to allocate.
    unsafe { command.pre_exec(move || become_nobody(held)) };
}

fn become_nobody(held: CapabilitySet) -> io::Result<()> {
    let (user, group) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
    set_keep_capabilities(true)?;
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_thread_res_uid(user, user, user)?;
    set_capabilities(
        None,
        CapabilitySets {
            effective: held,
            permitted: held,
            inheritable: held,
        },
    )?;
    for one in held.iter() {
        configure_capability_in_ambient_set(one, true)?;
    }
    // The change of the user took it away.
    Ok(set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// What a thread holds, from its `status` in /proc (proc_pid_status(5)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// `CapInh`, `CapPrm`, `CapEff` and `CapAmb`.
    pub sets: [CapabilitySet; 4],
    /// `NoNewPrivs`.
    pub no_new_privs: bool,
}

/// What each thread of a process holds.
pub fn of_threads(pid: u32) -> Result<Vec<Held>> {
    let mut held = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(str::trim)
                .with_context(|| format!("no {name} in {status}"))
        };
        let mut sets = [CapabilitySet::empty(); 4];
        for (set, name) in sets
            .iter_mut()
            .zip(["CapInh:", "CapPrm:", "CapEff:", "CapAmb:"])
        {
            let bits = u64::from_str_radix(field(name)?, 16)?;
            *set = CapabilitySet::from_bits_retain(bits);
        }
        held.push(Held {
            sets,
            no_new_privs: field("NoNewPrivs:")? == "1",
        });
    }
    Ok(held)
}

/// Whether this kernel lets a map be read by its descriptor only with CAP_BPF, which was so before
/// 5.19 where `kernel.unprivileged_bpf_disabled` is set. Found by trying.
pub fn reading_maps_takes_cap_bpf() -> Result<bool> {
    const MAP_CREATE: libc::c_int = 0;
    const MAP_LOOKUP_ELEM: libc::c_int = 1;
    const ARRAY: u32 = 2;
    let bpf = |command: libc::c_int, attributes: &[u64]| {
        let (pointer, size) = (attributes.as_ptr(), size_of_val(attributes));
        // SAFETY: the attributes, and what they point to, are of the given sizes and live.
        let result = unsafe { libc::syscall(libc::SYS_bpf, command, pointer, size) };
        if result < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(result as i32)
        }
    };
    // Type and size of a key; size of a value and number of entries.
    let words = [u64::from(ARRAY) | 4 << 32, 8 | 1 << 32];
    // Before 5.11 a map counts as locked memory, of which the agent may have taken all. The limit
    // is put back, as children inherit it; where it cannot be raised no kernel wants that.
    let limit = getrlimit(Resource::Memlock);
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let raised = setrlimit(Resource::Memlock, unlimited).is_ok();
    let map = bpf(MAP_CREATE, &words).context("making a map");
    if raised {
        setrlimit(Resource::Memlock, limit)?;
    }
    let map = map?;
    // Capabilities are a thread's own.
    let read = thread::spawn(move || -> Result<io::Result<i32>> {
        let mut sets = capabilities(None)?;
        sets.effective = CapabilitySet::empty();
        set_capabilities(None, sets)?;
        let (key, mut value) = (0u32, 0u64);
        let key = std::ptr::from_ref(&key).expose_provenance() as u64;
        let value = std::ptr::from_mut(&mut value).expose_provenance() as u64;
        Ok(bpf(MAP_LOOKUP_ELEM, &[map as u64, key, value, 0]))
    })
    .join();
    // SAFETY: the descriptor was made above and has no other owner.
    unsafe { libc::close(map) };
    let Ok(read) = read else {
        bail!("the thread that reads the map stopped")
    };
    match read? {
        Ok(_) => Ok(false),
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(true),
        Err(error) => Err(error).context("reading a map"),
    }
}
