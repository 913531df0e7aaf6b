//! Runs the benchmark in a child process and removes what it leaves, however it ends.
//!
//! Processes end with the benchmark by themselves; cgroups do not.

use std::{
    env, fs, io,
    os::unix::process::CommandExt,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use limitscope_tests::{cgroup::clear_tree, mounts::Hierarchies};

/// Set for the child.
const CHILD: &str = "LIMITSCOPE_BENCH_GUARDED";

/// What the names of all cgroups of the benchmark begin with.
const PREFIX: &str = "limitscope-test-bench-";

/// Whether this is the child.
pub fn is_child() -> bool {
    env::var_os(CHILD).is_some()
}

/// Starts the child and cleans up after it.
pub fn watch() -> Result<ExitCode> {
    let mut command = Command::new(env::current_exe()?);
    command.args(env::args_os().skip(1)).env(CHILD, "1");
    // Ctrl-C goes to both; this one has to stay.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
    // SAFETY: signal and prctl are async-signal-safe and touch only the child.
    unsafe {
        command.pre_exec(|| {
            libc::signal(libc::SIGINT, libc::SIG_DFL);
            let signal = Some(rustix::process::Signal::TERM);
            rustix::process::set_parent_process_death_signal(signal)?;
            Ok(())
        });
    }
    let mut child = command.spawn().context("starting the benchmark")?;
    let status = child.wait()?;
    clean_up(child.id())?;
    Ok(match status.code() {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    })
}

/// Removes the cgroups that process `pid` made, with what runs in them.
fn clean_up(pid: u32) -> Result<()> {
    let found = Hierarchies::find()?;
    let mounts = found.v1.into_iter().map(|v1| v1.mount).chain(found.v2);
    let mark = format!("-{pid}-");
    for mount in mounts {
        let entries = match fs::read_dir(&mount) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("reading {}", mount.display()))?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name.contains(&mark) {
                clear_tree(&entry.path())?;
            }
        }
    }
    Ok(())
}
