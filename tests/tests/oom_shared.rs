//! OOM kills by a limit that several share: who uses it, against the kernel's own files.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    cgroup::{self, Cgroup},
    events::Line,
    oom::{Stage, check_victim, only},
    workload::Workload,
};

const MIB: u64 = 1 << 20;
/// Of the limit that is shared.
const LIMIT: u64 = 64 * MIB;
/// A cgroup without processes has given back what CPUs charged ahead (64 pages each); the kernel's
/// tables for a process and its own small parts are not counted with its pages.
const SLACK: u64 = 2 * MIB;

/// Bytes in use as the kernel's file tells them.
fn in_use(cgroup: &Cgroup) -> Result<u64> {
    let (version, folder) = cgroup.controller_dir("memory")?;
    let name = if version == 1 {
        "memory.usage_in_bytes"
    } else {
        "memory.current"
    };
    Ok(cgroup::read(&folder.join(name))?.trim().parse()?)
}

/// A file in memory that somebody has left behind; dropping it removes it.
struct Left(PathBuf);

impl Left {
    /// Written from within `cgroup` by a process that is gone afterwards.
    fn by(cgroup: &Cgroup, mib: u64) -> Result<Self> {
        let name = format!("limitscope-test-{}-left", std::process::id());
        let file = Path::new("/dev/shm").join(name);
        let script = "read go; head -c \"$1\" /dev/zero >\"$2\"";
        let mut writer = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg((mib * MIB).to_string())
            .arg(&file)
            .stdin(Stdio::piped())
            .spawn()?;
        let left = Self(file);
        cgroup.add(writer.id())?;
        // The end of its input lets it begin.
        drop(writer.stdin.take());
        ensure!(writer.wait()?.success(), "nothing was written");
        Ok(left)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0) {
            eprintln!("LEFT BEHIND: {}: {error}", self.0.display());
        }
    }
}

/// What the line tells of one cgroup.
fn share(line: &Line, cgroup: &Cgroup) -> Result<u64> {
    let all = line.value["oom.limit.containers"].as_array();
    let path = cgroup.path();
    let of = |share: &&serde_json::Value| share["process.linux.cgroup"] == *path;
    let found = all.context("no shares")?.iter().find(of);
    found
        .and_then(|share| share["bytes"].as_u64())
        .with_context(|| format!("nothing of {path}: {}", line.value))
}

/// Three share a limit: one that holds `holds` MiB, one that has left `left` MiB behind and is gone, and
/// the victim, which takes the rest. Returns the kill's line.
fn shared(command: &str, holds: u64, left: u64) -> Result<Line> {
    let stage = Stage::set()?;
    let parent = Cgroup::new("oom")?;
    parent.set_memory_limit(LIMIT)?;
    let [gone, holder, victim] = ["gone", "holder", "victim"].map(|name| parent.child(name));
    let (gone, holder, victim) = (gone?, holder?, victim?);
    let _file = Left::by(&gone, left)?;
    let remains = in_use(&gone)?;
    ensure!(
        remains >= left * MIB,
        "the file is charged to it: {remains}"
    );
    gone.remove()?;
    let mib = holds.to_string();
    let mut holding = Workload::start_in(&holder, &["anon", "--mib", &mib])?;
    holding.run()?;
    let held = in_use(&holder)?;
    let mut dying = Workload::start_in(&victim, &["anon", "--mib", "64", "--comm", command])?;
    dying.set_oom_score_adj(1_000)?;
    ensure!(dying.run_to_death()?.signal() == Some(9), "it lives");
    // Before it kills, the kernel has the CPUs give back what they charged ahead.
    let holds_now = in_use(&holder)?;
    ensure!(holds_now.abs_diff(held) <= SLACK, "{holds_now} of {held}");
    let (events, log) = stage.finish(command, 1)?;
    let line = only(&events)?;
    check_victim(line, log.victim(command)?)?;
    assert_eq!(line.text("oom.limit.cgroup")?, parent.path());
    assert_eq!(line.number("oom.limit.container_count")?, 2);
    let told = share(line, &holder)?;
    assert!(
        (holds_now.min(held)..=holds_now.max(held)).contains(&told),
        "{told} of {held}"
    );
    let rest = line.number("oom.limit.rest_bytes")?;
    assert!(
        rest.abs_diff(remains) <= SLACK,
        "{rest} of {remains} in none"
    );
    let taken = line.number("oom.victim.memory.anon_bytes")?;
    assert!(share(line, &victim)?.abs_diff(taken) <= SLACK);
    Ok(line.clone())
}

#[test]
fn what_a_container_has_left_behind_is_told() -> Result<()> {
    let line = shared("lst-oom-left", 12, 36)?;
    let advice = line.text("oom.recommendation")?;
    assert!(advice.contains("charged to no container"), "{advice}");
    Ok(())
}

#[test]
fn the_one_that_uses_most_is_named_and_not_the_victim() -> Result<()> {
    let line = shared("lst-oom-shared", 40, 4)?;
    let advice = line.text("oom.recommendation")?;
    assert!(advice.contains("/holder"), "{advice}");
    Ok(())
}
