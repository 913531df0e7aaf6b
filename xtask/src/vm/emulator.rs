//! QEMU: a kernel under emulation, from its start to its end.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use rustix::process::{Signal, set_parent_process_death_signal};

use super::transcript::{Section, Transcript};

pub const EMULATOR: &str = "qemu-system-x86_64";

/// What all guests have. No KVM: it is not everywhere, and figures of two kinds of machines could not
/// be compared.
///
/// One thread takes turns at the CPUs: with a thread for each, QEMU 7.2 can miss that a kernel has
/// patched its own code, as it does whenever a program is attached, and both CPUs then take the
/// breakpoint of the patching for ever.
const COMMON: [&str; 8] = [
    "-accel",
    "tcg,thread=single",
    "-display",
    "none",
    "-nodefaults",
    "-net",
    "none",
    "-no-reboot",
];

/// The model of the CPUs. `-cx16`: with it QEMU 7.2 crashes kernels now and then. Vectors of an old
/// model are cheap to emulate: `max` takes half as much time again.
pub const CPU: &str = "Nehalem,-cx16";

/// `no_timer_check`: a guest that has to wait for a CPU would fail the kernel's test of its timer. The
/// rest is what a guest can do without: checks of the kernel's own and waits for them, a fifth of all
/// CPU time.
const COMMON_COMMAND_LINE: &str = "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check \
                                   init_on_alloc=0 hardened_usercopy=off \
                                   kfence.sample_interval=0 rcupdate.rcu_expedited=1 \
                                   cryptomgr.notests audit=0 nowatchdog";

/// What is emulated.
pub struct Machine {
    /// Arguments of QEMU besides those that every guest has.
    pub arguments: Vec<String>,
    /// Of the kernel, besides what every guest has.
    pub command_line: &'static str,
    /// A guest that says nothing for so long hangs.
    pub silence: Duration,
}

/// Lines of the console that are shown when something went wrong.
const TAIL: usize = 20;

/// What a guest is booted from, and where its output goes.
pub struct Files<'a> {
    pub machine: &'a Machine,
    pub kernel: &'a Path,
    pub initrd: &'a Path,
    /// What its first process says; before each line the seconds since the start, and those of CPU
    /// time that the emulator took.
    pub log: &'a Path,
    /// What the kernel says.
    pub console: &'a Path,
}

/// What came of it.
pub struct Heard {
    pub transcript: Transcript,
    /// Whether it had to be ended.
    pub overran: bool,
    /// CPU time of the emulator.
    pub cpu: Duration,
}

/// Boots a kernel and hears it out: `ended` gets each section that came to its end.
pub fn boot(files: &Files<'_>, budget: Duration, ended: impl FnMut(&Section)) -> Result<Heard> {
    let mut command = Command::new(EMULATOR);
    command
        .args(COMMON)
        .args(&files.machine.arguments)
        .arg("-serial")
        .arg(format!("file:{}", files.console.display()))
        .args(["-serial", "stdio", "-kernel"])
        .arg(files.kernel)
        .arg("-initrd")
        .arg(files.initrd)
        .arg("-append")
        .arg(format!(
            "{COMMON_COMMAND_LINE} {}",
            files.machine.command_line
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // SAFETY: prctl is async-signal-safe and touches only the child. The thread that starts it
    // waits for it.
    unsafe {
        command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("cannot start {EMULATOR}"))?;
    let heard = child.stdout.take().context("its output is piped");
    let stat = format!("/proc/{}/stat", child.id());
    let silence = files.machine.silence;
    let result = heard.and_then(|out| listen(out, files.log, &stat, (budget, silence), ended));
    let now = !matches!(result, Ok((_, false)));
    let cpu = end(&mut child, now)?;
    let (transcript, overran) = result?;
    Ok(Heard {
        transcript,
        overran,
        cpu,
    })
}

/// Reads until the guest is gone or out of time.
fn listen(
    out: ChildStdout,
    log: &Path,
    stat: &str,
    (budget, silence): (Duration, Duration),
    mut ended: impl FnMut(&Section),
) -> Result<(Transcript, bool)> {
    let mut log = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut out = BufReader::new(out);
        let mut bytes = Vec::new();
        while out.read_until(b'\n', &mut bytes).is_ok_and(|read| read > 0) {
            if sender.send(std::mem::take(&mut bytes)).is_err() {
                break;
            }
        }
    });
    let begin = Instant::now();
    let end = begin + budget;
    let mut transcript = Transcript::default();
    loop {
        let left = end.saturating_duration_since(Instant::now()).min(silence);
        let bytes = match lines.recv_timeout(left) {
            Ok(bytes) => bytes,
            Err(RecvTimeoutError::Disconnected) => return Ok((transcript, false)),
            Err(RecvTimeoutError::Timeout) => return Ok((transcript, true)),
        };
        let cpu = fs::read_to_string(stat).map_or(Duration::ZERO, |stat| cpu_time(&stat));
        let (wall, cpu) = (begin.elapsed().as_secs_f64(), cpu.as_secs_f64());
        write!(log, "{wall:7.2} {cpu:7.2} ")?;
        log.write_all(&bytes)?;
        let line = String::from_utf8_lossy(&bytes);
        if transcript.line(line.trim_end_matches(['\n', '\r']))
            && let Some(section) = transcript.sections.last()
        {
            ended(section);
        }
    }
}

/// Ends the emulator, which has said its last, or does not come to an end, and tells the CPU time
/// that it took.
fn end(child: &mut Child, now: bool) -> Result<Duration> {
    let deadline = Instant::now() + Duration::from_secs(if now { 0 } else { 10 });
    let stat = format!("/proc/{}/stat", child.id());
    let mut cpu = Duration::ZERO;
    loop {
        // As long as nobody has waited for it, it is there.
        cpu = fs::read_to_string(&stat).map_or(cpu, |stat| cpu_time(&stat));
        if child.try_wait()?.is_some() {
            return Ok(cpu);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Ok(cpu);
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// User and system time, fields 14 and 15 of proc_pid_stat(5), of which the second is the command,
/// in parentheses.
fn cpu_time(stat: &str) -> Duration {
    let ticks: u64 = (stat.rsplit(')').next().unwrap_or_default())
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second().max(1))
}

/// The last lines of the kernel's messages.
pub fn console(file: &Path) -> String {
    let text = fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    if lines.is_empty() {
        return "its console is empty".to_owned();
    }
    let tail = &lines[lines.len().saturating_sub(TAIL)..];
    format!("its console:\n    {}", tail.join("\n    "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_read() {
        let ticks = rustix::param::clock_ticks_per_second();
        let stat = format!(
            "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 {ticks} {} 0 0",
            2 * ticks
        );
        assert_eq!(cpu_time(&stat), Duration::from_secs(3));
    }
}
