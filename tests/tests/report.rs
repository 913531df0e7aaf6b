//! `limitscope report`: the same figures from a log and from JSON lines, and what it does with
//! damaged ones. It needs no rights.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::PathBuf,
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{
    agent::{self, Agent},
    cgroup::Cgroup,
    events::Events,
    histogram::merged,
    sandbox,
    workload::Workload,
};
use serde_json::Value;
use tempfile::TempDir;

/// A recorded run, in both forms.
struct Recording {
    dir: TempDir,
    program: PathBuf,
    hlog: PathBuf,
    lines: PathBuf,
    events: Events,
    /// Path of a cgroup that was throttled, without the slash.
    cgroup: String,
}

impl Recording {
    fn make() -> Result<Self> {
        let dir = tempfile::tempdir_in("/var/tmp")?;
        let (hlog, lines) = (dir.path().join("run.hlog"), dir.path().join("run.jsonl"));
        let path = hlog.to_str().context("a path in UTF-8")?;
        let agent = Agent::start(&["--interval", "300ms", "--hlog", path])?;
        let cgroup = Cgroup::new("report")?;
        cgroup.set_cpu_quota(Some(20_000), 50_000)?;
        Workload::start_in(&cgroup, &["spin", "--threads", "2", "--ms", "900"])?.run()?;
        let events = agent.stop()?.events;
        let text: Vec<String> = events.0.iter().map(|line| line.value.to_string()).collect();
        fs::write(&lines, text.join("\n") + "\n")?;
        let program = sandbox::copy_for_everybody(&agent::binary()?, dir.path())?;
        for file in [&hlog, &lines] {
            fs::set_permissions(file, fs::Permissions::from_mode(0o644))?;
        }
        let cgroup = cgroup.path().trim_start_matches('/').to_owned();
        Ok(Self {
            dir,
            program,
            hlog,
            lines,
            events,
            cgroup,
        })
    }

    /// Runs `limitscope report` as a user without any rights.
    fn report(&self, args: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.program);
        command
            .arg("report")
            .args(args)
            .uid(65534)
            .gid(65534)
            .stdin(Stdio::null());
        let child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        agent::finish(child, Duration::from_secs(15))
    }

    fn good(&self, args: &[&str]) -> Result<String> {
        let output = self.report(args)?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success(),
            "report {args:?}: {} {stderr}",
            output.status
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Count, p50, p99 and max (ns) of each metric of the cgroup.
    fn figures(&self, args: &[&str]) -> Result<BTreeMap<String, [u64; 4]>> {
        let json: Value =
            serde_json::from_str(&self.good(&[&["--format", "json"], args].concat())?)?;
        let mut found = BTreeMap::new();
        collect(&json, &self.cgroup, &mut found);
        ensure!(!found.is_empty(), "nothing about {} in {json}", self.cgroup);
        Ok(found)
    }

    fn copy(&self, name: &str, text: &str) -> Result<String> {
        let path = self.dir.path().join(name);
        fs::write(&path, text)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
        Ok(path.display().to_string())
    }
}

/// Finds the container of the cgroup and the figures of each of its metrics.
fn collect(json: &Value, cgroup: &str, found: &mut BTreeMap<String, [u64; 4]>) {
    let containers = json["containers"].as_array().into_iter().flatten();
    let is_ours = |container: &&Value| {
        container["container"]
            .as_str()
            .is_some_and(|name| name.contains(cgroup))
    };
    for container in containers.filter(is_ours) {
        for metric in METRICS {
            if let Some(fields) = container.get(metric) {
                let number = |key: &str| fields[key].as_u64().unwrap_or_default();
                let numbers = ["count", "p50_ns", "p99_ns", "max_ns"].map(number);
                found.insert(metric.to_owned(), numbers);
            }
        }
    }
}

const METRICS: [&str; 4] = [
    "run_queue_wait",
    "on_cpu_slice",
    "throttled_interval",
    "frozen_time",
];

#[test]
fn a_log_and_json_lines_say_the_same() -> Result<()> {
    let run = Recording::make()?;
    let (hlog, lines) = (
        run.hlog.display().to_string(),
        run.lines.display().to_string(),
    );
    let from_log = run.figures(&[&hlog])?;
    let from_lines = run.figures(&[&lines])?;
    println!("{from_log:?}\n{from_lines:?}");
    for metric in METRICS {
        let log = from_log
            .get(metric)
            .with_context(|| format!("no {metric} from the log"))?;
        let json = from_lines
            .get(metric)
            .with_context(|| format!("no {metric} from lines"))?;
        assert!(log[0] > 0, "{metric}");
        assert_eq!(log[0], json[0], "count of {metric}");
        for (a, b) in log.iter().zip(json).skip(1) {
            // Each may be off by half a bucket of the in-kernel histogram.
            assert!(
                a.abs_diff(*b) <= (a.max(b) / 16).max(64),
                "{metric}: {log:?} {json:?}"
            );
        }
    }
    let stats = run.events.kind("container_stats");
    let stats = stats.cgroup(&format!("/{}", run.cgroup));
    assert_eq!(
        from_log["run_queue_wait"][0],
        stats.sum("sched.run_queue.count")?
    );
    assert_eq!(
        from_log["throttled_interval"][0],
        stats.sum("throttle.intervals")?
    );

    let table = run.good(&[&hlog])?;
    println!("{table}");
    for metric in METRICS {
        let count = from_log[metric][0].to_string();
        let has = |line: &str| {
            line.replace([',', '_', '\''], "")
                .split_whitespace()
                .any(|word| word == count)
        };
        assert!(
            table.lines().any(has),
            "the table is without the {count} of {metric}: {table}"
        );
    }
    for word in ["p50", "p90", "p99", "p99.9", "max"] {
        assert!(table.contains(word), "{table}");
    }

    let converted = run.good(&["--format", "hlog", &lines])?;
    let copy = run.copy("converted.hlog", &converted)?;
    for metric in METRICS {
        let merged = merged(copy.as_ref(), &run.cgroup, metric)?;
        assert_eq!(merged.len(), from_lines[metric][0], "{metric}");
    }
    Ok(())
}

/// A damaged file: refused with the line's number, or read without that line.
fn check_damaged(run: &Recording, file: &str, line: usize) -> Result<()> {
    let output = run.report(&[file])?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    println!("{stderr}");
    ensure!(!output.status.success(), "{file} was taken");
    ensure!(
        output.status.code().is_some() && !stderr.contains("panicked"),
        "{stderr}"
    );
    let named = [format!("line {line}"), format!(":{line}")];
    ensure!(
        named.iter().any(|n| stderr.contains(n)),
        "no line {line} in {stderr}"
    );
    let output = run.report(&["--keep-going", "--format", "json", file])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{stderr}");
    ensure!(
        named.iter().any(|n| stderr.contains(n)),
        "no line {line} in {stderr}"
    );
    Ok(())
}

#[test]
fn damaged_json_lines_are_named_and_can_be_left_out() -> Result<()> {
    let run = Recording::make()?;
    let text = fs::read_to_string(&run.lines)?;
    let mut lines: Vec<&str> = text.lines().collect();
    lines.insert(2, "{\"event\":\"container_stats\",\"sched.run_");
    let file = run.copy("damaged.jsonl", &(lines.join("\n") + "\n"))?;
    check_damaged(&run, &file, 3)?;
    // All that was there before the damage is used.
    let whole = run.figures(&[&run.lines.display().to_string()])?;
    assert_eq!(run.figures(&["--keep-going", &file])?, whole);
    Ok(())
}

#[test]
fn a_damaged_log_is_named_and_can_be_left_out() -> Result<()> {
    let run = Recording::make()?;
    let text = fs::read_to_string(&run.hlog)?;
    let lines: Vec<&str> = text.lines().collect();
    let is_interval = |line: &&str| line.starts_with("Tag=");
    let place = lines
        .iter()
        .position(is_interval)
        .context("an interval in the log")?;
    let broken = format!("{}*\u{fffd}*", &lines[place][..lines[place].len() / 2]);
    let mut damaged = lines.clone();
    damaged[place] = &broken;
    let file = run.copy("damaged.hlog", &(damaged.join("\n") + "\n"))?;
    check_damaged(&run, &file, place + 1)
}

#[test]
fn a_file_that_is_not_there_or_not_ours_is_refused() -> Result<()> {
    let run = Recording::make()?;
    let binary = run.copy("binary", "\u{7f}ELF\u{1}\u{2}\n\n\u{0}\u{0}")?;
    for file in ["/nonexistent/run.hlog", &binary, "/"] {
        let output = run.report(&[file])?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        println!("{file}: {stderr}");
        assert!(
            !output.status.success() && output.status.code().is_some(),
            "{file}"
        );
        assert!(
            stderr.contains(file) && !stderr.contains("panicked"),
            "{file}: {stderr}"
        );
    }
    Ok(())
}
