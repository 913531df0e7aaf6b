//! An `oom_kill` event beside the kernel's own account of the same kill.

use std::os::unix::process::ExitStatusExt;

use anyhow::{Context, Result, ensure};

use crate::{
    agreement,
    cgroup::Cgroup,
    emulated,
    events::Line,
    listener::Listener,
    referee::{
        kmsg::{Killed, Kmsg, Log},
        memory_events,
    },
    wait::{self, PATIENCE},
    workload::Workload,
};

/// The usual limit of a victim, in bytes.
pub const LIMIT: u64 = 32 << 20;

/// The program and the kernel's log, both listening.
#[derive(Debug)]
pub struct Stage {
    listener: Listener,
    kmsg: Kmsg,
}

impl Stage {
    /// Has the program listen where the kernel's log stands.
    pub fn set() -> Result<Self> {
        let kmsg = Kmsg::open()?;
        Ok(Self {
            listener: Listener::start()?,
            kmsg,
        })
    }

    /// Has the kernel kill neither the program nor this process, where it would take anybody, for
    /// as long as what is returned is there.
    pub fn spare_us(&self) -> Result<Spared> {
        let spared = Spared([self.listener.pid(), std::process::id()]);
        spared.set("-1000").context("setting oom_score_adj")?;
        Ok(spared)
    }

    /// Stops listening when `kills` victims of this command are known to both sides; both must know
    /// of exactly these.
    pub fn finish(self, command: &str, kills: usize) -> Result<(Vec<Line>, Log)> {
        self.finish_beside(command, kills, 0)
    }

    /// The same with `unlogged` kills more that the kernel's log does not have.
    pub fn finish_beside(
        mut self,
        command: &str,
        kills: usize,
        unlogged: usize,
    ) -> Result<(Vec<Line>, Log)> {
        let log = self.kmsg.read_kills(command, kills)?;
        let of = |line: &Line| {
            line.kind() == "oom_kill" && line.value["oom.victim.process.command"] == command
        };
        let expected = kills + unlogged;
        wait::until(
            &format!("{expected} oom_kill events of {command}"),
            PATIENCE,
            || Ok((self.listener.events().choose(of).0.len() >= expected).then_some(())),
        )?;
        let events = self.listener.finish()?.choose(of).0;
        let killed = log.killed_with(command).len() + unlogged;
        agreement("OOM kills", events.len() as f64, killed as f64);
        ensure!(
            events.len() == killed,
            "{} events for {killed} kills",
            events.len()
        );
        Ok((events, log))
    }
}

/// Processes that are not killed. Whoever they start is not either, and hangs at its limit.
#[derive(Debug)]
pub struct Spared([u32; 2]);

impl Spared {
    fn set(&self, adj: &str) -> std::io::Result<()> {
        self.0
            .iter()
            .try_for_each(|pid| std::fs::write(format!("/proc/{pid}/oom_score_adj"), adj))
    }
}

impl Drop for Spared {
    fn drop(&mut self) {
        let _ = self.set("0");
    }
}

/// A victim that runs into its own limit, of [`LIMIT`], alone in its cgroup: its line, checked, and the
/// kernel's log.
///
/// # Panics
/// When they differ.
pub fn alone(command: &str, args: &[&str]) -> Result<(Line, Log)> {
    let stage = Stage::set()?;
    let cgroup = Cgroup::new("oom")?;
    cgroup.set_memory_limit(LIMIT)?;
    let mut workload = Workload::start_in(&cgroup, &[args, &["--comm", command]].concat())?;
    let pid = workload.pid();
    assert_eq!(
        workload.run_to_death()?.signal(),
        Some(9),
        "killed by the kernel"
    );
    assert_eq!(memory_events::oom_kills(&cgroup)?, 1);
    let (events, log) = stage.finish(command, 1)?;
    let victim = log.victim(command)?;
    let line = only(&events)?;
    check_victim(line, victim)?;
    check_limit(line, &log, pid, &cgroup, &cgroup)?;
    assert_eq!(line.number("oom.victim.process.pid")?, u64::from(pid));
    assert_eq!(
        line.number("oom.victim.process.parent_pid")?,
        u64::from(std::process::id())
    );
    assert_eq!(line.number("oom.trigger.process.pid")?, u64::from(pid));
    // It can be gone before it can be read; if it is there it is the real one.
    // An emulated CPU may take longer than a kill waits for it.
    let told = &line.value["oom.victim.process.command_line"];
    if !(emulated() && told.is_null()) {
        assert_eq!(*told, workload.command_line().collect::<Vec<_>>().join(" "));
    }
    Ok((line.clone(), log))
}

/// The only event.
pub fn only(events: &[Line]) -> Result<&Line> {
    ensure!(
        events.len() == 1,
        "{} events instead of one: {events:?}",
        events.len()
    );
    Ok(&events[0])
}

/// The most threads that a victim has here.
const THREADS: u64 = 5;

/// Whether threads keep a part of their counts to themselves: where the kernel has the type that it
/// had before they were kept per CPU.
fn counts_are_per_thread() -> Result<bool> {
    const NAME: &[u8] = b"\0mm_rss_stat\0";
    let types = std::fs::read("/sys/kernel/btf/vmlinux").context("the kernel's types")?;
    Ok(types.windows(NAME.len()).any(|bytes| bytes == NAME))
}

/// The size of the page that a fault of anonymous memory gets where all memory has huge pages.
fn huge_page_kb() -> Result<u64> {
    let folder = std::path::Path::new("/sys/kernel/mm/transparent_hugepage");
    match std::fs::read_to_string(folder.join("enabled")) {
        Ok(enabled) if enabled.contains("[always]") => {
            let bytes: u64 = std::fs::read_to_string(folder.join("hpage_pmd_size"))?
                .trim()
                .parse()?;
            Ok(bytes / 1024)
        }
        _ => Ok(0),
    }
}

fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u64)
}

/// Compares what is known of the victim with the `Killed process` line.
///
/// # Panics
/// When they differ.
pub fn check_victim(line: &Line, victim: &Killed) -> Result<()> {
    println!("event: {}\nkernel: {victim:?}", line.value);
    line.value["oom.victim.memory.exact"]
        .as_bool()
        .context("memory.exact")?;
    // Where ours is the exact sum, the log may still show a per-CPU counter's central value, which
    // lags by up to a batch for each CPU (lib/percpu_counter.c). Before 6.2 each thread keeps up
    // the pages of up to 64 faults to itself (TASK_RSS_EVENTS_THRESH in mm/memory.c), which a victim
    // on another CPU adds as it dies, maybe after us and before the log. A fault of a file maps up to
    // 16 pages around (fault_around_bytes, `do_fault_around`). And threads on other CPUs go on until
    // the signal reaches them, with what each CPU had charged in advance (MEMCG_CHARGE_BATCH).
    let (slack_kb, file_slack_kb) = if counts_are_per_thread()? {
        let events = 64 * THREADS;
        (events * 4, 16 * events * 4)
    } else {
        let pages = ((2 * cpus()).max(32) + 64) * cpus();
        (pages * 4, pages * 4)
    };
    // A victim that did not ask itself can be within a fault on another CPU, which is counted after us
    // and before the log: of a huge page at most, with the tables for it.
    let asked = line.number("oom.trigger.process.pid")?;
    let is_elsewhere = asked != line.number("oom.victim.process.pid")?;
    let (fault_kb, tables_kb) = if is_elsewhere {
        (huge_page_kb()?, 8)
    } else {
        (0, 0)
    };
    for (ours, theirs, slack) in [
        ("total_vm_bytes", "total-vm", 0),
        ("anon_bytes", "anon-rss", slack_kb + fault_kb),
        ("file_bytes", "file-rss", file_slack_kb),
        ("shmem_bytes", "shmem-rss", slack_kb),
        ("page_tables_bytes", "pgtables", tables_kb),
    ] {
        let bytes = line.number(&format!("oom.victim.memory.{ours}"))?;
        let kernel_kb = u64::try_from(victim.fields[theirs])?;
        assert_eq!(bytes % 1024, 0, "{ours}");
        assert!(
            (bytes / 1024).abs_diff(kernel_kb) <= slack,
            "{ours} is {} kB, the kernel says {kernel_kb} kB ({slack} kB of slack)",
            bytes / 1024
        );
    }
    assert_eq!(
        line.number("oom.victim.process.user.id")?,
        u64::try_from(victim.fields["UID"])?
    );
    assert_eq!(
        line.signed("oom.victim.oom_score_adj")?,
        victim.fields["oom_score_adj"]
    );
    assert_eq!(line.text("oom.victim.process.command")?, victim.command);
    let latency = line.arrived_ns.saturating_sub(line.number("monotonic_ns")?);
    // An emulated CPU that has to wait for a real one took 2.9 s once.
    let most_ns = if emulated() {
        5_000_000_000
    } else {
        1_000_000_000
    };
    assert!(
        latency < most_ns,
        "the line came {latency} ns after the kill"
    );
    Ok(())
}

/// Compares limit, cgroups and trigger with the kernel's report and the limit file.
///
/// # Panics
/// When they differ.
pub fn check_limit(
    line: &Line,
    log: &Log,
    reported: u32,
    limit: &Cgroup,
    task: &Cgroup,
) -> Result<()> {
    let report = log.report(reported)?;
    println!("kernel: {report:?}");
    assert_eq!(line.text("oom.scope")?, "memory_cgroup");
    assert_eq!(report.pairs["constraint"], "CONSTRAINT_MEMCG");
    assert_eq!(line.text("oom.limit.cgroup")?, report.pairs["oom_memcg"]);
    assert_eq!(report.pairs["oom_memcg"], limit.path());
    assert_eq!(
        line.text("process.linux.cgroup")?,
        report.pairs["task_memcg"]
    );
    assert_eq!(report.pairs["task_memcg"], task.path());
    assert_eq!(line.number("oom.limit.bytes")?, limit.memory_limit()?);
    assert_eq!(line.number("oom.limit.bytes")? / 1024, report.limit_kb);
    assert_eq!(line.text("oom.limit.level")?, "other");
    assert_eq!(
        line.text("oom.trigger.process.command")?,
        report.trigger_command
    );
    // Only a program at the OOM killer's own function sees the allocation.
    if let Some(order) = line.value["oom.order"].as_i64() {
        assert_eq!(order, report.order);
        assert_eq!(line.number("oom.gfp_flags")?, report.gfp_mask);
    }
    Ok(())
}

/// Most pages that a CPU charges ahead of their use (`MEMCG_CHARGE_BATCH`, include/linux/memcontrol.h).
const CHARGED_AHEAD: u64 = 64;

/// Compares the usage; ours and the log's are of one moment only while nobody else charges or frees.
/// Before it kills, the kernel has every CPU give back what it charged ahead (`drain_all_stock`,
/// mm/memcontrol.c), in the background: where CPUs are slow, that comes between our look and the
/// log's.
///
/// # Panics
/// When they differ.
pub fn check_usage(line: &Line, log: &Log, reported: u32) -> Result<()> {
    let ours_kb = line.number("oom.usage_bytes")? / 1024;
    let kernel_kb = log.report(reported)?.usage_kb;
    if emulated() {
        let given_back = ours_kb.checked_sub(kernel_kb);
        let most = CHARGED_AHEAD * cpus() * 4;
        assert!(
            given_back.is_some_and(|kb| kb <= most),
            "usage is {ours_kb} kB, the kernel says {kernel_kb} kB"
        );
    } else {
        assert_eq!(ours_kb, kernel_kb);
    }
    Ok(())
}
