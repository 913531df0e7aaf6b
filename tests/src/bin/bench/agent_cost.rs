//! What the agent itself takes: CPU time and memory, at a high rate of switches.

use std::{thread, time::Duration};

use anyhow::{Context as _, Result};
use limitscope_tests::{agent::Agent, cgroup::Cgroup};
use serde_json::{Value, json};

use crate::{
    Settings,
    figures::{Rounds, SPREAD, Section, Table, mib},
    load::{Load, Means},
    machine,
    population::Population,
};

/// Cgroups of the crowded case, and those with a process.
const MANY: usize = 1000;
const BUSY: usize = 100;

/// What is there besides the load.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Crowd {
    Nobody,
    /// Without any limit: findings are looked for by what they wait for alone.
    Unlimited,
    /// With limits of CPU and memory, which those that are busy are at.
    Limited,
}

impl Crowd {
    const ALL: [Self; 3] = [Self::Nobody, Self::Unlimited, Self::Limited];

    const fn cgroups(self) -> usize {
        match self {
            Self::Nobody => 0,
            Self::Unlimited | Self::Limited => MANY,
        }
    }

    fn gather(self) -> Result<Population> {
        let busy = if self == Self::Nobody { 0 } else { BUSY };
        let population = Population::new(self.cgroups(), busy)?;
        if self == Self::Limited {
            population.limit()?;
        }
        Ok(population)
    }

    const fn shown(self) -> &'static str {
        match self {
            Self::Nobody => "0",
            Self::Unlimited => "1000",
            Self::Limited => "1000 with limits",
        }
    }
}

/// One way to run it.
struct Case {
    crowd: Crowd,
    interval: &'static str,
    /// How long it is watched: one reading and a half at the least.
    window: Duration,
    cpu_percent: Rounds,
    resident: Rounds,
    peak: Rounds,
    switches: Rounds,
    attached_ms: Rounds,
    looks_awaited: Rounds,
}

impl Case {
    fn new(crowd: Crowd, interval: &'static str, seconds: f64) -> Self {
        Self {
            crowd,
            interval,
            window: Duration::from_secs_f64(seconds),
            cpu_percent: Rounds::default(),
            resident: Rounds::default(),
            peak: Rounds::default(),
            switches: Rounds::default(),
            attached_ms: Rounds::default(),
            looks_awaited: Rounds::default(),
        }
    }

    fn measure(&mut self, load: &Cgroup, means: Means) -> Result<()> {
        let agent = Agent::start(&["--interval", self.interval])?;
        let start = agent.wait_for("the start", |line| line.value["agent.phase"] == "start")?;
        self.attached_ms
            .add(start.number("agent.attached_after_ns")? as f64 / 1e6);
        let mut load = Load::start(means, load, u64::from(u32::MAX / 2))?;
        load.go()?;
        thread::sleep(Duration::from_millis(200));
        let (cpu, switches) = (machine::cpu_seconds(agent.pid())?, machine::switches()?);
        let clock = std::time::Instant::now();
        thread::sleep(self.window);
        let (cpu, switches) = (
            machine::cpu_seconds(agent.pid())? - cpu,
            machine::switches()? - switches,
        );
        let seconds = clock.elapsed().as_secs_f64();
        self.cpu_percent.add(cpu / seconds * 100.0);
        self.switches.add(switches as f64 / seconds);
        self.resident
            .add(mib(machine::status_bytes(agent.pid(), "VmRSS")?));
        self.peak
            .add(mib(machine::status_bytes(agent.pid(), "VmHWM")?));
        let last = agent.stop()?.events.kind("agent").0.pop();
        let last = last.context("the agent's last line")?;
        self.looks_awaited
            .add(last.number("agent.findings.looks_awaited")? as f64);
        Ok(())
    }

    fn json(&self) -> Value {
        json!({
            "own_cgroups": self.crowd.cgroups(),
            "limits": self.crowd == Crowd::Limited,
            "interval": self.interval,
            "window_seconds": self.window.as_secs_f64(),
            "cpu_percent": self.cpu_percent.json(),
            "resident_mib": self.resident.json(),
            "resident_peak_mib": self.peak.json(),
            "switches_per_second": self.switches.json(),
            "attached_after_ms": self.attached_ms.json(),
            "looks_awaited_at_the_end": self.looks_awaited.json(),
        })
    }
}

/// Measures.
pub fn measure(settings: &Settings) -> Result<Section> {
    let means = Means::find();
    let load = Cgroup::new("bench-load")?;
    // A window has whole intervals only, so that none is counted for less than it costs.
    let (short, long) = if settings.quick {
        (2.0, 10.0)
    } else {
        (5.0, 20.0)
    };
    let mut cases: Vec<Case> = Crowd::ALL
        .into_iter()
        .flat_map(|crowd| [("10s", long), ("1s", short)].map(|(i, s)| Case::new(crowd, i, s)))
        .collect();
    for _ in 0..settings.long_rounds() {
        for crowd in Crowd::ALL {
            let population = crowd.gather()?;
            for case in cases.iter_mut().filter(|case| case.crowd == crowd) {
                case.measure(&load, means)?;
            }
            drop(population);
        }
    }
    let mut table = Table::new([
        "own cgroups, interval".to_owned(),
        format!("CPU, % of one core: {SPREAD}"),
        "resident, MiB".to_owned(),
        "resident at most, MiB".to_owned(),
        "switches a second".to_owned(),
        "attached after, ms".to_owned(),
        "looks awaited at the end".to_owned(),
    ]);
    for case in &cases {
        table.row([
            format!("{}, {}", case.crowd.shown(), case.interval),
            case.cpu_percent.shown(2),
            case.resident.shown(1),
            case.peak.shown(1),
            case.switches.shown(0),
            case.attached_ms.shown(0),
            case.looks_awaited.shown(0),
        ]);
    }
    Ok(Section {
        key: "agent_cost",
        title: "The agent itself",
        notes: vec![format!(
            "CPU time of the process to the nanosecond, over {long} s (interval 10 s) or {short} s \
             (interval 1 s), while the load runs without end. The {MANY} cgroups are made before it \
             starts, in every hierarchy, with names like Docker's; {BUSY} of them have a process \
             that wakes 100 times a second. With limits: each may use 1 % of a CPU and 64 MiB, and \
             those with a process use half of that or more, so that their processes are looked into. Resident: `VmRSS` and `VmHWM`; memory of the maps is \
             below. The programs' own time is not the agent's, it is in the cost of a switch."
        )],
        tables: vec![table],
        json: cases.iter().map(Case::json).collect(),
    })
}
