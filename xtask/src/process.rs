//! Running other programs: for their output, or supervised within a budget of time.

mod tree;

use std::{
    ffi::OsStr,
    fmt::Write as _,
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::{Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, WaitOptions, waitpid};

/// How often a supervised command is looked at.
const POLL: Duration = Duration::from_millis(20);

/// How long a command that overran has to end by itself.
const GRACE: Duration = Duration::from_secs(10);

/// How long processes that a command left behind have to end by themselves.
const LEFTOVERS_GRACE: Duration = Duration::from_secs(3);

/// Takes a command's output line by line.
pub type OnLine = Box<dyn FnMut(&str) + Send>;

/// A command as a person would type it.
pub fn shown(command: &Command) -> String {
    let mut line = String::new();
    for (key, value) in command.get_envs() {
        if let Some(value) = value {
            let _ = write!(line, "{}={} ", key.display(), quoted(value));
        }
    }
    line.push_str(&quoted(command.get_program()));
    for argument in command.get_args() {
        let _ = write!(line, " {}", quoted(argument));
    }
    line
}

fn quoted(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_=./:+,@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// What a command writes to its standard output; its failure is an error with what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        bail!(
            "{} ended with {}:\n{}",
            shown(command),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim_end()
        );
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} wrote something else than text", shown(command)))
}

/// Runs a command with its output shown; its failure is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// How a supervised command ended.
pub struct Ended {
    /// None when it overran its budget and was killed.
    pub status: Option<ExitStatus>,
    /// Processes that it left running though it should not have. They were killed then.
    pub leftovers: Vec<String>,
}

/// What may run on when a command has ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Afterwards {
    /// For example a compiler cache that cargo started, or a service that a package started.
    Anything,
    Nothing,
}

/// Runs a command, and kills it with all of its descendants when the budget is used up. What it
/// writes is handed to `on_line` if there is one, both streams in one, and is shown otherwise.
///
/// This process must be the reaper of its orphaned descendants ([`adopt_orphans`]), so that none
/// escapes, and may start no other children meanwhile. What runs already is left alone.
pub fn supervise(
    mut command: Command,
    budget: Duration,
    afterwards: Afterwards,
    on_line: Option<OnLine>,
) -> Result<Ended> {
    let line = shown(&command);
    let before = tree::Before::now()?;
    let mut reader = None;
    if let Some(mut on_line) = on_line {
        let (output, input) = std::io::pipe().context("cannot make a pipe")?;
        command
            .stdout(input.try_clone().context("cannot make a pipe")?)
            .stderr(input);
        reader = Some(thread::spawn(move || {
            let mut output = BufReader::new(output);
            let mut bytes = Vec::new();
            while output
                .read_until(b'\n', &mut bytes)
                .is_ok_and(|length| length > 0)
            {
                on_line(String::from_utf8_lossy(&bytes).trim_end_matches(['\n', '\r']));
                bytes.clear();
            }
        }));
    }
    let child = command.stdin(Stdio::null()).spawn();
    let child = child.with_context(|| format!("cannot start {line}"))?;
    // Closes our ends of the pipe, without which the reader would never see its end.
    drop(command);
    let child = Pid::from_child(&child);

    let status = wait_for(child, Instant::now() + budget)?;
    let mut leftovers = Vec::new();
    if status.is_none() {
        let _ = rustix::process::kill_process(child, Signal::TERM);
        // Cargo and nextest end their own children; what is left then is killed.
        wait_for(child, Instant::now() + GRACE)?;
        before.kill_others()?;
    } else if afterwards == Afterwards::Nothing {
        let deadline = Instant::now() + LEFTOVERS_GRACE;
        loop {
            reap(None)?;
            leftovers = before.others()?;
            if leftovers.is_empty() || Instant::now() > deadline {
                break;
            }
            thread::sleep(POLL);
        }
        before.kill_others()?;
    }
    reap(None)?;
    if let Some(reader) = reader {
        let _ = reader.join();
    }
    Ok(Ended {
        status,
        leftovers: leftovers
            .into_iter()
            .map(|process| process.to_string())
            .collect(),
    })
}

/// Makes this process the parent of its orphaned descendants.
pub fn adopt_orphans() -> Result<()> {
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
        .context("cannot become the reaper of the tests' processes")
}

/// Waits for the child, and takes in orphans as they die: a test may wait for one to be gone.
fn wait_for(child: Pid, deadline: Instant) -> Result<Option<ExitStatus>> {
    loop {
        if let Some(status) = reap(Some(child))? {
            return Ok(Some(status));
        }
        if Instant::now() >= deadline {
            return Ok(None);
        }
        thread::sleep(POLL);
    }
}

/// Takes in whatever died; the status is that of `child`, if it is among them.
fn reap(child: Option<Pid>) -> Result<Option<ExitStatus>> {
    loop {
        match waitpid(None, WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if Some(pid) == child => {
                return Ok(Some(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
            Ok(None) | Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(error) => return Err(error).context("cannot wait for child processes"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn a_shown_command_can_be_typed() {
        let mut command = Command::new("prog");
        command.args(["plain-1.0", "it's two", ""]).env("A", "b c");
        assert_eq!(shown(&command), r"A='b c' prog plain-1.0 'it'\''s two' ''");
    }

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    /// One test for all of supervision, which takes in every child of the whole test process.
    #[test]
    fn supervised_commands() {
        adopt_orphans().unwrap();

        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&lines);
        let ended = supervise(
            shell("echo one; echo two >&2; exit 3"),
            Duration::from_mins(1),
            Afterwards::Nothing,
            Some(Box::new(move |line| {
                sink.lock().unwrap().push(line.to_owned());
            })),
        )
        .unwrap();
        assert_eq!(ended.status.and_then(|status| status.code()), Some(3));
        assert_eq!(ended.leftovers, Vec::<String>::new());
        assert_eq!(*lines.lock().unwrap(), ["one", "two"]);

        // A descendant in a session of its own does not survive an overrun, and the pipe that it
        // holds open does not block.
        let started = Instant::now();
        let ended = supervise(
            shell("setsid sleep 1000 & exec sleep 1000"),
            Duration::from_millis(200),
            Afterwards::Anything,
            Some(Box::new(|_| ())),
        )
        .unwrap();
        assert!(ended.status.is_none());
        assert!(started.elapsed() < Duration::from_mins(1));
        assert_eq!(tree::descendants().unwrap().len(), 0);

        // What a command leaves behind is named and ended.
        let leave = || shell("setsid sleep 1000 & exit 0");
        let long = Duration::from_mins(1);
        let ended = supervise(leave(), long, Afterwards::Nothing, None).unwrap();
        assert!(ended.status.unwrap().success());
        assert_eq!(ended.leftovers.len(), 1);
        assert!(
            ended.leftovers[0].ends_with("sleep 1000"),
            "{:?}",
            ended.leftovers
        );
        assert_eq!(tree::descendants().unwrap().len(), 0);

        // Where that is allowed, it runs on, and a later command is not blamed for it.
        supervise(leave(), long, Afterwards::Anything, None).unwrap();
        let ended = supervise(shell("exit 0"), long, Afterwards::Nothing, None).unwrap();
        assert_eq!(ended.leftovers, Vec::<String>::new());
        assert_eq!(tree::descendants().unwrap().len(), 1);
        for process in tree::descendants().unwrap() {
            process.kill();
        }
    }
}
