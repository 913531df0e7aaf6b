//! The command line: what is refused, how it ends, what is written at the end.

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    cgroup::Cgroup,
    mounts::Hierarchies,
    sandbox, wait,
    workload::Workload,
};
use rustix::process::Signal;
use serde_json::Value;

const SOON: Duration = Duration::from_secs(15);

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs to an end that must be a refusal: a message with these words and nothing on stdout.
fn refused(args: &[&str], words: &[&str]) -> Result<Output> {
    let output = agent::output(args, SOON)?;
    let stderr = text(&output.stderr);
    println!("{args:?}: {}, {stderr}", output.status);
    ensure!(!output.status.success(), "{args:?} was accepted");
    ensure!(
        output.status.code().is_some(),
        "{args:?} ended by a signal: {}",
        output.status
    );
    ensure!(!stderr.contains("panicked"), "{args:?}: {stderr}");
    ensure!(
        output.stdout.is_empty(),
        "{args:?} began: {}",
        text(&output.stdout)
    );
    for word in words {
        ensure!(
            stderr.contains(word),
            "{args:?} does not say {word:?}: {stderr}"
        );
    }
    Ok(output)
}

#[test]
fn bad_arguments_are_refused_before_anything_is_attached() -> Result<()> {
    refused(
        &["run", "--events", "oom_kill,moon_phase"],
        &["moon_phase", "oom_kill"],
    )?;
    refused(&["run", "--duration", "10parsecs"], &["10parsecs"])?;
    refused(&["run", "--interval", "often"], &["often"])?;
    refused(&["run", "--interval", "0s"], &["interval"])?;
    refused(&["run", "--throttle-min", "-1ms"], &["throttle-min"])?;
    refused(&["run", "--format", "xml"], &["xml"])?;
    refused(&["run", "--max-cgroups", "0"], &["max-cgroups"])?;
    refused(&["run", "--no-such-option"], &["--no-such-option"])?;
    refused(&["run", "--container", ""], &["--container"])?;
    refused(&["report", "--container", "", "-"], &["--container"])?;
    Ok(())
}

#[test]
fn files_that_cannot_be_written_are_refused_before_anything_is_attached() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let folder = dir.path().to_str().context("a path in UTF-8")?;
    let missing = format!("{folder}/missing/file");
    for option in ["--output", "--report", "--hlog"] {
        for (file, name) in [(&*missing, &*missing), (folder, folder)] {
            let refused = refused(&["run", "--duration", "1s", option, file], &[name])?;
            // Files of its own are nobody's business.
            assert!(!text(&refused.stderr).contains(".limitscope-"));
        }
    }
    Ok(())
}

#[test]
fn without_rights_it_says_which_and_for_what() -> Result<()> {
    let dir = tempfile::tempdir_in("/var/tmp")?;
    let program = sandbox::copy_for_everybody(&agent::binary()?, dir.path())?;
    for args in [&["run", "--duration", "1s"][..], &["check"]] {
        let mut command = std::process::Command::new(&program);
        command
            .args(args)
            .stdin(Stdio::null())
            .uid(65534)
            .gid(65534);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let output = agent::finish(child, SOON)?;
        let all = text(&output.stdout) + &text(&output.stderr);
        println!("{all}");
        assert_eq!(output.status.code(), Some(1), "{args:?}: {all}");
        for capability in ["CAP_BPF", "CAP_PERFMON"] {
            assert!(
                all.contains(capability),
                "{args:?} does not name {capability}: {all}"
            );
        }
    }
    Ok(())
}

#[test]
fn it_ends_well_by_each_way_and_writes_its_reports() -> Result<()> {
    for way in ["SIGTERM", "SIGINT", "--duration"] {
        let dir = tempfile::tempdir()?;
        let file = |name: &str| dir.path().join(name).display().to_string();
        let (report, hlog) = (file("report"), file("run.hlog"));
        let args = ["--interval", "300ms", "--report", &report, "--hlog", &hlog];
        let duration: &[&str] = if way == "--duration" {
            &["--duration", "2s"]
        } else {
            &[]
        };
        let agent = Agent::start(&[&args[..], duration].concat())?;
        let cgroup = Cgroup::new("ends")?;
        Workload::start_in(&cgroup, &["duty", "--ms", "400"])?.run()?;
        let finished = match way {
            "SIGTERM" => agent.stop_with(Signal::TERM)?,
            "SIGINT" => agent.stop_with(Signal::INT)?,
            _ => agent.finish(SOON)?,
        };
        assert!(finished.status.success(), "{way}: {}", finished.stderr);
        let last = finished.events.0.last().context("the last line")?;
        assert_eq!(last.value["agent.phase"], "stop", "{way}");
        for file in [&report, &hlog] {
            let name = cgroup.path().trim_start_matches('/').to_owned();
            assert!(
                text(&fs::read(file)?).contains(&name),
                "{way}: {file} is without {name}"
            );
        }
    }
    Ok(())
}

#[test]
fn without_a_subcommand_it_runs() -> Result<()> {
    let agent = Agent::spawn(agent::command(["--duration", "1s"])?)?;
    let finished = agent.finish(SOON)?;
    assert!(finished.status.success(), "{}", finished.stderr);
    assert_eq!(finished.events.0[0].value["agent.phase"], "start");
    Ok(())
}

#[test]
fn a_closed_stdout_ends_it_quietly() -> Result<()> {
    let mut command = agent::command(["run", "--interval", "100ms"])?;
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut line = String::new();
    // The reader, and with it the pipe, is gone after the first line.
    BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
    assert!(line.contains("\"agent\""), "{line}");
    let output = agent::finish(child, SOON)?;
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(
        !stderr.contains("panicked") && !stderr.contains("roken pipe"),
        "{stderr}"
    );
    Ok(())
}

#[test]
fn events_are_chosen_by_name() -> Result<()> {
    let agent = Agent::start(&["--interval", "200ms", "--events", "oom_kill"])?;
    let cgroup = Cgroup::new("chosen")?;
    cgroup.set_memory_limit(16 << 20)?;
    Workload::start_in(&cgroup, &["duty", "--ms", "600"])?.run()?;
    let args = ["anon", "--mib", "32", "--comm", "lst-cli-chosen"];
    Workload::start_in(&cgroup, &args)?.run_to_death()?;
    agent.wait_for("the kill", |line| line.kind() == "oom_kill")?;
    let events = agent.stop()?.events;
    let other = events.choose(|line| !["oom_kill", "agent"].contains(&line.kind()));
    assert!(other.0.is_empty(), "{other:?}");
    Ok(())
}

#[test]
fn output_goes_to_a_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("out.jsonl");
    let file = path.to_str().context("a path in UTF-8")?;
    let output = agent::output(["run", "--duration", "1s", "--output", file], SOON)?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let lines = fs::read_to_string(&path)?;
    let lines: Result<Vec<Value>, _> = lines.lines().map(serde_json::from_str).collect();
    let lines = lines?;
    assert_eq!(lines[0]["agent.phase"], "start");
    assert_eq!(lines[lines.len() - 1]["agent.phase"], "stop");
    Ok(())
}

#[test]
fn people_get_text_instead_of_json() -> Result<()> {
    let args = ["run", "--duration", "1s", "--format", "pretty"];
    let output = agent::output(args, SOON)?;
    assert!(output.status.success(), "{}", text(&output.stderr));
    let stdout = text(&output.stdout);
    assert!(!stdout.trim().is_empty());
    assert!(
        stdout
            .lines()
            .all(|line| serde_json::from_str::<Value>(line).is_err()),
        "{stdout}"
    );
    Ok(())
}

#[test]
fn check_says_yes_here() -> Result<()> {
    let output = agent::output(["check"], SOON)?;
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    for word in ["oom_kill", "cpu_throttle"] {
        assert!(
            text(&output.stdout).contains(word),
            "{}",
            text(&output.stdout)
        );
    }
    let output = agent::output(["check", "--json"], SOON)?;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let told: Value = serde_json::from_slice(&output.stdout)?;
    assert!(told.is_object(), "{told}");
    Ok(())
}

/// Every cgroup directory of every hierarchy.
fn cgroups() -> Result<BTreeSet<PathBuf>> {
    fn walk(dir: &Path, found: &mut BTreeSet<PathBuf>) {
        // A cgroup may go while it is looked at.
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                walk(&entry.path(), found);
                found.insert(entry.path());
            }
        }
    }
    let hierarchies = Hierarchies::find()?;
    let mut found = BTreeSet::new();
    for mount in hierarchies
        .v1
        .into_iter()
        .map(|v1| v1.mount)
        .chain(hierarchies.v2)
    {
        walk(&mount, &mut found);
    }
    Ok(found)
}

#[test]
fn the_demo_shows_what_it_made_and_cleans_up() -> Result<()> {
    let before = cgroups()?;
    let output = agent::output(["demo"], Duration::from_mins(1))?;
    let stdout = text(&output.stdout);
    println!("{stdout}");
    assert!(output.status.success(), "{stdout}{}", text(&output.stderr));
    let lower = stdout.to_lowercase();
    for word in ["memory", "killed", "quota", "throttled"] {
        assert!(lower.contains(word), "nothing about {word:?}: {stdout}");
    }
    let left: Vec<_> = cgroups()?.difference(&before).cloned().collect();
    let left: Vec<_> = left
        .iter()
        .filter(|dir| dir.display().to_string().contains("limitscope"))
        .collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn an_interrupted_demo_cleans_up_too() -> Result<()> {
    let before = cgroups()?;
    let is_new =
        |dir: &PathBuf| !before.contains(dir) && dir.display().to_string().contains("limitscope");
    let mut command = agent::command(["demo"])?;
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    wait::until("the cgroups of the demo", SOON, || {
        Ok(cgroups()?.iter().any(is_new).then_some(()))
    })?;
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::INT)?;
    let output = agent::finish(child, Duration::from_secs(30))?;
    ensure!(
        output.status.code().is_some(),
        "it died of the signal: {}",
        output.status
    );
    let left: Vec<_> = cgroups()?.into_iter().filter(is_new).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
    Ok(())
}

#[test]
fn a_run_that_stands_still_is_found_by_its_heartbeat() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("heartbeat");
    let file = file.to_str().context("UTF-8")?;
    let probe = ["probe", "--heartbeat", file, "--max-age", "2s"];
    refused(&probe, &["cannot read the heartbeat"])?;
    let agent = Agent::start(&["--interval", "200ms", "--heartbeat", file])?;
    let goes_on = || -> Result<bool> { Ok(agent::output(probe, SOON)?.status.success()) };
    ensure!(goes_on()?, "no beat at the start");
    agent.signal(Signal::STOP)?;
    wait::until("an old beat", SOON, || Ok((!goes_on()?).then_some(())))?;
    refused(&probe, &["the last beat in", "more than 2s"])?;
    agent.signal(Signal::CONT)?;
    wait::until("a new beat", SOON, || Ok(goes_on()?.then_some(())))?;
    agent.stop()?;
    let nowhere = dir.path().join("not-there/heartbeat");
    let nowhere = nowhere.to_str().context("UTF-8")?;
    refused(
        &["run", "--heartbeat", nowhere],
        &["cannot write the heartbeat"],
    )?;
    Ok(())
}
