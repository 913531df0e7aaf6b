//! A Go program that tells what its runtime says, built in every form that matters.

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::Mutex,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// The sources, in the project.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/go");

/// One build at a time: they share Go's cache.
static BUILDING: Mutex<()> = Mutex::new(());

/// Builds the program with these arguments of `go build`, into a folder that stays from run to run.
/// `folder` is where Cargo has tests put their files (`CARGO_TARGET_TMPDIR`).
pub fn build(folder: &str, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let _one = BUILDING.lock();
    let folder = Path::new(folder).join("go");
    fs::create_dir_all(&folder)?;
    let program = folder.join(name);
    let mut command = Command::new("go");
    command
        .arg("build")
        .args(arguments)
        .arg("-o")
        .arg(&program)
        .arg(".")
        .current_dir(SOURCES)
        .env("GOCACHE", folder.join("cache"))
        .env("CGO_ENABLED", "0")
        // Nothing is to be fetched.
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    let done = command.output().context("starting go build")?;
    ensure!(
        done.status.success(),
        "go build {arguments:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(program)
}

/// A running one; dropping it kills it.
#[derive(Debug)]
pub struct Program {
    child: Child,
    stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    /// What it said last of itself.
    pub said: Value,
}

impl Program {
    /// Starts it with these arguments and variables, and hears what it says first.
    pub fn start<S: AsRef<OsStr>>(
        program: &Path,
        arguments: &[S],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove("GOMAXPROCS")
            .env_remove("GOMEMLIMIT")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?);
        let mut made = Self {
            stdin: child.stdin.take(),
            child,
            lines,
            said: Value::Null,
        };
        made.hear()?;
        Ok(made)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Hears the next line.
    pub fn hear(&mut self) -> Result<()> {
        let mut line = String::new();
        self.lines.read_line(&mut line)?;
        self.said = serde_json::from_str(&line).with_context(|| format!("it said {line:?}"))?;
        Ok(())
    }

    /// Tells it something, without waiting for what it says to it.
    pub fn tell(&mut self, what: &str) -> Result<()> {
        let stdin = self.stdin.as_mut().context("its input is closed")?;
        writeln!(stdin, "{what}").with_context(|| format!("telling it {what:?}"))
    }

    /// Tells it something and waits until it has done so.
    pub fn ask(&mut self, what: &str) -> Result<()> {
        self.tell(what)?;
        self.hear()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
