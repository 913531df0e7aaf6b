//! With how little it works, and what it still holds when it runs.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    cgroup::Cgroup,
    events::Line,
    rights::{self, NOBODY},
    sandbox,
    workload::Workload,
};
use rustix::thread::CapabilitySet;
use serde_json::Value;
use tempfile::TempDir;

/// The least with which anything works.
const LEAST: CapabilitySet = CapabilitySet::BPF.union(CapabilitySet::PERFMON);

/// What [`Program::ask_for_more`] found, once for all tests: the answer takes a load of every program.
static MORE: OnceLock<CapabilitySet> = OnceLock::new();

/// The program where every user can start it.
struct Program {
    _dir: TempDir,
    path: PathBuf,
    /// What loading takes besides, on kernels that count maps as locked memory.
    more: CapabilitySet,
}

impl Program {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        let path = sandbox::copy_for_everybody(&agent::binary()?, dir.path())?;
        let mut program = Self {
            _dir: dir,
            path,
            more: CapabilitySet::empty(),
        };
        program.more = if let Some(more) = MORE.get() {
            *more
        } else {
            let more = program.ask_for_more()?;
            *MORE.get_or_init(|| more)
        };
        Ok(program)
    }

    fn ask_for_more(&self) -> Result<CapabilitySet> {
        let check = self.checked(LEAST)?;
        let problems = check["problems"].to_string();
        if !problems.contains("locked memory") {
            return Ok(CapabilitySet::empty());
        }
        ensure!(
            problems.contains("CAP_SYS_RESOURCE"),
            "no remedy: {problems}"
        );
        Ok(CapabilitySet::SYS_RESOURCE)
    }

    fn command(&self, args: &[&str], held: CapabilitySet) -> Command {
        let mut command = agent::command_of(&self.path, args);
        rights::as_nobody(&mut command, held | self.more);
        command
    }

    fn output(&self, args: &[&str], held: CapabilitySet) -> Result<Output> {
        let mut command = self.command(args, held);
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        // Loading all programs takes its time where the CPU is an emulated one.
        agent::finish(child, Duration::from_mins(1))
    }

    /// `check --json`, whatever it says.
    fn checked(&self, held: CapabilitySet) -> Result<Value> {
        let output = self.output(&["check", "--json"], held)?;
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        serde_json::from_str(&told).with_context(|| format!("check --json says {told:?}"))
    }
}

/// Capabilities that a line tells.
fn told(names: &Value) -> Result<CapabilitySet> {
    let names = names.as_array().context("a list of capabilities")?;
    let mut set = CapabilitySet::empty();
    for name in names {
        let name = name.as_str().and_then(|name| name.strip_prefix("CAP_"));
        let name = name.context("the name of a capability")?;
        set |= CapabilitySet::from_name(name).with_context(|| format!("no {name}"))?;
    }
    Ok(set)
}

/// What reading the maps takes of `held` on this kernel.
fn for_maps(held: CapabilitySet) -> Result<CapabilitySet> {
    let lender = if held.contains(CapabilitySet::BPF) {
        CapabilitySet::BPF
    } else {
        CapabilitySet::SYS_ADMIN
    };
    Ok(if rights::reading_maps_takes_cap_bpf()? {
        lender
    } else {
        CapabilitySet::empty()
    })
}

/// Every thread must hold exactly `kept`, for good, and the start line must say so.
fn check_held(agent: &Agent, kept: CapabilitySet) -> Result<()> {
    let start = agent.wait_for("the start", |line| line.value["agent.phase"] == "start")?;
    assert_eq!(told(&start.value["agent.capabilities"])?, kept);
    let threads = rights::of_threads(agent.pid())?;
    println!("kept {kept:?}, threads {threads:?}");
    ensure!(!threads.is_empty(), "no threads");
    for thread in threads {
        let [inheritable, permitted, effective, ambient] = thread.sets;
        assert_eq!((permitted, effective), (kept, kept));
        assert!(inheritable.is_empty() && ambient.is_empty(), "{thread:?}");
        assert!(thread.no_new_privs, "a program could get them again");
    }
    Ok(())
}

/// Has a cgroup of the test run into both its limits; `agent` must tell both. Returns the kill.
fn check_both_limits(agent: &Agent) -> Result<Line> {
    let quota = Cgroup::new("rights")?;
    // So little that it is used up on a busy machine too; the spinner ends when it is dropped.
    quota.set_cpu_quota(Some(1_000), 50_000)?;
    let mut spin = Workload::start_in(&quota, &["spin", "--threads", "1", "--ms", "60000"])?;
    spin.go()?;
    let memory = Cgroup::new("rights")?;
    memory.set_memory_limit(16 << 20)?;
    let mut victim = Workload::start_in(&memory, &["anon", "--mib", "32"])?;
    let pid = u64::from(victim.pid());
    victim.run_to_death()?;
    let kill = agent.wait_for("the kill", |line| {
        line.value["oom.victim.process.pid"].as_u64() == Some(pid)
    })?;
    assert_eq!(kill.text("oom.limit.cgroup")?, memory.path());
    assert_eq!(kill.number("oom.limit.bytes")?, 16 << 20);
    let throttled = agent.wait_for("a throttled interval", |line| {
        line.value["throttle.cgroup"] == quota.path().as_str()
    })?;
    assert!(throttled.number("throttle.duration_ns")? > 0);
    agent.wait_for("statistics", |line| {
        line.kind() == "container_stats" && line.cgroup() == quota.path()
    })?;
    Ok(kill)
}

const RUN: [&str; 4] = ["run", "--interval", "500ms", "--format=json"];

#[test]
fn nobody_with_the_least_capabilities_sees_everything() -> Result<()> {
    let program = Program::new()?;
    for held in [LEAST, CapabilitySet::SYS_ADMIN] {
        let check = program.checked(held)?;
        assert_eq!(check["works"], true, "{}", check["problems"]);
        let kept = for_maps(held)?;
        let after = &check["privileges"]["held_after_attaching"];
        assert_eq!(told(after)?, kept, "what check says of {held:?}");
        let agent = Agent::start_command(program.command(&RUN, held))?;
        check_held(&agent, kept)?;
        check_both_limits(&agent)?;
        check_held(&agent, kept)?;
        agent.stop()?;
    }
    Ok(())
}

#[test]
fn one_of_two_capabilities_is_not_enough_and_the_other_is_named() -> Result<()> {
    let program = Program::new()?;
    let file = program.path.display().to_string();
    for (held, missing, other) in [
        (CapabilitySet::BPF, "CAP_PERFMON", "CAP_BPF ("),
        (CapabilitySet::PERFMON, "CAP_BPF", "CAP_PERFMON ("),
    ] {
        for args in [&["run", "--duration", "1s"][..], &["check"]] {
            let output = program.output(args, held)?;
            let all = [output.stdout, output.stderr].concat();
            let all = String::from_utf8_lossy(&all);
            println!("{args:?} with {held:?}: {all}");
            assert_eq!(output.status.code(), Some(1));
            let problem = all
                .lines()
                .find(|line| line.contains("missing capabilities: "))
                .context("no line says what is missing")?;
            assert!(
                problem.contains(missing) && !problem.contains(other),
                "{problem}"
            );
            assert!(
                all.contains("sudo setcap cap_bpf,cap_perfmon"),
                "no command"
            );
            assert!(all.contains(&format!("=ep {file}")), "not of this program");
        }
    }
    Ok(())
}

/// What stays of all that this process holds.
fn of_root() -> Result<CapabilitySet> {
    let root = rights::of_threads(std::process::id())?;
    let [_, _, held, _] = root.first().context("this thread")?.sets;
    let looking = CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_PTRACE;
    Ok(looking & held | for_maps(held)?)
}

#[test]
fn root_keeps_only_what_looks_into_files_and_processes() -> Result<()> {
    let agent = Agent::start(&["--interval", "500ms"])?;
    let kept = of_root()?;
    check_held(&agent, kept)?;
    check_both_limits(&agent)?;
    check_held(&agent, kept)?;
    agent.stop()?;
    Ok(())
}

/// A run that leaves its report in `dir`.
fn reported(dir: &Path, kept: CapabilitySet) -> Result<()> {
    let report = dir.join("report.json");
    let args = ["run", "--format", "json", "--interval", "200ms", "--report"];
    let args = args.iter().map(OsStr::new).chain([report.as_os_str()]);
    let agent = Agent::start_command(agent::command(args)?)?;
    check_held(&agent, kept)?;
    let cgroup = Cgroup::new("report")?;
    Workload::start_in(&cgroup, &["duty", "--ms", "300"])?.run()?;
    agent.stop()?;
    let report: Value = serde_json::from_slice(&fs::read(&report)?)?;
    assert!(report.is_object());
    Ok(())
}

#[test]
fn a_report_is_written_into_a_folder_of_somebody_else() -> Result<()> {
    let reading = of_root()?;
    let own = tempfile::tempdir()?;
    reported(own.path(), reading)?;
    let others = tempfile::tempdir()?;
    chown(others.path(), Some(NOBODY), Some(NOBODY))?;
    reported(others.path(), reading | CapabilitySet::DAC_OVERRIDE)
}

#[test]
fn a_victim_tells_its_command_line_behind_hidepid_too() -> Result<()> {
    let program = Program::new()?;
    let mut command = agent::command_of(&program.path, RUN);
    sandbox::hide_processes(&mut command);
    rights::as_nobody(&mut command, LEAST | program.more);
    let agent = Agent::start_command(command)?;
    check_held(&agent, for_maps(LEAST)?)?;
    // On a busy machine a victim may take its signal later than a kill waits for it.
    let mut seen = None;
    for _ in 0..20 {
        let kill = check_both_limits(&agent)?;
        let line = kill.value["oom.victim.process.command_line"].clone();
        if line.is_string() {
            seen = Some(line);
            break;
        }
    }
    let line = seen.context("no command line in 20 kills")?;
    let line = line.as_str().context("text")?;
    assert!(line.ends_with("anon --mib 32"), "{line}");
    agent.stop()?;
    Ok(())
}

/// What the plan says of OOM kills.
fn notes(agent: &Agent) -> Result<String> {
    let start = agent.wait_for("the start", |line| line.value["agent.phase"] == "start")?;
    Ok(start.value["agent.plan"]["signals"]["oom_kill"]["notes"].to_string())
}

#[test]
fn without_the_kernels_addresses_sums_are_said_to_be_inexact() -> Result<()> {
    let program = Program::new()?;
    let symbols = fs::read_to_string("/proc/kallsyms")?;
    let mut symbol = symbols.lines().filter_map(|line| line.split_once(' '));
    let listed = symbol.any(|(address, name)| {
        name.ends_with(" __per_cpu_offset") && address.bytes().any(|digit| digit != b'0')
    });
    println!("__per_cpu_offset is listed: {listed}");
    for held in [LEAST, LEAST | CapabilitySet::SYSLOG] {
        let agent = Agent::start_command(program.command(&RUN, held))?;
        let notes = notes(&agent)?;
        println!("{held:?}: {notes}");
        let kill = check_both_limits(&agent)?;
        agent.stop()?;
        let exact = kill.value["oom.victim.memory.exact"].as_bool();
        // Where the counts are in one place no address is needed, and nothing is said of it.
        let hidden = notes.contains("__per_cpu_offset");
        assert_eq!(
            exact.context("memory.exact")?,
            listed && !hidden && is_per_cpu()?
        );
        match (listed, held.contains(CapabilitySet::SYSLOG)) {
            (false, _) => assert!(hidden || !is_per_cpu()?, "nothing is said of it"),
            (true, true) => assert!(!hidden, "it may see the address: {notes}"),
            (true, false) => assert!(
                !is_per_cpu()? || !hidden || notes.contains("CAP_SYSLOG"),
                "no remedy: {notes}"
            ),
        }
    }
    Ok(())
}

/// Whether a process's resident memory is counted on each CPU by itself: `mm_struct.rss_stat` is an
/// array of `percpu_counter` then, and else a `struct mm_rss_stat`, which BTF has by name.
fn is_per_cpu() -> Result<bool> {
    let types = fs::read("/sys/kernel/btf/vmlinux")?;
    let name = b"\0mm_rss_stat\0";
    Ok(!types.windows(name.len()).any(|bytes| bytes == name))
}

#[test]
fn in_a_cgroup_namespace_of_its_own_it_sees_everything() -> Result<()> {
    let home = Cgroup::new("home")?;
    let mut command = agent::command(RUN)?;
    sandbox::own_cgroups(&mut command, &home)?;
    let agent = Agent::start_command(command)?;
    let inside = fs::read_to_string(format!("/proc/{}/cgroup", agent.pid()))?;
    let is_home = |line: &str| line.ends_with(&home.path());
    ensure!(inside.lines().any(is_home), "it is elsewhere: {inside}");
    let own = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/cgroup"));
    assert_ne!(own(&agent.pid().to_string())?, own("self")?, "no namespace");
    check_both_limits(&agent)?;
    agent.stop()?;
    Ok(())
}

#[test]
fn hidden_tracefs_does_not_matter() -> Result<()> {
    let mut command = agent::command(RUN)?;
    for dir in ["/sys/kernel/tracing", "/sys/kernel/debug"] {
        if Path::new(dir).is_dir() {
            sandbox::mount_tmpfs(&mut command, dir.as_ref(), "4k")?;
        }
    }
    let agent = Agent::start_command(command)?;
    check_both_limits(&agent)?;
    agent.stop()?;
    Ok(())
}
