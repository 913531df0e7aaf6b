//! Events a second from the ring to a JSON line, on one core, without loss.

use std::{thread, time::Duration};

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::json;

use crate::{
    Settings,
    counted::Counted,
    figures::{Rounds, SPREAD, Section, Table},
    injector::{Flow, Injector},
    load, machine,
    population::Population,
};

/// Containers whose records these are.
const CONTAINERS: usize = 1000;
/// CPU of the agent.
const AGENT_CPU: usize = 0;
/// CPU of what feeds it and of what reads its output.
const OTHER_CPU: usize = 1;

#[derive(Default)]
struct Figures {
    by_wall: Rounds,
    by_cpu: Rounds,
    busy: Rounds,
    bytes: Rounds,
    lost: u64,
}

/// Measures.
pub fn measure(settings: &Settings) -> Result<Section> {
    ensure!(
        machine::cpus() > 1,
        "with one CPU the agent and what feeds it would share it"
    );
    let window = Duration::from_secs(if settings.quick { 1 } else { 3 });
    let crowd = Population::new(CONTAINERS, 0)?;
    let hierarchy = hierarchy(&crowd)?;
    let mut figures = Figures::default();
    for _ in 0..settings.rounds {
        one(&crowd, hierarchy, window, &mut figures)?;
    }
    let mut table = Table::new([
        format!("events a second: {SPREAD}"),
        "events a second of the agent's CPU time".to_owned(),
        "agent's CPU, % of the core".to_owned(),
        "bytes a line".to_owned(),
        "lost".to_owned(),
    ]);
    table.row([
        figures.by_wall.shown(0),
        figures.by_cpu.shown(0),
        figures.busy.shown(0),
        figures.bytes.shown(0),
        figures.lost.to_string(),
    ]);
    Ok(Section {
        key: "ring_to_json",
        title: "From the ring to a JSON line",
        notes: vec![format!(
            "Records of throttled intervals of {CONTAINERS} containers are put into the running \
             agent's own ring by a BPF program of the benchmark, which keeps the ring full for \
             {} s: so the rate is the agent's. What is in it: the ring and its wake-ups, decoding, \
             the look-up of the container in the index, composing, the JSON line with all its \
             keys, and the write into a pipe, all on CPU {AGENT_CPU}; the other end of the pipe \
             counts lines on CPU {OTHER_CPU}. What is not: the making of a record in the kernel. \
             Every record that the ring took came out as a line (checked), with every program of \
             limitscope attached.",
            window.as_secs()
        )],
        tables: vec![table],
        json: json!({
            "containers": CONTAINERS,
            "events_per_second": figures.by_wall.json(),
            "events_per_cpu_second": figures.by_cpu.json(),
            "agent_cpu_percent": figures.busy.json(),
            "bytes_per_line": figures.bytes.json(),
            "lost": figures.lost,
        }),
    })
}

fn one(crowd: &Population, hierarchy: u32, window: Duration, figures: &mut Figures) -> Result<()> {
    let agent = Counted::start(Some(AGENT_CPU), Some(OTHER_CPU))?;
    let pid = agent.pid();
    let containers = &crowd.containers;
    let feed = || -> Result<(u64, Flow, f64)> {
        load::pin_thread(None, OTHER_CPU)?;
        let mut injector = Injector::new(pid, hierarchy, containers)?;
        // Once to warm up.
        let before = injector.until_full()?;
        let cpu = machine::cpu_seconds(pid)?;
        let flow = injector.keep_full(window)?;
        Ok((before, flow, machine::cpu_seconds(pid)? - cpu))
    };
    let (before, flow, cpu) = thread::scope(|scope| scope.spawn(feed).join())
        .map_err(|_| anyhow!("the injector died"))??;
    let heard = agent.stop()?;
    let sent = before + flow.total;
    // Real throttling on this host comes on top.
    ensure!(
        heard.throttles >= sent,
        "{sent} records were put in and {} lines came out",
        heard.throttles
    );
    figures.lost += heard.lost("undecodable")? + heard.lost("sink")?;
    figures.by_wall.add(flow.taken as f64 / flow.seconds);
    figures.by_cpu.add(flow.taken as f64 / cpu);
    figures.busy.add(cpu / flow.seconds * 100.0);
    figures
        .bytes
        .add(heard.bytes as f64 / heard.throttles as f64);
    Ok(())
}

/// Id of the hierarchy that limitscope takes ids from: that of the cpu controller where it is a v1
/// one (/proc/cgroups), else 0.
fn hierarchy(crowd: &Population) -> Result<u32> {
    let first = crowd.containers.first().context("no containers")?;
    if first.controller_dir("cpu")?.0 == 2 {
        return Ok(0);
    }
    let text = std::fs::read_to_string("/proc/cgroups")?;
    text.lines()
        .filter_map(|line| line.strip_prefix("cpu\t"))
        .find_map(|rest| rest.split('\t').next()?.parse().ok())
        .context("/proc/cgroups does not name the cpu controller")
}
