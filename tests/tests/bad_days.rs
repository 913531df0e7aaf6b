//! Hostile names, full disks, sudden ends: nothing is left, nothing breaks the stream.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    cgroup::Cgroup,
    sandbox,
    wait::{self, PATIENCE},
    workload::Workload,
};
use rustix::process::Signal;
use serde_json::Value;

/// No line may be longer than this, whatever names are in it.
const BOUND: usize = 64 << 10;

#[test]
fn hostile_cgroup_names_are_escaped() -> Result<()> {
    let agent = Agent::start(&["--interval", "200ms"])?;
    let unique = format!("limitscope-test-hostile-{}", std::process::id());
    let mut name = unique.clone().into_bytes();
    name.extend_from_slice(b"\x1b[31m\"\\\t\r\x07{}',\xff\xfe\xc3(\xe2\x80\xae");
    let parent = Cgroup::at(OsStr::from_bytes(&name))?;
    let child = parent.plain_child(OsStr::from_bytes(b"a\"b\\c \x01\x7f\xf0\x9f"))?;
    for cgroup in [&parent, &child] {
        Workload::start_in(cgroup, &["duty", "--ms", "300"])?.run()?;
    }
    let is = |line: &limitscope_tests::events::Line| {
        line.kind() == "container_stats" && line.cgroup().contains(&unique)
    };
    agent.wait_for("statistics of the hostile name", is)?;
    // Every line is parsed: an unescaped byte would be found as no JSON or no UTF-8.
    let events = agent.stop()?.events.choose(is);
    let mut paths: Vec<&str> = events
        .0
        .iter()
        .map(limitscope_tests::events::Line::cgroup)
        .collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), 2, "two cgroups, two paths: {paths:?}");
    for path in paths {
        assert!(
            path.contains("[31m\"\\"),
            "what is text stays readable: {path:?}"
        );
    }
    Ok(())
}

#[test]
fn a_path_of_nearly_4_kib_is_bounded() -> Result<()> {
    let agent = Agent::start(&["--interval", "200ms"])?;
    let top = Cgroup::new("deep")?;
    let mut levels = vec![top];
    for level in 0..14 {
        let name = OsString::from_vec(vec![b'a' + level; 255]);
        let below = levels[levels.len() - 1].plain_child(&name)?;
        levels.push(below);
    }
    let deepest = levels.last().context("a level")?;
    let path = deepest.path();
    assert!(path.len() > 3_500);
    Workload::start_in(deepest, &["duty", "--ms", "300"])?.run()?;
    let top = levels[0].path();
    let stats = agent.wait_for("statistics of the deepest level", |line| {
        line.kind() == "container_stats"
            && line.cgroup().len() > 300
            && line.cgroup().starts_with(&top)
    })?;
    // What is cut off says so behind an ellipsis.
    let shown = stats.cgroup().split('…').next().unwrap_or_default();
    assert!(path.starts_with(shown), "{shown} is not {path}");
    assert!(
        stats.cgroup() == path || stats.cgroup().contains('…'),
        "cut off silently: {shown}"
    );
    let finished = agent.stop()?;
    for line in &finished.events.0 {
        assert!(line.value.to_string().len() < BOUND, "{}", line.value);
    }
    // The deepest first: each can only go when it is empty.
    while let Some(level) = levels.pop() {
        level.remove()?;
    }
    Ok(())
}

#[test]
fn a_hostile_command_name_is_told_as_it_is() -> Result<()> {
    let agent = Agent::start(&[])?;
    let cgroup = Cgroup::new("comm")?;
    cgroup.set_memory_limit(16 << 20)?;
    let name = "a\"\\\u{1b}[31m\u{7}),x";
    let mut workload = Workload::start_in(&cgroup, &["anon", "--mib", "32", "--comm", name])?;
    let pid = u64::from(workload.pid());
    workload.run_to_death()?;
    let line = agent.wait_for("the kill", |line| {
        line.value["oom.victim.process.pid"].as_u64() == Some(pid)
    })?;
    assert_eq!(line.text("oom.victim.process.command")?, name);
    agent.stop()?;
    Ok(())
}

#[test]
fn nothing_stays_after_sigkill() -> Result<()> {
    let pins = || -> Vec<OsString> {
        // Where bpffs is not mounted, nothing can be pinned.
        let entries = fs::read_dir("/sys/fs/bpf").into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name()).collect()
    };
    let before = (fs::read_to_string("/proc/self/mounts")?, pins());
    let agent = Agent::start(&[])?;
    let programs = sandbox::bpf_programs(agent.pid())?;
    ensure!(
        programs.len() >= 3,
        "it holds only the programs {programs:?}"
    );
    for &id in &programs {
        ensure!(
            sandbox::bpf_program_exists(id)?,
            "program {id} is loaded while it runs"
        );
    }
    let finished = agent.stop_with(Signal::KILL)?;
    assert_eq!(finished.status.code(), None);
    wait::until("the end of every program", PATIENCE, || {
        for &id in &programs {
            if sandbox::bpf_program_exists(id)? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })?;
    assert_eq!((fs::read_to_string("/proc/self/mounts")?, pins()), before);
    Ok(())
}

#[test]
fn a_full_disk_is_counted_and_tracing_goes_on() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("out.jsonl");
    let args = [
        "run",
        "--interval",
        "100ms",
        "--throttle-min",
        "0ns",
        "--output",
    ]
    .map(OsStr::new);
    let mut command = agent::command(args.into_iter().chain([file.as_os_str()]))?;
    sandbox::mount_tmpfs(&mut command, dir.path(), "8m")?;
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let inside = format!("/proc/{}/root{}", child.id(), dir.path().display());
    let length = || fs::metadata(format!("{inside}/out.jsonl")).map_or(0, |m| m.len());
    // Its ballast leaves room for a few lines only.
    wait::until("the first line in the file", PATIENCE, || {
        Ok((length() > 0).then_some(()))
    })?;
    let ballast = format!("{inside}/ballast");
    let free = (8 << 20) - length().next_multiple_of(4096) as usize;
    fs::write(&ballast, vec![0; free.saturating_sub(64 << 10)])?;
    // More events than are kept for better days: hundreds of intervals a second.
    let cgroup = Cgroup::new("full")?;
    cgroup.set_cpu_quota(Some(1_000), 2_000)?;
    let mut workload = Workload::start_in(&cgroup, &["spin", "--threads", "4", "--ms", "9000"])?;
    workload.run()?;
    wait::until_at_rest(
        "the length of the file",
        Duration::from_millis(700),
        PATIENCE,
        || Ok(length()),
    )?;
    let full = length();
    fs::remove_file(&ballast)?;
    wait::until("lines after the disk had room again", PATIENCE, || {
        Ok((length() > full + 4096).then_some(()))
    })?;
    let lines_file = fs::File::open(format!("{inside}/out.jsonl"))?;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)?;
    let output = agent::finish(child, PATIENCE)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        stderr.contains("out.jsonl"),
        "it does not say which file is full: {stderr}"
    );
    let lines = std::io::read_to_string(lines_file)?;
    let parsed: Vec<Option<Value>> = lines
        .lines()
        .map(|l| serde_json::from_str(l).ok())
        .collect();
    // A line may be torn where the room ended, and only there.
    let torn = parsed.iter().filter(|line| line.is_none()).count();
    assert!(torn <= 1, "{torn} broken lines");
    let last = parsed
        .last()
        .cloned()
        .flatten()
        .context("the last line is whole")?;
    assert_eq!(last["agent.phase"], "stop");
    let lost = last["agent.lost.sink"]
        .as_u64()
        .context("agent.lost.sink")?;
    assert!(lost > 0, "{last}");
    // Nothing is missing that is not counted.
    let whole = (parsed.len() - torn) as u64;
    let seq = last["seq"].as_u64().context("seq")?;
    assert_eq!(seq - whole, lost + torn as u64, "{last}");
    Ok(())
}

#[test]
fn without_btf_it_says_what_is_needed() -> Result<()> {
    for args in [&["run", "--duration", "1s"][..], &["check"]] {
        let mut command = agent::command(args)?;
        sandbox::mount_tmpfs(&mut command, "/sys/kernel/btf".as_ref(), "4k")?;
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = agent::finish(child, PATIENCE)?;
        let all = [output.stdout, output.stderr].concat();
        let all = String::from_utf8_lossy(&all);
        assert_eq!(output.status.code(), Some(1), "{all}");
        assert!(all.contains("CONFIG_DEBUG_INFO_BTF"), "{all}");
    }
    Ok(())
}

#[test]
fn more_cgroups_than_allowed_are_counted() -> Result<()> {
    let mut cgroups = Vec::new();
    for _ in 0..20 {
        cgroups.push(Cgroup::new("crowd")?);
    }
    let agent = Agent::start(&["--max-cgroups", "8", "--interval", "200ms"])?;
    cgroups.push(Cgroup::new("crowd")?);
    for cgroup in &cgroups {
        Workload::start_in(cgroup, &["duty", "--ms", "20"])?.run()?;
    }
    let finished = agent.stop_with(Signal::TERM)?;
    assert!(finished.status.success(), "{}", finished.stderr);
    let last = finished.events.0.last().context("the last line")?;
    assert!(last.number("agent.lost.slots")? > 0, "{}", last.value);
    Ok(())
}
