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
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cgroup::Cgroup;

/// The sources, in the project.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/go");

/// One build at a time: they share Go's cache.
static BUILDING: Mutex<()> = Mutex::new(());

/// A Go compiler.
#[derive(Clone, Debug)]
pub struct Compiler {
    /// The program `go`.
    pub go: PathBuf,
    /// As `go1.25.4`.
    pub version: String,
}

impl Compiler {
    /// Whether the runtime of its programs can look at the CPU limit, as since Go 1.25.
    pub fn knows_limits(&self) -> bool {
        let minor = self.version.split('.').nth(1);
        minor.is_some_and(|minor| minor.parse::<u32>().is_ok_and(|minor| minor >= 25))
    }

    /// Builds the program with these arguments of `go build`, into a folder of its own that stays from
    /// run to run. `folder` is where Cargo has tests put their files (`CARGO_TARGET_TMPDIR`).
    pub fn build(&self, folder: &str, name: &str, arguments: &[&str]) -> Result<PathBuf> {
        let folder = Path::new(folder).join("go").join(&self.version);
        build_by(&self.go, &folder, name, arguments)
    }
}

/// The Go compilers to try: the one of the machine, and those that `LIMITSCOPE_GO` names, with colons
/// between; `cargo xtask test` names a newer one.
pub fn compilers() -> Result<Vec<Compiler>> {
    let more = std::env::var("LIMITSCOPE_GO").unwrap_or_default();
    let more = more.split(':').filter(|path| !path.is_empty());
    let all = std::iter::once("go").chain(more);
    all.map(|go| {
        let mut command = Command::new(go);
        let said = command
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .output();
        let said = said.with_context(|| format!("starting {go}"))?;
        ensure!(said.status.success(), "{go} env GOVERSION: {}", said.status);
        let version = String::from_utf8_lossy(&said.stdout).trim().to_owned();
        let go = PathBuf::from(go);
        Ok(Compiler { go, version })
    })
    .collect()
}

/// A form of the program that was built beforehand, by each compiler that made it, with what to call it:
/// where there is no compiler, `LIMITSCOPE_GO_PROGRAMS` names a folder that has `VERSION/FORM`.
pub fn prebuilt(form: &str) -> Result<Vec<(String, PathBuf)>> {
    let folder = std::env::var("LIMITSCOPE_GO_PROGRAMS")
        .context("LIMITSCOPE_GO_PROGRAMS is not set; `cargo xtask test --vm` does")?;
    let mut found = Vec::new();
    for version in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        let version = version?;
        let program = version.path().join(form);
        if program.is_file() {
            let version = version.file_name();
            found.push((format!("{form} by {}", version.display()), program));
        }
    }
    ensure!(!found.is_empty(), "nothing in {folder} is {form}");
    found.sort();
    Ok(found)
}

/// Builds the program with these arguments of `go build`, into a folder that stays from run to run.
/// `folder` is where Cargo has tests put their files (`CARGO_TARGET_TMPDIR`).
pub fn build(folder: &str, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    build_by(
        Path::new("go"),
        &Path::new(folder).join("go"),
        name,
        arguments,
    )
}

fn build_by(go: &Path, folder: &Path, name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let _one = BUILDING.lock();
    let folder = folder.to_owned();
    fs::create_dir_all(&folder)?;
    let program = folder.join(name);
    let mut command = Command::new(go);
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

/// A copy of the program that the tool `strip` has stripped.
pub fn strip(program: &Path) -> Result<PathBuf> {
    let stripped = program.with_extension("strip");
    let mut command = Command::new("strip");
    let done = command.arg("-o").arg(&stripped).arg(program).output();
    let done = done.context("starting strip, of the package binutils")?;
    ensure!(
        done.status.success(),
        "strip: {}",
        String::from_utf8_lossy(&done.stderr)
    );
    Ok(stripped)
}

/// Functions whose code tells where a stripped program has GOMAXPROCS and the memory limit.
pub const TELLING: [&str; 2] = ["runtime.procresize", "runtime.gcControllerCommit"];

/// A copy of the program in whose table of functions these have other names. It runs as before: the
/// runtime shows names, and does not look for any.
pub fn without(program: &Path, functions: &[&str]) -> Result<PathBuf> {
    let mut bytes = fs::read(program)?;
    for function in functions {
        let wanted = [b"\0", function.as_bytes(), b"\0"].concat();
        let mut places = bytes.windows(wanted.len());
        let at = places.position(|window| window == wanted);
        let at = at.with_context(|| format!("no {function} in {}", program.display()))?;
        bytes[at + function.len()] = b'_';
    }
    let other = program.with_extension("without");
    fs::write(&other, bytes)?;
    fs::set_permissions(&other, fs::metadata(program)?.permissions())?;
    Ok(other)
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
        let mut made = Self::spawn(program, arguments, variables)?;
        made.hear()?;
        Ok(made)
    }

    /// Starts it within `cgroup`: its runtime looks at the limits when it begins.
    pub fn start_in(cgroup: &Cgroup, program: &Path, variables: &[(&str, &str)]) -> Result<Self> {
        // A shell that waits, and becomes the program when it is there.
        let shell = [
            OsStr::new("-c"),
            OsStr::new("read line; exec \"$0\""),
            program.as_os_str(),
        ];
        let mut made = Self::spawn("/bin/sh".as_ref(), &shell, variables)?;
        cgroup.add(made.pid())?;
        made.tell("go")?;
        made.hear()?;
        Ok(made)
    }

    fn spawn<S: AsRef<OsStr>>(
        program: &Path,
        arguments: &[S],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let mut child = Command::new(program)
            .args(arguments)
            .env_remove("GOMAXPROCS")
            .env_remove("GOMEMLIMIT")
            .env_remove("GODEBUG")
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let lines = BufReader::new(child.stdout.take().context("stdout is piped")?);
        Ok(Self {
            stdin: child.stdin.take(),
            child,
            lines,
            said: Value::Null,
        })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it use one CPU only, all its threads and those to come.
    pub fn pin(&self) -> Result<()> {
        let allowed = rustix::thread::sched_getaffinity(None)?;
        let first = (0..rustix::thread::CpuSet::MAX_CPU).find(|&cpu| allowed.is_set(cpu));
        let mut one = rustix::thread::CpuSet::new();
        one.set(first.context("no CPU is allowed")?);
        for task in fs::read_dir(format!("/proc/{}/task", self.pid()))? {
            let name = task?.file_name();
            let thread = name.to_string_lossy().parse()?;
            rustix::thread::sched_setaffinity(Pid::from_raw(thread), &one)?;
        }
        Ok(())
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal).context("signalling the program")
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
