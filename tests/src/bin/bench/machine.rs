//! Where the figures come from: the machine, and what the kernel tells of all of it.

use std::fs;

use anyhow::{Context, Result};
use limitscope_tests::mounts::Hierarchies;
use serde_json::{Value, json};

use crate::figures::{Section, Table, mib};

/// Context switches of the host since it started (`ctxt` of /proc/stat).
pub fn switches() -> Result<u64> {
    let text = fs::read_to_string("/proc/stat")?;
    text.lines()
        .find_map(|line| line.strip_prefix("ctxt "))
        .and_then(|number| number.trim().parse().ok())
        .context("/proc/stat has no ctxt")
}

/// CPU time of a process in seconds, to the nanosecond: `utime` + `stime` of /proc/PID/stat before
/// they are rounded to clock ticks.
pub fn cpu_seconds(pid: u32) -> Result<f64> {
    let mut clock = 0;
    // SAFETY: it writes to the local variable only.
    let error = unsafe { libc::clock_getcpuclockid(pid as i32, &raw mut clock) };
    if error != 0 {
        return Err(std::io::Error::from_raw_os_error(error)).context("the CPU clock of a process");
    }
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: it writes to the local variable only.
    if unsafe { libc::clock_gettime(clock, &raw mut time) } != 0 {
        return Err(std::io::Error::last_os_error()).context("reading the CPU clock of a process");
    }
    Ok(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
}

/// A field of /proc/PID/status in bytes.
pub fn status_bytes(pid: u32, name: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib: f64 = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok())
        .with_context(|| format!("process {pid} has no {name}"))?;
    Ok(kib * 1024.0)
}

/// CPUs that this process may use.
pub fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn line_of(file: &str, key: &str) -> String {
    fs::read_to_string(file)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.trim() == key)
        .map_or_else(
            || "unknown".to_owned(),
            |(_, value)| value.trim().to_owned(),
        )
}

fn cgroup_layout() -> String {
    let Ok(found) = Hierarchies::find() else {
        return "unknown".to_owned();
    };
    let v2 = found.v2.is_some();
    match (found.v1.is_empty(), v2) {
        (true, true) => "v2",
        (false, true) => "hybrid: v1 controllers, v2 beside",
        (false, false) => "v1",
        (true, false) => "none",
    }
    .to_owned()
}

/// Describes it. `load` is the processes that were running when the benchmark began.
pub fn describe(quick: bool, rounds: usize, load: &str) -> Section {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let memory: f64 = line_of("/proc/meminfo", "MemTotal")
        .trim_end_matches(" kB")
        .parse()
        .unwrap_or(0.0);
    let hypervisor = fs::read_to_string("/proc/cpuinfo")
        .unwrap_or_default()
        .lines()
        .any(|line| {
            line.starts_with("flags") && line.ends_with("hypervisor")
                || line.contains(" hypervisor ")
        });
    let now = jiff::Timestamp::now();
    let facts: [(&str, String); 9] = [
        ("date", now.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        ("CPU", line_of("/proc/cpuinfo", "model name")),
        ("CPUs", cpus().to_string()),
        (
            "virtual machine",
            if hypervisor { "yes" } else { "no" }.to_owned(),
        ),
        (
            "memory",
            format!("{:.1} GiB", mib(memory * 1024.0) / 1024.0),
        ),
        ("kernel", release.trim().to_owned()),
        ("cgroups", cgroup_layout()),
        ("load average before", load.to_owned()),
        (
            "run",
            format!(
                "{rounds} rounds{}",
                if quick {
                    ", quick: a first impression"
                } else {
                    ""
                }
            ),
        ),
    ];
    let mut table = Table::new(["machine", ""]);
    let mut object = serde_json::Map::new();
    for (name, value) in facts {
        table.row([name.to_owned(), value.clone()]);
        object.insert(name.replace(' ', "_").to_lowercase(), value.into());
    }
    Section {
        key: "machine",
        title: "The machine",
        notes: Vec::new(),
        tables: vec![table],
        json: Value::Object(object),
    }
}

/// Whether the kernel measures programs also when nobody asks.
pub fn stats_always_on() -> bool {
    fs::read_to_string("/proc/sys/kernel/bpf_stats_enabled").is_ok_and(|text| text.trim() != "0")
}

/// The load averages now.
pub fn load_average() -> String {
    fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .split(' ')
        .take(3)
        .collect::<Vec<_>>()
        .join(" ")
}

/// The object in the JSON that says what kind of run it was.
pub fn run_json(quick: bool, rounds: usize) -> Value {
    json!({ "quick": quick, "rounds": rounds })
}
