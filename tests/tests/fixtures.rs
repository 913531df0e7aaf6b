//! The fixtures by themselves: without them right, no other test says anything.

use std::{os::unix::process::ExitStatusExt, process::Command, time::Duration};

use anyhow::Result;
use limitscope_tests::{
    cgroup::Cgroup,
    referee::{
        cpu_stat::{self, CpuStat},
        kmsg::Kmsg,
        memory_events,
        runqlat::Runqlat,
        schedstat::Snapshot,
    },
    sandbox, wait,
    workload::Workload,
};

#[test]
fn a_kill_is_in_the_log_and_in_the_counter() -> Result<()> {
    let mut kmsg = Kmsg::open()?;
    let cgroup = Cgroup::new("fixture")?;
    cgroup.set_memory_limit(16 << 20)?;
    for (kind, args) in [
        ("anon", &["anon", "--mib", "32"][..]),
        ("shmem", &["shmem", "--kind", "memfd", "--mib", "32"]),
        ("threads", &["threads", "--threads", "3", "--mib", "32"]),
    ] {
        let command = format!("lst-fix-{kind}");
        let before = memory_events::oom_kills(&cgroup)?;
        let mut workload = Workload::start_in(&cgroup, &[args, &["--comm", &command]].concat())?;
        assert_eq!(workload.run_to_death()?.signal(), Some(9));
        let log = kmsg.read_kills(&command, 1)?;
        let report = log.report(workload.pid())?;
        assert_eq!(report.pairs["oom_memcg"], cgroup.path());
        assert_eq!(report.limit_kb, 16 << 10);
        assert_eq!(memory_events::oom_kills(&cgroup)?, before + 1);
    }
    Ok(())
}

#[test]
fn a_child_and_a_leaderless_process_are_killed_as_meant() -> Result<()> {
    let mut kmsg = Kmsg::open()?;
    let cgroup = Cgroup::new("fixture")?;
    cgroup.set_memory_limit(24 << 20)?;
    let args = ["fork", "--mib", "32", "--comm", "lst-fix-fork"];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let result = workload.run()?;
    assert_eq!(result["signal"], 9);
    let log = kmsg.read_kills("lst-fix-fork", 1)?;
    assert_eq!(result["child"], log.victim("lst-fix-fork")?.pid);
    assert!(workload.exit()?.success());

    let args = [
        "threads",
        "--threads",
        "1",
        "--mib",
        "32",
        "--leader-exits",
        "1",
    ];
    let args = [&args[..], &["--comm", "lst-fix-leader"]].concat();
    let mut workload = Workload::start_in(&cgroup, &args)?;
    assert_eq!(workload.run_to_death()?.signal(), Some(9));
    let log = kmsg.read_kills("lst-fix-leader", 1)?;
    assert_ne!(log.victim("lst-fix-leader")?.pid, workload.pid());
    log.report(workload.pid())?;

    let dir = tempfile::tempdir_in("/var/tmp")?;
    let file = dir.path().join("mapped").display().to_string();
    let args = [
        "mixed",
        "--file",
        &file,
        "--file-mib",
        "4",
        "--mib",
        "32",
        "--comm",
        "lst-fix-mix",
    ];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    assert_eq!(workload.run_to_death()?.signal(), Some(9));
    let log = kmsg.read_kills("lst-fix-mix", 1)?;
    assert!(
        log.victim("lst-fix-mix")?.fields["file-rss"] >= 4 << 10,
        "{log:?}"
    );
    Ok(())
}

#[test]
fn runqlat_sees_the_waits_of_a_process() -> Result<()> {
    let cgroup = Cgroup::new("fixture")?;
    let mut workload = Workload::start_in(&cgroup, &["spin", "--threads", "4", "--ms", "500"])?;
    let runqlat = Runqlat::start(workload.pid())?;
    let before = Snapshot::at_rest(&cgroup)?;
    workload.run()?;
    let kernel = Snapshot::at_rest(&cgroup)?.since(&before);
    let histogram = runqlat.stop()?;
    let waits: u64 = histogram.iter().map(|(_, count)| count).sum();
    println!("runqlat {waits}: {histogram:?}; kernel {kernel:?}");
    assert!(waits >= kernel.timeslices * 9 / 10 && waits <= kernel.timeslices + 10);
    Ok(())
}

#[test]
fn the_counters_of_proc_are_complete_and_rest() -> Result<()> {
    let cgroup = Cgroup::new("fixture")?;
    for args in [
        &["spin", "--threads", "3", "--ms", "200"][..],
        &["duty", "--threads", "2", "--ms", "200"],
        &["pingpong", "--kind", "pipe", "--ms", "200"],
        &["pingpong", "--kind", "futex", "--ms", "200"],
        &["pingpong", "--kind", "processes", "--ms", "200"],
        &["sleepers", "--threads", "5"],
        &["record", "--ms", "200"],
    ] {
        let mut workload = Workload::start_in(&cgroup, args)?;
        let before = (Snapshot::at_rest(&cgroup)?, cpu_stat::usage_ns(&cgroup)?);
        let result = workload.run()?;
        let after = (Snapshot::at_rest(&cgroup)?, cpu_stat::usage_ns(&cgroup)?);
        let delta = after.0.since(&before.0);
        println!("{args:?}: {delta:?}, usage {}", after.1 - before.1);
        // Every switch-in is followed by a switch-out once all sleep.
        assert_eq!(
            delta.timeslices,
            delta.voluntary + delta.involuntary,
            "{args:?}"
        );
        let off = delta.run_ns.abs_diff(after.1 - before.1);
        assert!(
            off <= delta.run_ns / 100 + 100_000,
            "{args:?}: {delta:?}, {off} ns off"
        );
        for thread in result["threads"].as_array().into_iter().flatten() {
            let counters = &thread["counters"];
            assert!(
                counters["timeslices"].as_u64() > Some(0),
                "{args:?}: {result}"
            );
        }
        assert!(workload.exit()?.success());
    }
    Ok(())
}

#[test]
fn throttling_is_counted_and_comes_to_rest() -> Result<()> {
    let cgroup = Cgroup::new("fixture")?;
    cgroup.set_cpu_quota(Some(10_000), 50_000)?;
    let period = Duration::from_millis(50);
    let mut workload = Workload::start_in(&cgroup, &["spin", "--threads", "2", "--ms", "500"])?;
    let before = CpuStat::at_rest(&cgroup, period)?;
    workload.run()?;
    let after = CpuStat::at_rest(&cgroup, period)?;
    assert!(
        after.throttled_periods - before.throttled_periods >= 7,
        "{after:?}"
    );
    assert!(
        after.throttled_ns - before.throttled_ns > 300_000_000,
        "{after:?}"
    );
    Ok(())
}

#[test]
fn a_private_disk_is_small_and_not_seen_outside() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("file");
    let mut command = Command::new("sh");
    command
        .args(["-c", "dd if=/dev/zero of=\"$1\" bs=20000 count=1", "sh"])
        .arg(&file);
    sandbox::mount_tmpfs(&mut command, dir.path(), "8k")?;
    let output = command.output()?;
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("No space left"),
        "{output:?}"
    );
    assert!(!file.exists());
    Ok(())
}

#[test]
fn programs_of_a_process_are_found_and_end_with_it() -> Result<()> {
    let runqlat = Runqlat::start(std::process::id())?;
    let programs = sandbox::bpf_programs(runqlat.pid())?;
    assert!(programs.len() >= 3, "{programs:?}");
    for &id in &programs {
        assert!(sandbox::bpf_program_exists(id)?);
    }
    drop(runqlat);
    wait::until("the end of its programs", wait::PATIENCE, || {
        for &id in &programs {
            if sandbox::bpf_program_exists(id)? {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}
