//! The file system of the guests: busybox, the binary, the tests, all of it in memory.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::cpio::Archive;
use crate::{
    build, process,
    step::Output,
    test::{Context, Tally},
    workspace,
};

const INIT: &str = include_str!("init.sh");
/// What the scripts of all guests have in common, as `/sections.sh`.
pub const SECTIONS: &str = include_str!("sections.sh");

/// Tools that tests call beside busybox, and the package of each.
const TOOLS: [(&str, &str); 1] = [("runqlat", "libbpf-tools")];

const BUILD: Duration = Duration::from_mins(20);

/// What was built for the guests.
pub struct Programs {
    /// Name in the guest, file here.
    files: Vec<(String, PathBuf)>,
}

/// A line of `cargo --message-format=json`.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// Builds the release binary and the program of the tests package that a group runs in its guests. They are linked as on this machine, so that the
/// binary is the one that is shipped and nothing is built twice; the libraries go along.
pub fn build(
    context: &Context,
    group: &str,
    program: &str,
    features: &[&str],
    tally: &mut Tally,
) -> Option<Programs> {
    let title = format!("{group}: release binary");
    let command = build::command(&context.workspace, true);
    let done = context.steps.command(&title, command, BUILD, Output::Shown);
    if !tally.set_up(&title, done.failure) {
        return None;
    }
    let agent = context.workspace.binaries(true).join("limitscope");
    let mut files = vec![("bin/limitscope".to_owned(), agent)];

    let mut command = context.workspace.cargo();
    command
        .args([
            "test",
            "--no-run",
            "--release",
            "--package",
            "limitscope-tests",
            "--test",
            program,
        ])
        .args(features.iter().flat_map(|feature| ["--features", feature]))
        .arg("--message-format=json-render-diagnostics");
    let title = format!("{group}: suites");
    let shown = Output::Kept(Box::new(|line| !line.starts_with('{')));
    let done = context.steps.command(&title, command, BUILD, shown);
    if !tally.set_up(&title, done.failure) {
        return None;
    }
    files.extend(done.output.lines().filter_map(built));
    Some(Programs { files })
}

/// The program that a message of cargo is about.
fn built(line: &str) -> Option<(String, PathBuf)> {
    let message: Message = serde_json::from_str(line).ok()?;
    let (file, target) = (message.executable?, message.target?);
    let name = match target.kind.first().map(String::as_str) {
        Some("bin") => format!("bin/{}", target.name),
        Some("test") => format!("tests/{}", target.name),
        _ => return None,
    };
    Some((name, file))
}

impl Programs {
    /// Writes the file system that all guests share.
    pub fn pack(&self, to: &Path) -> Result<()> {
        let file = File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
        let mut archive = Archive::new(BufWriter::new(file));
        for folder in [
            "dev", "proc", "sys", "tmp", "var/tmp", "run", "etc", "usr/bin",
        ] {
            archive.folder(folder)?;
        }
        // The first process has this as its output until devices are there.
        archive.device("dev/console", 5, 1)?;
        let busybox = find("busybox", "busybox-static")?;
        archive.program("bin/busybox", &fs::read(busybox)?)?;
        archive.program("init", INIT.as_bytes())?;
        archive.program("sections.sh", SECTIONS.as_bytes())?;
        let mut files = self.files.clone();
        for (name, package) in TOOLS {
            files.push((format!("usr/bin/{name}"), find(name, package)?));
        }
        let mut libraries = BTreeSet::new();
        for (_, file) in &files {
            libraries.extend(libraries_of(file)?);
        }
        files.extend(libraries.into_iter().map(|library| {
            let name = library.to_string_lossy();
            (name.trim_start_matches('/').to_owned(), library)
        }));
        add_stripped(&mut archive, files)?;
        archive.finish()?.flush()?;
        Ok(())
    }

    /// Adds them alone to an archive, below a folder.
    pub fn add<W: Write>(&self, archive: &mut Archive<W>, folder: &str) -> Result<()> {
        let below = |(name, file): &(String, PathBuf)| (format!("{folder}/{name}"), file.clone());
        add_stripped(archive, self.files.iter().map(below))
    }
}

fn add_stripped<W: Write>(
    archive: &mut Archive<W>,
    files: impl IntoIterator<Item = (String, PathBuf)>,
) -> Result<()> {
    let stripped = tempfile::NamedTempFile::new()?;
    for (name, file) in files {
        strip(&file, stripped.path())?;
        let content = fs::read(stripped.path())
            .with_context(|| format!("cannot read {} stripped", file.display()))?;
        archive.program(&name, &content)?;
    }
    Ok(())
}

/// Writes the file system of one guest: the shared one, what this guest does, and programs that it alone
/// has, as they are.
pub fn with_plan<'a>(
    shared: &Path,
    plan: &str,
    programs: impl IntoIterator<Item = (String, &'a Path)>,
    to: &Path,
) -> Result<()> {
    fs::copy(shared, to).with_context(|| format!("cannot write {}", to.display()))?;
    let file = File::options().append(true).open(to)?;
    let mut archive = Archive::new(file);
    archive.program("plan", plan.as_bytes())?;
    for (name, file) in programs {
        let content = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        archive.program(&name, &content)?;
    }
    archive.finish()?;
    Ok(())
}

/// Leaves out what only debuggers read: a guest unpacks everything before it can begin.
fn strip(program: &Path, to: &Path) -> Result<()> {
    let mut command = Command::new("strip");
    command.arg("--strip-debug").arg("-o").arg(to).arg(program);
    process::output(&mut command)
        .map(drop)
        .context("strip of binutils, which compilers need too, does not work")
}

/// A program of this machine.
pub fn find(program: &str, package: &str) -> Result<PathBuf> {
    workspace::find_program(program)
        .with_context(|| format!("{program} is missing: install the package {package}"))
}

/// The libraries that a program is started with, by the paths by which it finds them.
fn libraries_of(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let listed = process::output(Command::new("ldd").arg(program))?;
    Ok(listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_read_from_messages() {
        let message = |kind: &str, executable: &str| {
            format!(
                r#"{{"reason":"compiler-artifact","target":{{"kind":["{kind}"],"name":"a"}},"executable":{executable}}}"#
            )
        };
        let name =
            |kind: &str, executable: &str| built(&message(kind, executable)).map(|(name, _)| name);
        assert_eq!(name("test", "\"/x\"").as_deref(), Some("tests/a"));
        assert_eq!(name("bin", "\"/x\"").as_deref(), Some("bin/a"));
        assert_eq!(name("lib", "null"), None);
        assert_eq!(built(r#"{"reason":"build-finished","success":true}"#), None);
    }
}
