//! The command on real files.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: ReportArgs,
}

const STATS: &str = concat!(
    r#"{"event":"container_stats","schema_version":1,"time":"2026-01-02T03:04:06.000000007Z","#,
    r#""interval_ns":1000000000,"container.name":"web","process.linux.cgroup":"/web","#,
    r#""sched.cpu_time_ns":95,"sched.run_queue.wait_ns":6000000,"throttle.summed_ns":0,"#,
    r#""throttle.frozen_ns":0,"sched.run_queue.buckets":[[983040,1],[1966080,1],[2883584,1]]}"#,
    "\n"
);

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        fs::write(folder.path().join(name), content).unwrap();
    }
    folder
}

/// Runs `report` with `FILE` arguments inside the folder and gives what `out` holds then.
fn report(folder: &TempDir, files: &[&str], rest: &[&str]) -> anyhow::Result<String> {
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let mut line = vec!["report".to_owned(), "--output".to_owned(), at("out")];
    line.extend(rest.iter().map(|&text| text.to_owned()));
    line.extend(files.iter().map(|name| at(name)));
    run(&Command::try_parse_from(line)?.args)?;
    Ok(fs::read_to_string(folder.path().join("out"))?)
}

#[test]
fn several_files_merge() {
    let folder = folder(&[("a", STATS), ("b", STATS)]);
    let table = report(&folder, &["a", "b"], &[]).unwrap();
    let row = table
        .lines()
        .find(|line| line.contains("run_queue_wait"))
        .unwrap();
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(
        cells,
        [
            "web",
            "run_queue_wait",
            "6",
            "2.00",
            "ms",
            "2.95",
            "ms",
            "2.95",
            "ms",
            "2.95",
            "ms",
            "3.01",
            "ms",
            "12",
            "ms"
        ]
    );
    assert!(table.ends_with("Sums are exact.\n"));
}

#[test]
fn a_log_of_a_report_reports_the_same_counts() {
    let folder = folder(&[("a", STATS)]);
    let log = report(&folder, &["a"], &["--format", "hlog"]).unwrap();
    fs::write(folder.path().join("log"), log).unwrap();
    let direct = report(&folder, &["a"], &["--format", "json"]).unwrap();
    let through_log = report(&folder, &["log"], &["--format", "json"]).unwrap();
    let buckets = |text: &str| {
        let value: serde_json::Value = serde_json::from_str(text).unwrap();
        let wait = value["containers"][0]["run_queue_wait"].clone();
        (
            wait["buckets"].clone(),
            wait["p99_ns"].clone(),
            wait["sum_is_estimated"].clone(),
        )
    };
    let (counts, p99, _) = buckets(&direct);
    assert_eq!(buckets(&through_log), (counts, p99, true.into()));
}

#[test]
fn a_damaged_line_stops_it_unless_told_to_go_on() {
    let folder = folder(&[("a", STATS), ("b", &format!("{STATS}rubbish\n{STATS}"))]);
    let error = report(&folder, &["a", "b"], &[]).unwrap_err().to_string();
    let expected = format!(
        "{}:2: neither a JSON object nor a line of an HdrHistogram log",
        folder.path().join("b").display()
    );
    assert_eq!(error, expected);
    assert!(!folder.path().join("out").exists());
    let table = report(&folder, &["a", "b"], &["--keep-going"]).unwrap();
    assert!(table.contains("run_queue_wait      9"), "{table}");
}

#[test]
fn nothing_to_report_is_said() {
    let folder = folder(&[("empty", ""), ("a", STATS)]);
    let error = report(&folder, &["empty"], &[]).unwrap_err().to_string();
    assert!(error.starts_with("nothing to report: the recordings hold no container_stats"));
    let error = report(&folder, &["a"], &["--container", "db"])
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "nothing to report: no container in the recordings is called \"db\""
    );
    assert!(report(&folder, &["a"], &["--container", "web"]).is_ok());
}

#[test]
fn a_missing_file_is_named() {
    let folder = folder(&[]);
    let error = format!("{:#}", report(&folder, &["gone"], &[]).unwrap_err());
    let path = folder.path().join("gone");
    let expected = format!("cannot read {path:?}: No such file or directory (os error 2)");
    assert_eq!(error, expected);
}

#[test]
fn no_file_is_refused() {
    assert!(Command::try_parse_from(["report"]).is_err());
}
