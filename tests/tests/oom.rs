//! OOM kills against the kernel's log, its limit files and its counters.

use std::{env, fs, os::unix::process::ExitStatusExt, path::PathBuf, time::Duration};

use anyhow::{Context, Result};
use limitscope_tests::{
    cgroup::Cgroup,
    emulated,
    events::Line,
    oom::{LIMIT, Stage, alone, check_limit, check_usage, check_victim, only},
    referee::memory_events,
    skip,
    workload::Workload,
};

const MIB: u64 = 1 << 20;

#[test]
fn anonymous_memory_at_once() -> Result<()> {
    let (line, log) = alone("lst-oom-anon", &["anon", "--mib", "64"])?;
    check_usage(&line, &log, log.victim("lst-oom-anon")?.pid)?;
    assert!(line.number("oom.victim.memory.anon_bytes")? > LIMIT / 2);
    assert_ne!(line.text("oom.source")?, "");
    Ok(())
}

#[test]
fn anonymous_memory_as_a_slow_leak() -> Result<()> {
    let args = ["anon", "--mib", "64", "--rate", "40", "--chunk", "64"];
    let (line, log) = alone("lst-oom-leak", &args)?;
    check_usage(&line, &log, log.victim("lst-oom-leak")?.pid)
}

#[test]
fn shared_memory_of_every_kind() -> Result<()> {
    for kind in ["anon", "memfd", "tmpfs"] {
        let command = format!("lst-shm-{kind}");
        let args = ["shmem", "--kind", kind, "--mib", "64", "--dir", "/dev/shm"];
        if kind == "tmpfs" && !fs::read_to_string("/proc/mounts")?.contains(" /dev/shm tmpfs ") {
            skip(
                "shared_memory_of_every_kind (tmpfs)",
                "no tmpfs on /dev/shm",
            );
            continue;
        }
        let (line, _) = alone(&command, &args)?;
        assert!(
            line.number("oom.victim.memory.shmem_bytes")? > LIMIT / 2,
            "{kind}"
        );
    }
    Ok(())
}

#[test]
fn mapped_file_and_anonymous_memory() -> Result<()> {
    let dir = tempfile::tempdir_in(disk())?;
    let file = dir.path().join("mapped");
    let file = file.to_str().context("a path in UTF-8")?;
    let args = ["mixed", "--file", file, "--file-mib", "8", "--mib", "64"];
    let (line, _) = alone("lst-oom-file", &args)?;
    assert!(line.number("oom.victim.memory.file_bytes")? >= 8 * MIB);
    assert!(line.number("oom.victim.memory.anon_bytes")? > LIMIT / 4);
    Ok(())
}

/// A folder on a real disk: pages of a tmpfs would be shared memory instead.
fn disk() -> PathBuf {
    env::var_os("LIMITSCOPE_TEST_DISK").map_or_else(|| "/var/tmp".into(), PathBuf::from)
}

#[test]
fn many_threads_are_one_victim() -> Result<()> {
    alone(
        "lst-oom-threads",
        &["threads", "--threads", "4", "--mib", "32"],
    )?;
    Ok(())
}

#[test]
fn a_victim_whose_leader_is_gone_has_its_process_id() -> Result<()> {
    let command = "lst-oom-leader";
    let args = [
        "threads",
        "--threads",
        "1",
        "--mib",
        "64",
        "--leader-exits",
        "1",
    ];
    let (line, log) = alone(command, &args)?;
    let victim = log.victim(command)?;
    assert_ne!(
        u64::from(victim.pid),
        line.number("oom.victim.process.pid")?
    );
    Ok(())
}

#[test]
fn a_child_of_the_first_process() -> Result<()> {
    let command = "lst-oom-child";
    let stage = Stage::set()?;
    let cgroup = Cgroup::new("oom")?;
    cgroup.set_memory_limit(LIMIT)?;
    let args = ["fork", "--mib", "64", "--comm", command];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let result = workload.run()?;
    assert_eq!(result["signal"], 9);
    let (events, log) = stage.finish(command, 1)?;
    let victim = log.victim(command)?;
    let line = only(&events)?;
    check_victim(line, victim)?;
    check_limit(line, &log, victim.pid, &cgroup, &cgroup)?;
    check_usage(line, &log, victim.pid)?;
    assert_eq!(result["child"], line.value["oom.victim.process.pid"]);
    assert_eq!(
        line.number("oom.victim.process.parent_pid")?,
        u64::from(workload.pid())
    );
    assert_eq!(memory_events::oom_kills(&cgroup)?, 1);
    assert!(workload.exit()?.success());
    Ok(())
}

#[test]
fn who_shares_the_memory_dies_too_and_is_told() -> Result<()> {
    let command = "lst-oom-sharer";
    let stage = Stage::set()?;
    let cgroup = Cgroup::new("oom")?;
    cgroup.set_memory_limit(LIMIT)?;
    let args = ["sharer", "--mib", "64", "--comm", command];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    let result = workload.run()?;
    let ends = result["ends"].as_array().context("how they ended")?;
    assert_eq!(ends.len(), 2);
    let mut killed = Vec::new();
    for end in ends {
        assert_eq!(end["signal"], 9, "{result}");
        killed.push(end["pid"].as_u64().context("its pid")?);
    }
    let (events, log) = stage.finish_beside(command, 1, 1)?;
    // The kernel logs only the one that it chose.
    check_victim(&events[0], log.victim(command)?)?;
    assert!(events[0].value["oom.victim.shares_memory_of_pid"].is_null());
    let chosen = events[0].number("oom.victim.process.pid")?;
    let other = &events[1];
    assert_eq!(other.number("oom.victim.shares_memory_of_pid")?, chosen);
    assert_eq!(other.number("oom.victim_number")?, 2);
    let mut told = vec![chosen, other.number("oom.victim.process.pid")?];
    told.sort_unstable();
    killed.sort_unstable();
    assert_eq!(told, killed);
    assert_eq!(other.text("process.linux.cgroup")?, cgroup.path());
    assert!(workload.exit()?.success());
    Ok(())
}

#[test]
fn a_sleeper_dies_for_its_sibling() -> Result<()> {
    // Where the sleeper's memory comes free too late, the kernel kills the sibling as well.
    for _ in 0..5 {
        if one_of_two_dies()? {
            return Ok(());
        }
    }
    anyhow::bail!("the kernel killed both, five times")
}

/// False where the kernel killed both.
fn one_of_two_dies() -> Result<bool> {
    let (big, small) = ("lst-oom-sleeper", "lst-oom-sibling");
    let stage = Stage::set()?;
    let cgroup = Cgroup::new("oom")?;
    cgroup.set_memory_limit(LIMIT)?;
    let mut sleeper = Workload::start_in(&cgroup, &["anon", "--mib", "22", "--comm", big])?;
    sleeper.set_oom_score_adj(500)?;
    sleeper.run()?;
    let mut sibling = Workload::start_in(&cgroup, &["anon", "--mib", "14", "--comm", small])?;
    // Not where this root may not.
    sibling.spare()?;
    if sibling.run().is_err() {
        return Ok(false);
    }
    assert_eq!(sleeper.wait_exit()?.signal(), Some(9));
    assert!(sibling.exit()?.success());
    let (events, log) = stage.finish(big, 1)?;
    let victim = log.victim(big)?;
    let line = only(&events)?;
    check_victim(line, victim)?;
    check_limit(line, &log, victim.pid, &cgroup, &cgroup)?;
    check_usage(line, &log, victim.pid)?;
    assert_eq!(line.signed("oom.victim.oom_score_adj")?, 500);
    assert_eq!(line.text("oom.trigger.process.command")?, small);
    let trigger = log.report(victim.pid)?.trigger_pid;
    assert_eq!(line.number("oom.trigger.process.pid")?, u64::from(trigger));
    assert!(log.killed_with(small).is_empty());
    Ok(true)
}

#[test]
fn the_limit_of_an_ancestor() -> Result<()> {
    let command = "lst-oom-nested";
    let stage = Stage::set()?;
    let parent = Cgroup::new("oom")?;
    let child = parent.child("inner")?;
    parent.set_memory_limit(LIMIT)?;
    let args = ["anon", "--mib", "64", "--comm", command];
    let mut workload = Workload::start_in(&child, &args)?;
    assert_eq!(workload.run_to_death()?.signal(), Some(9));
    let (events, log) = stage.finish(command, 1)?;
    let victim = log.victim(command)?;
    let line = only(&events)?;
    check_victim(line, victim)?;
    check_limit(line, &log, victim.pid, &parent, &child)?;
    check_usage(line, &log, victim.pid)?;
    assert_eq!(memory_events::oom_kills(&child)?, 1);
    Ok(())
}

#[test]
fn a_cgroup_without_the_controller_dies_by_its_parents_limit() -> Result<()> {
    let command = "lst-oom-plain";
    let parent = Cgroup::new("oom")?;
    if parent.controller_dir("memory")?.0 == 1 {
        skip(
            "a_cgroup_without_the_controller_dies_by_its_parents_limit",
            "in cgroup v1 every cgroup of a hierarchy has its controllers",
        );
        return Ok(());
    }
    let stage = Stage::set()?;
    parent.set_memory_limit(LIMIT)?;
    let child = parent.plain_child("plain".as_ref())?;
    let (_, files) = child.controller_dir("memory")?;
    assert!(!files.join("memory.max").exists(), "it was handed down");
    let args = ["anon", "--mib", "64", "--comm", command];
    let mut workload = Workload::start_in(&child, &args)?;
    assert_eq!(workload.run_to_death()?.signal(), Some(9));
    let (events, log) = stage.finish(command, 1)?;
    let line = only(&events)?;
    check_victim(line, log.victim(command)?)?;
    // It is the child's own process, though the kernel charges the parent alone.
    assert_eq!(line.text("process.linux.cgroup")?, child.path());
    assert_eq!(line.text("oom.limit.cgroup")?, parent.path());
    assert_eq!(line.number("oom.limit.bytes")?, LIMIT);
    Ok(())
}

#[test]
fn two_limits_of_which_the_outer_fires() -> Result<()> {
    let command = "lst-oom-outer";
    let stage = Stage::set()?;
    let parent = Cgroup::new("oom")?;
    let child = parent.child("inner")?;
    parent.set_memory_limit(LIMIT)?;
    child.set_memory_limit(2 * LIMIT)?;
    let args = ["anon", "--mib", "96", "--comm", command];
    let mut workload = Workload::start_in(&child, &args)?;
    assert_eq!(workload.run_to_death()?.signal(), Some(9));
    let (events, log) = stage.finish(command, 1)?;
    let line = only(&events)?;
    check_victim(line, log.victim(command)?)?;
    check_limit(line, &log, log.victim(command)?.pid, &parent, &child)
}

#[test]
fn one_after_the_other_each_is_told_in_time() -> Result<()> {
    let (command, kills) = ("lst-oom-row", if emulated() { 8 } else { 20 });
    let stage = Stage::set()?;
    let cgroup = Cgroup::new("oom")?;
    cgroup.set_memory_limit(LIMIT / 2)?;
    let mut pids = Vec::new();
    for _ in 0..kills {
        let args = ["anon", "--mib", "32", "--comm", command];
        let mut workload = Workload::start_in(&cgroup, &args)?;
        assert_eq!(workload.run_to_death()?.signal(), Some(9));
        pids.push(u64::from(workload.pid()));
    }
    assert_eq!(memory_events::oom_kills(&cgroup)?, kills as u64);
    let (events, log) = stage.finish(command, kills)?;
    let mut latencies = Vec::new();
    for (line, victim) in events.iter().zip(log.killed_with(command)) {
        check_victim(line, victim)?;
        assert_eq!(
            line.number("oom.victim.process.pid")?,
            u64::from(victim.pid)
        );
        latencies.push(line.arrived_ns - line.number("monotonic_ns")?);
    }
    let told: Result<Vec<u64>> = events
        .iter()
        .map(|e| e.number("oom.victim.process.pid"))
        .collect();
    assert_eq!(told?, pids);
    latencies.sort_unstable();
    let at = |share: f64| Duration::from_nanos(latencies[(share * (kills - 1) as f64) as usize]);
    println!("kill to line: p50 {:?}, p99 and max {:?}", at(0.5), at(1.0));
    Ok(())
}

#[test]
fn a_storm_in_one_cgroup_is_counted_as_the_kernel_does() -> Result<()> {
    let command = "lst-oom-storm";
    let stage = Stage::set()?;
    let cgroup = Cgroup::new("oom")?;
    cgroup.set_memory_limit(LIMIT)?;
    let mut workloads = Vec::new();
    for _ in 0..8 {
        let args = ["anon", "--mib", "64", "--comm", command];
        workloads.push(Workload::start_in(&cgroup, &args)?);
    }
    for workload in &mut workloads {
        workload.go()?;
    }
    for workload in &mut workloads {
        assert_eq!(workload.wait_exit()?.signal(), Some(9));
    }
    let (events, log) = stage.finish(command, workloads.len())?;
    let told: Result<Vec<u64>> = events
        .iter()
        .map(|e| e.number("oom.victim.process.pid"))
        .collect();
    let (mut told, mut killed) = (told?, Vec::new());
    killed.extend(log.killed_with(command).iter().map(|k| u64::from(k.pid)));
    told.sort_unstable();
    killed.sort_unstable();
    assert_eq!(told, killed);
    assert_eq!(memory_events::oom_kills(&cgroup)?, killed.len() as u64);
    for victim in log.killed_with(command) {
        let is = |e: &&Line| {
            e.number("oom.victim.process.pid")
                .is_ok_and(|p| p == u64::from(victim.pid))
        };
        check_victim(events.iter().find(is).context("its event")?, victim)?;
    }
    Ok(())
}

#[test]
fn a_group_kill_tells_every_victim() -> Result<()> {
    let command = "lst-oom-group";
    let cgroup = Cgroup::new("oom")?;
    if cgroup.controller_dir("memory")?.0 == 1 {
        skip(
            "a_group_kill_tells_every_victim",
            "memory.oom.group exists in cgroup v2 only",
        );
        return Ok(());
    }
    let stage = Stage::set()?;
    cgroup.set_memory_limit(LIMIT)?;
    cgroup.set_oom_group()?;
    let mut sleepers = Vec::new();
    for _ in 0..3 {
        sleepers.push(Workload::start_in(
            &cgroup,
            &["nothing", "--comm", command],
        )?);
    }
    let args = ["anon", "--mib", "64", "--comm", command];
    let mut workload = Workload::start_in(&cgroup, &args)?;
    assert_eq!(workload.run_to_death()?.signal(), Some(9));
    for sleeper in &mut sleepers {
        assert_eq!(sleeper.wait_exit()?.signal(), Some(9));
    }
    let (events, log) = stage.finish(command, 4)?;
    for line in &events {
        assert_eq!(line.value["oom.group"], true);
        assert_eq!(line.number("oom.victims")?, 4);
        let pid = line.number("oom.victim.process.pid")?;
        let victim = log.killed.iter().find(|k| u64::from(k.pid) == pid);
        check_victim(
            line,
            victim.context("a victim that the kernel did not log")?,
        )?;
    }
    Ok(())
}
