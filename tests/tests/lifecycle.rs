//! Cgroups that come and go: what ran in them is told with their name, also afterwards.

use std::time::Duration;

use anyhow::Result;
use limitscope_tests::{
    agent::Agent,
    assert_within,
    cgroup::Cgroup,
    emulated,
    events::Line,
    listener::Listener,
    referee::{cpu_stat, schedstat::Snapshot},
    wait,
    workload::Workload,
};

fn listening() -> Result<Listener> {
    Listener::start()
}

/// A name as Docker's systemd driver gives it; the id is of no container that exists.
fn docker_like(number: u64) -> (String, String) {
    let id = format!("{:032x}{number:032x}", std::process::id());
    (format!("docker-{id}.scope"), id)
}

#[test]
fn a_process_of_50_ms_is_told_after_its_cgroup_is_gone() -> Result<()> {
    let listener = listening()?;
    let cgroup = Cgroup::new("brief")?;
    let path = cgroup.path();
    let mut workload = Workload::start_in(&cgroup, &["spin", "--ms", "50"])?;
    let before = cpu_stat::usage_ns(&cgroup)?;
    workload.run()?;
    let counters = Snapshot::at_rest(&cgroup)?;
    assert!(workload.exit()?.success());
    // Its last switch can come after its end was told to its parent.
    let calm = Duration::from_millis(50);
    let usage = wait::until_at_rest("CPU time of the cgroup", calm, wait::PATIENCE, || {
        cpu_stat::usage_ns(&cgroup)
    })? - before;
    cgroup.remove()?;
    let events = listener.finish()?.kind("container_stats").cgroup(&path);
    let ours = events.sum("sched.cpu_time_ns")?;
    assert_within(
        "CPU time of a process of 50 ms",
        ours as f64,
        usage as f64,
        1.0,
    );
    let voluntary: u64 = counters.threads.values().map(|t| t.voluntary).sum();
    assert!(events.sum("sched.context_switches.voluntary")? > 0 && voluntary > 0);
    Ok(())
}

#[test]
fn a_nested_cgroup_belongs_to_its_container() -> Result<()> {
    let listener = listening()?;
    let parent = Cgroup::new("nested")?;
    let (name, id) = docker_like(1);
    let container = parent.plain_child(name.as_ref())?;
    let inner = container.plain_child("init.scope".as_ref())?;
    let deep = inner.plain_child("service".as_ref())?;
    let args = ["duty", "--threads", "2", "--ms", "600"];
    let mut workloads = Vec::new();
    for cgroup in [&inner, &deep] {
        let workload = Workload::start_in(cgroup, &args)?;
        let before = Snapshot::at_rest(cgroup)?;
        workloads.push((workload, cgroup, before));
    }
    for (workload, ..) in &mut workloads {
        workload.go()?;
    }
    let (mut voluntary, mut involuntary, mut run_ns) = (0, 0, 0);
    for (workload, cgroup, before) in &mut workloads {
        workload.result()?;
        workload.wait_asleep()?;
        let delta = Snapshot::at_rest(cgroup)?.since(before);
        voluntary += delta.voluntary;
        involuntary += delta.involuntary;
        run_ns += delta.run_ns;
    }
    let events = listener.finish()?;
    let stats = events.kind("container_stats").cgroup(&container.path());
    assert_eq!(stats.sum("sched.context_switches.voluntary")?, voluntary);
    assert_eq!(
        stats.sum("sched.context_switches.involuntary")?,
        involuntary
    );
    assert_within(
        "CPU time",
        stats.sum("sched.cpu_time_ns")? as f64,
        run_ns as f64,
        1.0,
    );
    for line in &stats.0 {
        assert_eq!(line.text("container.id")?, id);
        assert_eq!(line.text("container.runtime.name")?, "docker");
        assert!(!line.text("container.unresolved")?.is_empty());
    }
    for cgroup in [&inner, &deep] {
        let own = events.kind("container_stats").cgroup(&cgroup.path());
        assert!(own.0.is_empty(), "counted twice: {own:?}");
    }
    Ok(())
}

#[test]
fn birth_and_death_are_told_once() -> Result<()> {
    let listener = listening()?;
    let parent = Cgroup::new("birth")?;
    let (name, id) = docker_like(2);
    let container = parent.plain_child(name.as_ref())?;
    let path = container.path();
    let of = |kind: &'static str| {
        let id = id.clone();
        move |line: &Line| line.kind() == kind && line.value["container.id"] == *id
    };
    let start = listener.wait_for("container_start", of("container_start"))?;
    assert_eq!(start.cgroup(), path);
    let inner = container.plain_child("inner".as_ref())?;
    inner.remove()?;
    container.remove()?;
    let exit = listener.wait_for("container_exit", of("container_exit"))?;
    assert_eq!(exit.cgroup(), path);
    assert!(exit.number("monotonic_ns")? > start.number("monotonic_ns")?);
    let events = listener.finish()?;
    for kind in ["container_start", "container_exit"] {
        assert_eq!(events.choose(of(kind)).0.len(), 1, "{kind}");
    }
    Ok(())
}

#[test]
fn of_many_short_ones_none_is_lost() -> Result<()> {
    let listener = listening()?;
    let parent = Cgroup::new("many")?;
    let many = if emulated() { 30 } else { 100 };
    let mut ids = Vec::new();
    for number in 0..many {
        let (name, id) = docker_like(1000 + number);
        let container = parent.plain_child(name.as_ref())?;
        let workload = Workload::start_in(&container, &["nothing"])?;
        assert!(workload.exit()?.success());
        container.remove()?;
        ids.push(id);
    }
    let last = ids[ids.len() - 1].clone();
    listener.wait_for("the last exit", |line| {
        line.kind() == "container_exit" && line.value["container.id"] == *last
    })?;
    let events = listener.finish()?;
    for kind in ["container_start", "container_exit", "container_stats"] {
        let chosen = events.kind(kind);
        for id in &ids {
            let with = chosen.with("container.id", id);
            assert!(!with.0.is_empty(), "no {kind} of {id}");
        }
    }
    Ok(())
}

#[test]
fn a_process_that_moves_is_counted_where_it_is() -> Result<()> {
    let listener = listening()?;
    let (first, second) = (Cgroup::new("from")?, Cgroup::new("to")?);
    let args = [
        "duty",
        "--ms",
        "300",
        "--busy-us",
        "200",
        "--idle-us",
        "800",
    ];
    let mut one = Workload::start_in(&first, &args)?;
    let start = Snapshot::at_rest(&first)?;
    one.run()?;
    let here = Snapshot::at_rest(&first)?;
    // All its threads sleep, so they move between two switches.
    second.add(one.pid())?;
    let mut two = Workload::start_in(&second, &args)?;
    let before = Snapshot::at_rest(&second)?;
    two.run()?;
    assert!(one.exit()?.success());
    let there = Snapshot::at_rest(&second)?;
    let stats = listener.finish()?.kind("container_stats");
    let ours = stats
        .cgroup(&first.path())
        .sum("sched.context_switches.voluntary")?;
    assert_eq!(ours, here.since(&start).voluntary);
    let mine = stats.cgroup(&second.path());
    // The first one's threads end here: each is switched out once more, for good.
    let ends = u64::try_from(here.threads.len())?;
    let added = there.since(&before).voluntary;
    let ours = mine.sum("sched.context_switches.voluntary")?;
    assert!(
        (added + 1..=added + 2 * ends + 1).contains(&ours),
        "{ours}, {added}, {ends} ended"
    );
    Ok(())
}

#[test]
fn a_cgroup_without_activity_is_not_told() -> Result<()> {
    let cgroup = Cgroup::new("calm")?;
    let workload = Workload::start_in(&cgroup, &["nothing"])?;
    workload.wait_asleep()?;
    Snapshot::at_rest(&cgroup)?;
    let agent = Agent::start(&["--interval", "200ms"])?;
    let start = agent.events().0.first().map_or(0, |line| line.arrived_ns);
    let second = Duration::from_secs(1).as_nanos() as u64;
    agent.wait_for("an interval of a second later", |line| {
        line.value["agent.phase"] == "interval" && line.arrived_ns > start + second
    })?;
    let events = agent.stop()?.events;
    let stats = events.kind("container_stats").cgroup(&cgroup.path());
    assert!(stats.0.is_empty(), "{stats:?}");
    Ok(())
}
