//! What `inspect` says of processes that are hard to reach: in PID namespaces, behind a `/proc` that
//! hides them, and of those that die while they are read. Whatever it says has to be right.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent,
    go::{self, Program},
    inspect::{inspect, pool},
    rights, sandbox,
    wait::{self, PATIENCE},
};
use rustix::thread::CapabilitySet;
use serde_json::Value;

const FOLDER: &str = env!("CARGO_TARGET_TMPDIR");
const FIVE: [(&str, &str); 1] = [("GOMAXPROCS", "5")];

fn built() -> Result<PathBuf> {
    go::build(FOLDER, "pie", &["-buildmode=pie"])
}

/// A program that `unshare` started is its child.
fn child_of(pid: u32) -> Result<u32> {
    let file = format!("/proc/{pid}/task/{pid}/children");
    wait::until("the child of unshare", PATIENCE, || {
        Ok(fs::read_to_string(&file)?.trim().parse().ok())
    })
}

/// A number of threads that is known by the runtime's own variable.
fn exact(facts: &Value) -> Result<u64> {
    let procs = pool(facts, "go", "GOMAXPROCS")?;
    assert_eq!(procs["basis"], "runtime_variable", "{facts}");
    procs["threads"].as_u64().with_context(|| facts.to_string())
}

/// The first process of a PID namespace is number 1 there, and has another number here.
#[test]
fn a_process_in_a_pid_namespace_of_its_own_is_read_by_its_number_here() -> Result<()> {
    let program = built()?;
    let arguments = ["--pid", "--fork", "--kill-child"].map(Into::into);
    let arguments = [&arguments[..], &[program.into_os_string()]].concat();
    let mut program = Program::start("unshare".as_ref(), &arguments, &FIVE)?;
    program.ask("procs 11")?;
    let pid = child_of(program.pid())?;
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let numbers = status.lines().find(|line| line.starts_with("NSpid:"));
    let numbers = numbers.context("NSpid")?;
    assert_eq!(numbers.split_whitespace().last(), Some("1"), "{numbers}");
    let facts = inspect(pid)?;
    assert_eq!(exact(&facts)?, 11);
    assert_eq!(facts["process.pid"], pid);
    Ok(())
}

/// Who asks is in a PID namespace, and sees the `/proc` of another: numbers are those of that `/proc`,
/// also where the namespace has none such, or another process by that number.
#[test]
fn numbers_are_those_of_the_proc_that_is_there() -> Result<()> {
    let mut program = Program::start::<&str>(&built()?, &[], &FIVE)?;
    program.ask("procs 11")?;
    let agent = agent::binary()?;
    let ask = |pid: u32, mounted: &[&str]| -> Result<std::process::Output> {
        let mut command = Command::new("unshare");
        command
            .args(["--pid", "--fork", "--kill-child"])
            .args(mounted)
            .arg(&agent)
            .args(["inspect", "--json", &pid.to_string()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        agent::finish(command.spawn()?, PATIENCE)
    };
    let seen = ask(program.pid(), &[])?;
    let facts: Value = serde_json::from_slice(&seen.stdout)
        .with_context(|| String::from_utf8_lossy(&seen.stderr).into_owned())?;
    assert_eq!(exact(&facts)?, 11);
    // With a /proc of its own nobody has that number, and number 1 is the one who asks.
    let absent = ask(program.pid(), &["--mount-proc"])?;
    let reason = String::from_utf8_lossy(&absent.stderr).into_owned();
    assert!(!absent.status.success() && absent.stdout.is_empty());
    assert!(reason.contains("there is no process"), "{reason}");
    let own = ask(1, &["--mount-proc"])?;
    let facts: Value = serde_json::from_slice(&own.stdout)?;
    let name = agent.file_name().context("a file")?;
    assert_eq!(facts["process.command"], *name.to_string_lossy(), "{facts}");
    // With the /proc that it has from outside, number 1 is the first process of this machine.
    let first = ask(1, &[])?;
    let command = fs::read_to_string("/proc/1/comm")?;
    let facts: Value = serde_json::from_slice(&first.stdout)
        .with_context(|| String::from_utf8_lossy(&first.stderr).into_owned())?;
    assert_eq!(facts["process.command"], command.trim_end(), "{facts}");
    Ok(())
}

/// Where `/proc` hides other users' processes, one that is there is told from one that is not, and with
/// the capability it is seen.
#[test]
fn a_hidden_process_is_said_to_be_hidden() -> Result<()> {
    let mut program = Program::start::<&str>(&built()?, &[], &FIVE)?;
    program.ask("procs 11")?;
    let folder = tempfile::tempdir()?;
    let copy = sandbox::copy_for_everybody(&agent::binary()?, folder.path())?;
    let ask = |pid: u32, held: CapabilitySet| -> Result<std::process::Output> {
        let mut command = agent::command_of(&copy, ["inspect", "--json", &pid.to_string()]);
        sandbox::hide_processes(&mut command);
        rights::as_nobody(&mut command, held);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        agent::finish(command.spawn()?, PATIENCE)
    };
    let reason = |pid| -> Result<String> {
        let done = ask(pid, CapabilitySet::empty())?;
        assert!(!done.status.success() && done.stdout.is_empty());
        Ok(String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let hidden = reason(program.pid())?;
    assert!(hidden.contains("is hidden"), "{hidden}");
    assert!(hidden.contains("CAP_SYS_PTRACE"), "{hidden}");
    let mut gone = Command::new("true").spawn()?;
    gone.wait()?;
    let absent = reason(gone.id())?;
    assert!(absent.contains("there is no process"), "{absent}");

    let seen = |held| -> Result<Value> {
        let done = ask(program.pid(), held)?;
        serde_json::from_slice(&done.stdout)
            .with_context(|| String::from_utf8_lossy(&done.stderr).into_owned())
    };
    // It is root's, and its memory is for its owner alone.
    let some = seen(CapabilitySet::SYS_PTRACE)?;
    let procs = pool(&some, "go", "GOMAXPROCS")?;
    assert_eq!(procs["estimate"], true, "{some}");
    let missing = some["missing"].to_string();
    assert!(missing.contains("CAP_DAC_READ_SEARCH"), "{some}");
    let both = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
    assert_eq!(exact(&seen(both)?)?, 11);
    Ok(())
}

/// A process that is read a thousand times and killed in between: every answer is right, and from some
/// point on there is none, with the reason.
#[test]
fn a_process_that_dies_meanwhile_gives_no_wrong_answer() -> Result<()> {
    let built = built()?;
    let (mut known, mut refused) = (0, 0);
    for round in 0..20 {
        let mut program = Program::start::<&str>(&built, &[], &FIVE)?;
        program.ask("procs 11")?;
        let pid = program.pid().to_string();
        let arguments = ["inspect", "--json"].into_iter();
        let arguments = arguments.chain(std::iter::repeat_n(&*pid, 1000));
        let mut command = agent::command(arguments)?;
        let mut asking = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut errors = asking.stderr.take().context("stderr is piped")?;
        let reasons = std::thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text)
        });
        let mut lines = BufReader::new(asking.stdout.take().context("stdout is piped")?).lines();
        let mut answers = vec![lines.next().context("no answer at all")??];
        std::thread::sleep(Duration::from_micros(500 * round));
        drop(program);
        for line in lines {
            answers.push(line?);
        }
        asking.wait()?;
        for line in &answers {
            let facts: Value = serde_json::from_str(line)?;
            assert_eq!(exact(&facts)?, 11, "{facts}");
        }
        let reasons = reasons.join().ok().context("the thread that reads")??;
        for reason in reasons.lines() {
            let known = [
                "is gone",
                "there is no process",
                "has no program to look into",
            ];
            ensure!(known.iter().any(|known| reason.contains(known)), "{reason}");
        }
        known += answers.len();
        refused += reasons.lines().count();
        assert_eq!(answers.len() + reasons.lines().count(), 1000);
    }
    println!("{known} answers, {refused} refused");
    ensure!(refused > 0, "none was killed in between");
    Ok(())
}
