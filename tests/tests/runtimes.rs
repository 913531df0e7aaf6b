//! What `inspect` reads out of processes, against what their runtimes say of themselves.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent,
    go::{self, Program},
    inspect::{inspect, pool},
    sandbox,
    wait::{self, PATIENCE},
};
use serde_json::Value;

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");

/// The same for people: the value, and what it is based on.
#[test]
fn the_text_tells_what_the_json_tells() -> Result<()> {
    let built = go::build(FOLDER, "static", &[])?;
    let program = Program::start::<&str>(&built, &[], &[("GOMAXPROCS", "5")])?;
    let pid = program.pid().to_string();
    let done = agent::output(["inspect", &pid], PATIENCE)?;
    let text = String::from_utf8_lossy(&done.stdout).into_owned();
    ensure!(done.status.success(), "{text}");
    ensure!(
        text.starts_with(&format!("process {pid} `static`, ")),
        "{text}"
    );
    let version = program.said["version"].as_str().context("a version")?;
    ensure!(text.contains(version), "{text}");
    let procs = text.lines().find(|line| line.contains("GOMAXPROCS"));
    let procs = procs.with_context(|| text.clone())?;
    ensure!(
        procs.contains('5') && !procs.contains("estimate"),
        "{procs}"
    );
    Ok(())
}

#[test]
fn without_the_capability_there_is_a_reason_and_no_guess() -> Result<()> {
    let built = go::build(FOLDER, "static", &[])?;
    let program = Program::start::<&str>(&built, &[], &[("GOMAXPROCS", "5")])?;
    let folder = tempfile::tempdir()?;
    let copy = sandbox::copy_for_everybody(&agent::binary()?, folder.path())?;
    let mut command = agent::command_of(&copy, ["inspect", "--json", &program.pid().to_string()]);
    command
        .uid(65534)
        .gid(65534)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let done = agent::finish(command.spawn()?, PATIENCE)?;
    let facts: Value = serde_json::from_slice(&done.stdout)
        .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())?;
    assert_eq!(facts["runtimes"], Value::Array(Vec::new()), "{facts}");
    let missing = facts["missing"].to_string();
    assert!(missing.contains("CAP_SYS_PTRACE"), "{facts}");
    Ok(())
}

/// A process that becomes another program again and again: a value of the one is never told of the
/// other, and nothing in between is told either.
#[test]
fn an_exec_in_between_gives_no_wrong_answer() -> Result<()> {
    let built = go::build(FOLDER, "pie", &["-buildmode=pie"])?;
    let arguments = ["become", "3", "7", "600"];
    let program = Program::start(&built, &arguments, &[("GOMAXPROCS", "3")])?;
    let pid = program.pid().to_string();
    let (mut known, mut refused) = (0, 0);
    while known < 50 {
        let done = agent::output(["inspect", "--json", &pid], PATIENCE)?;
        if !done.status.success() {
            let reason = String::from_utf8_lossy(&done.stderr).into_owned();
            let known = ["became another program", "has no program to look into"];
            ensure!(known.iter().any(|known| reason.contains(known)), "{reason}");
            refused += 1;
            ensure!(refused < 2_000, "never read: {reason}");
            continue;
        }
        let facts: Value = serde_json::from_slice(&done.stdout)?;
        let procs = pool(&facts, "go", "GOMAXPROCS")?;
        let threads = procs["threads"].as_u64();
        assert!(matches!(threads, Some(3 | 7)), "{facts}");
        known += 1;
    }
    println!("{known} answers, {refused} refused");
    Ok(())
}

#[test]
fn the_dead_have_no_answer() -> Result<()> {
    let mut child = Command::new("true").spawn()?;
    let pid = child.id().to_string();
    child.wait()?;
    let done = agent::output(["inspect", &pid], PATIENCE)?;
    assert!(!done.status.success());
    let reason = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(reason.contains("there is no process"), "{reason}");
    Ok(())
}

/// A child that is killed at the end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a program of another language and waits until it has become that, and waits for
/// something: the link to its program changes early in an exec, the rest of it later.
fn start(command: &mut Command, program: &str) -> Result<Killed> {
    let child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let child = Killed(child);
    let exe = format!("/proc/{}/exe", child.0.id());
    let stat = format!("/proc/{}/stat", child.0.id());
    wait::until(program, PATIENCE, || {
        let target = fs::read_link(&exe)?;
        let name = target
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let sleeps = fs::read_to_string(&stat)?.contains(") S ");
        Ok((sleeps && name.starts_with(program)).then_some(()))
    })?;
    Ok(child)
}

#[test]
fn other_runtimes_tell_their_settings() -> Result<()> {
    let node = start(
        Command::new("node")
            .args(["--v8-pool-size=3", "-e", "process.stdin.resume()"])
            .env("UV_THREADPOOL_SIZE", "9"),
        "node",
    )?;
    let facts = inspect(node.0.id())?;
    let threads = pool(&facts, "nodejs", "UV_THREADPOOL_SIZE")?;
    assert_eq!(
        (&threads["threads"], &threads["basis"]),
        (&9.into(), &"environment".into())
    );
    assert_eq!(pool(&facts, "nodejs", "--v8-pool-size")?["threads"], 3);

    let python = start(
        Command::new("python3").args(["-c", "import sys; sys.stdin.read()"]),
        "python",
    )?;
    assert_eq!(inspect(python.0.id())?["runtimes"][0]["name"], "cpython");

    // It waits before it does anything, for a file to be gone that it makes.
    let folder = tempfile::tempdir()?;
    let waits = folder.path().join("waits");
    let java = start(
        Command::new("java")
            .args(["-XX:+UnlockDiagnosticVMOptions", "-XX:+PauseAtStartup"])
            .arg(format!("-XX:PauseAtStartupFile={}", waits.display()))
            .args(["-XX:ActiveProcessorCount=3", "-Xmx64m", "-version"])
            .env("JAVA_TOOL_OPTIONS", "-Xmx128m"),
        "java",
    )?;
    until_there(&waits)?;
    let facts = inspect(java.0.id())?;
    let processors = pool(&facts, "jvm", "-XX:ActiveProcessorCount")?;
    assert_eq!(processors["basis"], "command_line", "{facts}");
    assert_eq!(processors["threads"], 3);
    assert_eq!(facts["runtimes"][0]["memory_limit"]["bytes"], 64 << 20);
    Ok(())
}

fn until_there(file: &Path) -> Result<()> {
    wait::until(
        "the file that java waits at",
        Duration::from_secs(20),
        || Ok(file.exists().then_some(())),
    )
}
