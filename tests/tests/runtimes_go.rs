//! What `inspect` reads out of Go programs, against what their runtimes say of themselves: by several
//! compilers, in every form that programs are shipped in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    cgroup::Cgroup,
    go::{self, Compiler, Program},
    inspect::{check_go, inspect, pool},
    skip,
};
use serde_json::Value;

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
const STRIPPED: &str = "-ldflags=-s -w";

/// Builds a form of the program by each compiler that there is.
fn by_each(name: &str, arguments: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let build = |compiler: Compiler| {
        let built = compiler.build(FOLDER, name, arguments)?;
        let name = format!("{name} by {}", compiler.version);
        println!("{name}");
        Ok((name, built))
    };
    go::compilers()?.into_iter().map(build).collect()
}

/// Builds a program whose runtime looks at the CPU limit, by each compiler that can.
fn that_look_at_limits(name: &str, more: &[&str]) -> Result<Vec<(String, PathBuf)>> {
    let mut compilers = go::compilers()?;
    compilers.retain(Compiler::knows_limits);
    ensure!(
        !compilers.is_empty(),
        "no Go of 1.25 or later: `cargo xtask test` fetches one, or LIMITSCOPE_GO names it"
    );
    let arguments = [&["-modfile=limits.mod"], more].concat();
    let build = |compiler: Compiler| {
        let built = compiler.build(FOLDER, name, &arguments)?;
        let name = format!("{name} by {}", compiler.version);
        println!("{name}");
        Ok((name, built))
    };
    compilers.into_iter().map(build).collect()
}

/// By its defaults, changed while it runs, and by the environment.
fn check_values(name: &str, built: &Path, exact: bool) -> Result<()> {
    let name = || name.to_owned();
    let mut program = Program::start::<&str>(built, &[], &[])?;
    check_go(&program, exact).with_context(name)?;
    program.ask("procs 11")?;
    program.ask("memory 123456789")?;
    assert_eq!(program.said["gomaxprocs"], 11);
    if exact {
        check_go(&program, exact).with_context(name)?;
    } else {
        let procs = pool(&inspect(program.pid())?, "go", "GOMAXPROCS")?;
        assert_eq!(procs["estimate"], true, "it may have been changed: {procs}");
    }
    let variables = [("GOMAXPROCS", "5"), ("GOMEMLIMIT", "64MiB")];
    let program = Program::start::<&str>(built, &[], &variables)?;
    check_go(&program, exact).with_context(name)
}

#[test]
fn gomaxprocs_is_what_the_program_prints() -> Result<()> {
    for (form, arguments) in [
        ("static", &[][..]),
        ("pie", &["-buildmode=pie"][..]),
        ("without-debugging", &["-ldflags=-w"][..]),
    ] {
        for (name, built) in by_each(form, arguments)? {
            check_values(&name, &built, true)?;
        }
    }
    Ok(())
}

/// What a program's values in force are based on where it has no symbols.
fn note(program: &Program) -> Result<String> {
    let procs = pool(&inspect(program.pid())?, "go", "GOMAXPROCS")?;
    let note = procs["note"].as_str().context("no note")?;
    Ok(note.to_owned())
}

/// Without symbols the variables are found by the runtime's code, stripped by whichever tool.
#[test]
fn a_stripped_program_tells_what_it_prints_too() -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        let reason = "code of this machine is not read";
        skip("a_stripped_program_tells_what_it_prints_too", reason);
        return Ok(());
    }
    let mut all = by_each("stripped", &[STRIPPED])?;
    all.extend(by_each("stripped-pie", &["-buildmode=pie", STRIPPED])?);
    for (form, arguments) in [("static", &[][..]), ("pie", &["-buildmode=pie"])] {
        for (name, built) in by_each(form, arguments)? {
            all.push((format!("{name}, by strip"), go::strip(&built)?));
        }
    }
    for (name, built) in &all {
        check_values(name, built, true)?;
        let program = Program::start::<&str>(built, &[], &[])?;
        let note = note(&program)?;
        ensure!(note.contains("runtime's code"), "{name}: {note}");
    }
    Ok(())
}

/// Where the code is not found, what was asked for at the start is all that is known, and it says so.
#[test]
fn a_program_whose_code_is_not_known_gives_an_estimate() -> Result<()> {
    for (name, built) in by_each("stripped", &[STRIPPED])? {
        let built = go::without(&built, &go::TELLING)?;
        check_values(&name, &built, false)?;
        let program = Program::start::<&str>(&built, &[], &[])?;
        let note = note(&program)?;
        ensure!(note.contains("stripped of symbols"), "{name}: {note}");
    }
    Ok(())
}

/// The default within a CPU limit is each version's own: from 1.25 on it is the limit. An estimate
/// follows the same rule.
#[test]
fn defaults_under_a_limit_are_those_of_the_version() -> Result<()> {
    let cgroup = Cgroup::new("default")?;
    cgroup.set_cpu_quota(Some(50_000), 100_000)?;
    let mut all = by_each("static", &[])?;
    all.extend(that_look_at_limits("limits", &[])?);
    let exact = all.len();
    let mut stripped = that_look_at_limits("limits-stripped", &[STRIPPED])?;
    stripped.extend(by_each("stripped", &[STRIPPED])?);
    for (name, built) in stripped {
        all.push((
            format!("{name}, its code not known"),
            go::without(&built, &go::TELLING)?,
        ));
    }
    for (number, (name, built)) in all.iter().enumerate() {
        let program = Program::start_in(&cgroup, built, &[])?;
        println!("{name}: {}", program.said);
        check_go(&program, number < exact).with_context(|| name.clone())?;
    }
    Ok(())
}

/// Whether a runtime looks at the CPU limit: by its version, by the version that its module is written
/// for, and by the environment of the process.
#[test]
fn a_runtime_that_looks_at_its_limit_is_told() -> Result<()> {
    let aware = |built: &Path, debug: &[(&str, &str)]| -> Result<Value> {
        let program = Program::start::<&str>(built, &[], debug)?;
        check_go(&program, true)?;
        Ok(inspect(program.pid())?["runtimes"][0]["go"]["container_aware"].clone())
    };
    let (on, off) = (
        ("GODEBUG", "containermaxprocs=1"),
        ("GODEBUG", "http2debug=1,containermaxprocs=0"),
    );
    for (name, built) in that_look_at_limits("limits", &[])? {
        assert_eq!(aware(&built, &[])?, true, "{name}");
        assert_eq!(aware(&built, &[off])?, false, "{name}, switched off");
    }
    // Its module is written for Go 1.19.
    for compiler in go::compilers()? {
        let built = compiler.build(FOLDER, "static", &[])?;
        let version = &compiler.version;
        assert_eq!(aware(&built, &[])?, false, "{version}");
        let switched_on = aware(&built, &[on])?;
        assert_eq!(switched_on, compiler.knows_limits(), "{version}");
    }
    Ok(())
}

/// A module that sets it when the program starts, by its name in the build info; what it set is read.
#[test]
fn a_module_that_sets_gomaxprocs_is_told() -> Result<()> {
    let arguments = ["-modfile=automaxprocs.mod", "-tags=automaxprocs"];
    let told = |built: &Path| -> Result<(Program, Value)> {
        let program = Program::start::<&str>(built, &[], &[])?;
        check_go(&program, true)?;
        let facts = inspect(program.pid())?;
        Ok((program, facts["runtimes"][0]["go"]["automaxprocs"].clone()))
    };
    for (name, built) in by_each("automaxprocs", &arguments)? {
        let (program, is_there) = told(&built)?;
        assert_eq!(program.said["gomaxprocs"], 13, "{name}");
        assert_eq!(is_there, true, "{name}");
    }
    for (name, built) in by_each("static", &[])? {
        assert_eq!(told(&built)?.1, false, "{name}");
    }
    Ok(())
}
