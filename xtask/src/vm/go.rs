//! Programs of Go that guests run, which have no compiler: the tests' own one, by the machine's compiler
//! and by newer ones, in the forms that differ in what is seen of them from outside.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{process, toolchain::go, workspace::Workspace};

/// A form of the program: its name, and the arguments of `go build`.
type Form = (&'static str, &'static [&'static str]);

const STRIPPED: &str = "-ldflags=-s -w";
/// The module is written for a version of Go whose runtime looks at the CPU limit.
const LIMITS: &str = "-modfile=limits.mod";

/// Written for an older version of Go, whose default every compiler keeps then.
const OLDER: [Form; 2] = [("static", &[]), ("stripped", &[STRIPPED])];
/// For compilers that know such versions.
const NEWER: [Form; 2] = [
    ("limits", &[LIMITS]),
    ("limits-stripped", &[LIMITS, STRIPPED]),
];

/// Builds them; each with its name in the guest, which is VERSION/FORM.
pub fn programs(workspace: &Workspace, folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let build = |go: &Path, forms: &[Form]| {
        let said = process::output(command(go).args(["env", "GOVERSION"]))?;
        let version = said.trim();
        let build = |(name, arguments): &Form| {
            let name = format!("{version}/{name}");
            let program = folder.join(&name);
            let mut command = command(go);
            command
                .args(["build", "-o"])
                .arg(&program)
                .args(*arguments)
                .arg(".")
                .current_dir(workspace.root.join("tests/fixtures/go"))
                // That of the tests on this machine.
                .env(
                    "GOCACHE",
                    workspace.target.join("tmp/go").join(version).join("cache"),
                );
            process::output(&mut command)?;
            Ok((name, program))
        };
        forms.iter().map(build).collect::<Result<Vec<_>>>()
    };
    let mut programs = build(Path::new("go"), &OLDER).context("by the machine's Go")?;
    for go in newer(workspace)? {
        let forms = [OLDER, NEWER].concat();
        programs.extend(build(&go, &forms).with_context(|| format!("by {}", go.display()))?);
    }
    Ok(programs)
}

/// Compilers besides the machine's own: those that are named, or one that is fetched.
fn newer(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    match env::var("LIMITSCOPE_GO") {
        Ok(named) => Ok((named.split(':').filter(|path| !path.is_empty()))
            .map(PathBuf::from)
            .collect()),
        Err(_) => Ok(vec![go::prepare(workspace)?]),
    }
}

fn command(go: &Path) -> Command {
    let mut command = Command::new(go);
    command
        .env("CGO_ENABLED", "0")
        // Nothing is to be fetched.
        .env("GOFLAGS", "-mod=mod")
        .env("GOPROXY", "off")
        .env("GOTOOLCHAIN", "local");
    command
}
