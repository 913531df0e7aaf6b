//! A locked-down kernel. There is no way back from it but a boot, so that the kernel matrix runs this
//! suite last in each of its guests; elsewhere it does nothing but say so.

use std::{fs, io, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{agent, emulated, skip};
use rustix::mount::{MountFlags, mount};

const SECURITYFS: &str = "/sys/kernel/security";

/// Locks it so far that no program may read the kernel's memory (kernel_lockdown(7)).
fn lock_down() -> Result<()> {
    let file = Path::new(SECURITYFS).join("lockdown");
    if !file.exists() {
        mount(
            "securityfs",
            SECURITYFS,
            "securityfs",
            MountFlags::empty(),
            None,
        )
        .map_err(io::Error::from)
        .context("mounting securityfs")?;
    }
    fs::write(&file, "confidentiality").with_context(|| format!("writing {}", file.display()))
}

#[test]
fn a_locked_kernel_is_named_with_the_way_out() -> Result<()> {
    const TEST: &str = "a_locked_kernel_is_named_with_the_way_out";
    if !emulated() {
        skip(
            TEST,
            "would lock this machine; run `cargo xtask test --vm`, which has guests for it",
        );
        return Ok(());
    }
    lock_down()?;
    for args in [&["check"][..], &["run", "--duration", "1s"]] {
        let output = agent::output(args, Duration::from_mins(1))?;
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        println!("{args:?}: {all}");
        ensure!(!output.status.success(), "{args:?} says that it works");
        let problem = all
            .lines()
            .find(|line| line.contains("the kernel is locked down"));
        ensure!(problem.is_some(), "{args:?} does not say that it is locked");
        ensure!(
            all.contains("boot with lockdown=integrity or lockdown=none"),
            "{args:?} names no way out"
        );
    }
    Ok(())
}
