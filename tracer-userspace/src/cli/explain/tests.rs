//! The page of a container whose lines are given.

use super::{Around, interval, page, seen::Seen};
use crate::model::limits::{CpuLimit, MemorySample};
use crate::sinks::text::is_hostile;
use std::time::Duration;

const LINES: &str = r#"{"event":"agent","agent.phase":"start"}
{"event":"container_stats","container.name":"web","process.linux.cgroup":"/docker/4f","interval_ns":1000000000,"sched.cpu_time_ns":500000000,"sched.run_queue.wait_ns":150000000,"sched.run_queue.wait_own_ns":40000000,"sched.run_queue.wait_others_ns":100000000,"sched.run_queue.neighbours":[{"process.linux.cgroup":"/loud","wait_ns":75000000}],"sched.run_queue.throttled_wait_ns":1400000000,"throttle.frozen_ns":450000000,"throttle.periods":10,"throttle.throttled_periods":9,"sched.threads":20,"sched.run_queue.p99_ns":2000000,"sched.context_switches.voluntary":50,"sched.context_switches.involuntary":200}
{"event":"container_stats","container.name":"web","process.linux.cgroup":"/docker/4f","interval_ns":1000000000,"sched.cpu_time_ns":500000000,"sched.run_queue.wait_ns":50000000,"sched.run_queue.throttled_wait_ns":1400000000,"sched.run_queue.throttled_wait_ancestor_ns":400000000,"throttle.frozen_ns":450000000,"throttle.periods":10,"throttle.throttled_periods":9,"sched.threads":21}
{"event":"finding","process.linux.cgroup":"/docker/4f","container.name":"web","finding.phase":"start","finding.kind":"page_cache_not_a_leak","finding.severity":"info","finding.confidence":"high","finding.summary":"full","finding.recommendation":"nothing"}
{"event":"finding","process.linux.cgroup":"/docker/4f","container.name":"web","finding.phase":"start","finding.kind":"cpu_oversubscription","finding.severity":"warning","finding.confidence":"high","finding.summary":"\u001b[2Jwide","finding.recommendation":"set GOMAXPROCS=1"}
{"event":"finding","process.linux.cgroup":"/docker/4f","container.name":"web","finding.phase":"end","finding.kind":"cpu_oversubscription"}
"#;

#[test]
fn the_page_has_everything_in_its_place() {
    let all = Seen::read(LINES.as_bytes()).unwrap();
    assert_eq!(all.len(), 1);
    let around = Around {
        cpu_limit: Some(CpuLimit {
            cpus: 0.5,
            quota_us: 50_000,
            period_us: 100_000,
            burst_us: 0,
            own: true,
            own_cpus: Some(0.5),
            cgroup: "/docker/4f".into(),
        }),
        memory_limit: Some(64 << 20),
        memory: Some(MemorySample {
            current_bytes: 48 << 20,
            file_bytes: 16 << 20,
            ..MemorySample::default()
        }),
        processes: Vec::new(),
    };
    let page = page::render(&all[0], &around);
    let expected = "\
/docker/4f
  name                web
  seen for            2 s

Limits
  CPU                 0.50 CPUs: 50 ms in every 100 ms
  memory              64 MiB

What it did
  CPU time            0.50 CPUs, 100 % of the limit
  threads             21
  context switches    25/s voluntary, 100/s involuntary
  memory              48 MiB in use, of which 32 MiB (50 % of the limit) cannot be given back

Where its threads' time went
  running                 1 s   25.0 %
  waiting for own       40 ms    1.0 %
  waiting for others   100 ms    2.5 %
  waking up             60 ms    1.5 %
  its own limit        2.40 s   60.0 %
  a limit above it     400 ms   10.0 %
  worst neighbour     /loud, 75 % of the waiting for others
  99 % of waits       below 2 ms
  stood still         900 ms of 2 s; 18 of 20 periods ended throttled

Findings
  page_cache_not_a_leak (info, confidence high)
    full
  cpu_oversubscription (warning, confidence high)
    \\x1b[2Jwide

Next
  1. set GOMAXPROCS=1
  2. nothing
";
    assert_eq!(page, expected);
    assert!(!page.replace('\n', "").chars().any(is_hostile));
}

#[test]
fn a_trace_is_cut_into_intervals() {
    let seconds = |duration: u64| interval(Duration::from_secs(duration)).as_secs_f64();
    assert_eq!(
        [seconds(1), seconds(10), seconds(60), seconds(3600)].map(|s| (s * 10.0) as u64),
        [5, 10, 60, 100]
    );
}
