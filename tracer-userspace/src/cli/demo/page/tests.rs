//! The page says what it must, and nothing from outside reaches the terminal as it is.

use std::collections::BTreeSet;

use super::super::{
    limits::CpuStat,
    seen::{AgentSeen, Seen},
};
use super::{layout::WIDTH, *};

fn outcome() -> Outcome {
    Outcome {
        leaking: Seen {
            kills: vec![Kill {
                summary: "killed `leak` (pid 7, 63 MiB anonymous) because of \x1b[2J".to_owned(),
                scope: "memory_cgroup".to_owned(),
                limit_cgroup: "/limitscope-demo-1/leaking".to_owned(),
                limit_bytes: MEMORY_LIMIT,
                usage_bytes: MEMORY_LIMIT,
                anon_bytes: 63 << 20,
                page_tables_bytes: Some(4096),
                ..Kill::default()
            }],
            growth_bytes_per_second: 26e6,
            ..Seen::default()
        },
        burning: Seen {
            summed_ns: 9_000_000_000,
            frozen_ns: 4_500_000_000,
            periods: 61,
            throttled_periods: 60,
            burns_ns: vec![26_000_000, 25_000_000, 24_000_000],
            cpus: BTreeSet::from([0, 1]),
            cpu_time_ns: 3_000_000_000,
            ..Seen::default()
        },
        quiet: Seen {
            voluntary: 60,
            memory_bytes: 500 << 10,
            ..Seen::default()
        },
        agent: AgentSeen::default(),
        cpu_stat: CpuStat {
            periods: 61,
            throttled_periods: 60,
            throttled_ns: 9_000_900_000,
        },
        oom_kills: 1,
        oom_kills_file: "memory.oom_control",
        exit_code: 137,
        lived_ns: 2_400_000_000,
        busy_ns: 6_000_000_000,
        cpus: 2,
    }
}

#[test]
fn it_tells_both_stories_beside_the_kernels_figures() {
    let page = result(Styles::PLAIN, &outcome()).unwrap();
    let flat = page.split_whitespace().collect::<Vec<_>>().join(" ");
    for words in [
        "leaking: killed by the kernel, its memory limit was reached",
        "Killed `leak` (pid 7, 63 MiB anonymous)",
        "Exit code 137,",
        "OOM kills 1 1 equal",
        "at a standstill for 75 % of the time",
        "Used up in 25 ms",
        "Frozen 4.50 s of 6 s",
        "Throttled 9 s summed over 2 CPUs",
        "throttled time 9.000000 s 9.000900 s -0.010 %",
        "throttled periods 60 60 equal",
        "GOMAXPROCS=1,",
        "quiet: nothing killed, nothing throttled",
        "Nothing was lost",
    ] {
        assert!(flat.contains(words), "no {words:?} in {page}");
    }
}

#[test]
fn lines_are_short_and_harmless() {
    let page = introduction(Styles::PLAIN, 6.0, "v2").unwrap()
        + &result(Styles::PLAIN, &outcome()).unwrap();
    for line in page.lines() {
        assert!(line.chars().count() <= WIDTH, "{line}");
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert_eq!(line.trim_end(), line, "{line:?}");
    }
}

#[test]
fn what_was_not_seen_is_not_told() {
    let page = result(Styles::PLAIN, &Outcome::default()).unwrap();
    assert!(page.contains("leaking: no OOM kill was seen"), "{page}");
    assert!(page.contains("burning: no throttling was seen"), "{page}");
    assert!(!page.contains("What to do"), "{page}");
}

#[test]
fn differences_are_told_as_they_are() {
    assert_eq!(counts(3, 3), "equal");
    assert_eq!(counts(4, 3), "1 more");
    assert_eq!(counts(1, 3), "2 fewer");
    assert_eq!(times(0, 0), "equal");
    assert_eq!(times(1_000_000_001, 1_000_000_000), "equal to 0.001 %");
    assert_eq!(times(99, 100), "-1.000 %");
    assert_eq!(times(5, 0), "+500.000 %");
}
