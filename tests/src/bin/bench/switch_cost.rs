//! What a context switch costs with nothing, an empty program, limitscope, and `runqlat`.

use std::{collections::BTreeMap, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result};
use limitscope_tests::{agent, agent::Agent, cgroup::Cgroup, referee::runqlat::Runqlat};
use serde_json::{Value, json};

use crate::{
    Settings,
    bpf::{self, Program, Run},
    empty::Empty,
    figures::{Rounds, SPREAD, Section, Table},
    load::Means,
    machine,
};

/// The program of limitscope that every switch runs.
const SWITCH_PROGRAM: &str = "sched_switch";

/// Who watches.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Tool {
    Nothing,
    Empty,
    Limitscope,
    /// Another binary of limitscope.
    Other(PathBuf),
    Runqlat,
}

impl Tool {
    fn name(&self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Empty => "empty program".to_owned(),
            Self::Limitscope => "limitscope".to_owned(),
            Self::Other(path) => format!("limitscope ({})", path.display()),
            Self::Runqlat => "runqlat".to_owned(),
        }
    }

    fn start(&self) -> Result<Running> {
        let holder = match self {
            Self::Nothing => Holder::Nobody,
            Self::Empty => Holder::Empty(Empty::attach()?),
            Self::Limitscope => Holder::Agent(Agent::start(&[])?),
            Self::Other(path) => {
                let command = agent::command_of(path, ["run", "--format", "json"]);
                let agent = Agent::spawn(command)?;
                agent.wait_for("the start of the other agent", |line| {
                    line.kind() == "agent"
                })?;
                Holder::Agent(agent)
            }
            Self::Runqlat => Holder::Runqlat(Runqlat::start_for_all()?),
        };
        let found = match &holder {
            Holder::Agent(agent) => bpf::programs_of(agent.pid())?,
            Holder::Runqlat(runqlat) => bpf::programs_of(runqlat.pid())?,
            Holder::Nobody | Holder::Empty(_) => Vec::new(),
        };
        Ok(Running { holder, found })
    }
}

enum Holder {
    Nobody,
    Empty(Empty),
    Agent(Agent),
    Runqlat(Runqlat),
}

/// A tool with its programs attached; dropping it ends it.
struct Running {
    holder: Holder,
    found: Vec<Program>,
}

impl Running {
    fn programs(&self) -> impl Iterator<Item = &Program> {
        let empty = match &self.holder {
            Holder::Empty(empty) => Some(&empty.program),
            _ => None,
        };
        empty.into_iter().chain(&self.found)
    }

    /// Run time by program.
    fn runs(&self) -> Result<BTreeMap<String, Run>> {
        let mut runs: BTreeMap<String, Run> = BTreeMap::new();
        for program in self.programs() {
            let run = program.run()?;
            let sum = runs.entry(program.name.clone()).or_default();
            sum.time_ns += run.time_ns;
            sum.count += run.count;
        }
        Ok(runs)
    }
}

/// What was measured of one tool.
#[derive(Default)]
struct Figures {
    /// Nanoseconds of all programs by switch of the host.
    all: Rounds,
    /// Those of the program at the switch alone.
    at_switch: Rounds,
    /// Microseconds by round of the load, two switches, while nothing is measured in the kernel.
    usecs: Rounds,
    /// `usecs` over that of the round without any program.
    slower: Rounds,
    /// Nanoseconds by switch of each program.
    programs: BTreeMap<String, Rounds>,
}

/// Measures.
pub fn measure(settings: &Settings) -> Result<Section> {
    let means = Means::find();
    let mut tools = vec![Tool::Nothing, Tool::Empty, Tool::Limitscope];
    let runqlat = Runqlat::start_for_all();
    let without = runqlat.as_ref().err().map(|error| format!("{error:#}"));
    drop(runqlat);
    if without.is_none() {
        tools.push(Tool::Runqlat);
    }
    tools.extend(settings.against.iter().cloned().map(Tool::Other));

    let cgroup = Cgroup::new("bench-load")?;
    // Warms the caches of everything that the rounds use.
    means.play(&cgroup, settings.pipe_rounds / 10 + 1)?;
    let mut figures: Vec<Figures> = tools.iter().map(|_| Figures::default()).collect();
    let mut ratios = [Rounds::default(), Rounds::default()];
    for round in 0..settings.rounds {
        // Each round in another order, so that no tool always comes after the same one.
        let mut nothing = None;
        let mut pending = Vec::new();
        for place in 0..tools.len() {
            let which = (place + round) % tools.len();
            let usecs = one(&tools[which], means, &cgroup, settings, &mut figures[which])?;
            if tools[which] == Tool::Nothing {
                nothing = Some(usecs);
            }
            pending.push((which, usecs));
        }
        let nothing = nothing.context("nothing was measured")?;
        for (which, usecs) in pending {
            figures[which].slower.add((usecs / nothing - 1.0) * 100.0);
        }
    }
    let place = |tool: &Tool| tools.iter().position(|other| other == tool);
    if let (Some(empty), Some(ours), Some(theirs)) = (
        place(&Tool::Empty),
        place(&Tool::Limitscope),
        place(&Tool::Runqlat),
    ) {
        let floor = &figures[empty].all;
        let theirs = &figures[theirs].all;
        for (ratio, ours) in ratios
            .iter_mut()
            .zip([&figures[ours].at_switch, &figures[ours].all])
        {
            for ((floor, ours), theirs) in floor.values().zip(ours.values()).zip(theirs.values()) {
                ratio.add((ours - floor) / (theirs - floor));
            }
        }
    }
    Ok(section(settings, means, &tools, &figures, &ratios, without))
}

/// One run of the load under one tool; returns microseconds a round of the load.
fn one(
    tool: &Tool,
    means: Means,
    cgroup: &Cgroup,
    settings: &Settings,
    into: &mut Figures,
) -> Result<f64> {
    let running = tool.start().with_context(|| tool.name())?;
    // The tool's own start is not to be in the figures.
    thread::sleep(Duration::from_millis(50));
    let usecs = means.play(cgroup, settings.pipe_rounds)?;
    into.usecs.add(usecs);
    let stats = bpf::enable_stats()?;
    let (before, switches) = (running.runs()?, machine::switches()?);
    means.play(cgroup, settings.pipe_rounds)?;
    let (after, switches) = (running.runs()?, machine::switches()? - switches);
    drop(stats);
    let mut all = 0;
    let mut at_switch = 0;
    for (name, run) in &after {
        let spent = run.time_ns - before.get(name).copied().unwrap_or_default().time_ns;
        all += spent;
        if name == SWITCH_PROGRAM {
            at_switch += spent;
        }
        into.programs
            .entry(name.clone())
            .or_default()
            .add(spent as f64 / switches as f64);
    }
    if !after.is_empty() {
        into.all.add(all as f64 / switches as f64);
    }
    if at_switch > 0 {
        into.at_switch.add(at_switch as f64 / switches as f64);
    }
    Ok(usecs)
}

fn section(
    settings: &Settings,
    means: Means,
    tools: &[Tool],
    figures: &[Figures],
    ratios: &[Rounds; 2],
    without: Option<String>,
) -> Section {
    let mut table = Table::new([
        "what watches".to_owned(),
        format!("ns a switch, all programs: {SPREAD}"),
        "ns a switch, at the switch".to_owned(),
        "µs a round of the load".to_owned(),
        "slower than with nothing, %".to_owned(),
    ]);
    let mut programs = Table::new(["program", "ns a switch of the host"]);
    let mut object = serde_json::Map::new();
    for (tool, figures) in tools.iter().zip(figures) {
        table.row([
            tool.name(),
            figures.all.shown(1),
            figures.at_switch.shown(1),
            figures.usecs.shown(3),
            if *tool == Tool::Nothing {
                "-".to_owned()
            } else {
                figures.slower.shown(1)
            },
        ]);
        let mut by_program = serde_json::Map::new();
        for (name, rounds) in &figures.programs {
            by_program.insert(name.clone(), rounds.json());
            if rounds.max().is_some_and(|max| max > 0.05) && *tool != Tool::Empty {
                programs.row([format!("{}: `{name}`", tool.name()), rounds.shown(1)]);
            }
        }
        object.insert(
            tool.name(),
            json!({
                "ns_per_switch_all_programs": figures.all.json(),
                "ns_per_switch_at_switch": figures.at_switch.json(),
                "usecs_per_round": figures.usecs.json(),
                "slower_percent": figures.slower.json(),
                "programs": by_program,
            }),
        );
    }
    let always = machine::stats_always_on();
    let mut notes = vec![format!(
        "Load: `{}`, {} rounds of two switches each, in a cgroup of its own without a quota. ns a \
         switch: `run_time_ns` of the programs over the context switches of the whole host \
         (`ctxt` of /proc/stat) while the load ran. The kernel's own measuring costs two reads of \
         the clock for each run of a program, which is in every figure: so what counts is the \
         distance to the empty program. The time of a round is of a run of its own, {}.",
        means.name(),
        settings.pipe_rounds,
        if always {
            "but with this measuring on as well: this machine has `kernel.bpf_stats_enabled` set"
        } else {
            "without this measuring"
        }
    )];
    let mut json = json!({ "stats_always_on": always, "load": means.name(), "load_rounds": settings.pipe_rounds, "tools": object });
    if let Some(why) = without {
        notes.push(format!("`runqlat` was not measured: {why}"));
        json["runqlat_missing"] = Value::String(why);
    } else {
        let [at_switch, all] = ratios;
        notes.push(format!(
            "(limitscope - empty) / (runqlat - empty), by round, {SPREAD}: **{}** for the program \
             at the switch, {} for all of limitscope's programs.",
            at_switch.shown(2),
            all.shown(2)
        ));
        json["ratio_at_switch"] = at_switch.json();
        json["ratio_all_programs"] = all.json();
    }
    Section {
        key: "switch_cost",
        title: "A context switch",
        notes,
        tables: vec![table, programs],
        json,
    }
}
