//! What a thread reads and sets of itself.

use std::{ffi::CString, fs, io};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Thread id of the caller.
pub fn tid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// Has the kernel kill this process when the thread that started it ends.
pub fn die_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .context("PR_SET_PDEATHSIG")
}

/// Sets the command name of the calling thread (15 bytes are kept).
pub fn set_comm(name: &str) -> Result<()> {
    let name = CString::new(name).context("a command name holds no NUL")?;
    rustix::thread::set_name(&name).context("PR_SET_NAME")
}

/// Has the kernel never pick this process, where it has `CAP_SYS_RESOURCE`: it lives on where the
/// victim's memory comes free too late, which would have the kernel kill everybody in the cgroup
/// (`OOM_SCORE_ADJ_MIN`, include/uapi/linux/oom.h).
pub fn never_killed() -> Result<()> {
    match set_oom_score_adj("-1000") {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.context("setting oom_score_adj"),
    }
}

/// Has it be picked like everybody else again.
pub fn killed_like_others() -> Result<()> {
    set_oom_score_adj("0").context("setting oom_score_adj")
}

fn set_oom_score_adj(adj: &str) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", adj)
}

/// Has all new memory of this process come from one of the machine's nodes (set_mempolicy(2)).
pub fn bind_memory(node: u32) -> Result<()> {
    const MPOL_BIND: libc::c_long = 2;
    let nodes = 1_u64.checked_shl(node).context("a node below 64")?;
    // SAFETY: the kernel reads the one word that is there; the call changes only where this
    // process's new pages come from.
    let done = unsafe {
        let bits = libc::c_long::from(u64::BITS as i32);
        libc::syscall(libc::SYS_set_mempolicy, MPOL_BIND, &raw const nodes, bits)
    };
    if done != 0 {
        bail!("set_mempolicy: {}", io::Error::last_os_error());
    }
    Ok(())
}

/// Forks; returns 0 in the child.
pub fn fork() -> Result<i32> {
    // SAFETY: the callers are single-threaded at this point, so the child may use everything.
    let pid = unsafe { libc::fork() };
    if pid < 0 {
        bail!("fork: {}", io::Error::last_os_error());
    }
    Ok(pid)
}

/// Run time, run delay (both ns) and number of timeslices of the calling thread
/// (`/proc/PID/task/TID/schedstat`, Documentation/scheduler/sched-stats.rst).
pub fn schedstat() -> Result<[u64; 3]> {
    let text = fs::read_to_string(format!("/proc/self/task/{}/schedstat", tid()))?;
    let mut numbers = text.split_whitespace().map(str::parse::<u64>);
    let mut next = || {
        numbers
            .next()
            .context("schedstat has three numbers")?
            .context(text.clone())
    };
    Ok([next()?, next()?, next()?])
}

/// The counters of the calling thread as JSON.
pub fn counters() -> Result<Value> {
    let status = fs::read_to_string(format!("/proc/self/task/{}/status", tid()))?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok())
            .with_context(|| format!("no {name} in status"))
    };
    let [run, wait, slices] = schedstat()?;
    Ok(json!({
        "tid": tid(),
        "run_ns": run,
        "wait_ns": wait,
        "timeslices": slices,
        "voluntary": field("voluntary_ctxt_switches:")?,
        "involuntary": field("nonvoluntary_ctxt_switches:")?,
    }))
}
