//! The benchmark: what limitscope costs on this machine. `cargo xtask bench` builds and starts it.
//!
//! One file a measurement. Each gives a table for people and figures for programs; none judges.

mod agent_cost;
mod attach;
mod bpf;
mod counted;
mod docs;
mod empty;
mod figures;
mod guard;
mod injector;
mod kernel_memory;
mod known_cgroups;
mod load;
mod machine;
mod oom_latency;
mod population;
mod ring_rate;
mod storm;
mod switch_cost;

use std::{fs, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::Parser;

use figures::Section;

/// Measures what limitscope costs on this machine.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench --")]
struct Arguments {
    /// A first impression in about a minute
    #[arg(long)]
    quick: bool,
    /// Rounds of each measurement [default: 5, quick: 2]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    rounds: Option<u16>,
    /// Write all figures to a file as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the tables into docs/overhead.md
    #[arg(long, conflicts_with = "only")]
    write_docs: bool,
    /// Measure only these
    #[arg(long, value_name = "NAMES", value_delimiter = ',', value_parser = NAMES)]
    only: Vec<String>,
    /// Measure the cost of a switch with this binary of limitscope as well; may be repeated
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
}

/// How long and how often things are measured.
#[derive(Debug)]
pub struct Settings {
    quick: bool,
    rounds: usize,
    /// Rounds of one run of the load, two switches each.
    pipe_rounds: u64,
    against: Vec<PathBuf>,
}

impl Settings {
    /// Rounds of what takes many seconds each.
    fn long_rounds(&self) -> usize {
        if self.quick { 1 } else { self.rounds.min(3) }
    }
}

/// Characters of the reason why something could not be measured.
const REASON: usize = 1000;

type Measure = fn(&Settings) -> Result<Section>;

/// Everything that is measured, in this order.
const MEASURES: [(&str, Measure); 8] = [
    ("switch", switch_cost::measure),
    ("agent", agent_cost::measure),
    ("attach", attach::measure),
    ("ring", ring_rate::measure),
    ("storm", storm::measure),
    ("oom", oom_latency::measure),
    ("memory", kernel_memory::measure),
    ("names", known_cgroups::measure),
];

const NAMES: [&str; MEASURES.len()] = {
    let mut names = [""; MEASURES.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = MEASURES[at].0;
        at += 1;
    }
    names
};

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if !guard::is_child() {
        return guard::watch().unwrap_or_else(|error| {
            eprintln!("limitscope-bench: {error:#}");
            ExitCode::FAILURE
        });
    }
    match run(arguments) {
        Ok(failures) if failures.is_empty() => ExitCode::SUCCESS,
        Ok(failures) => {
            for failure in failures {
                eprintln!("limitscope-bench: not measured: {failure}");
            }
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("limitscope-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures; returns what could not be.
fn run(arguments: Arguments) -> Result<Vec<String>> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "the benchmark attaches programs and makes cgroups: run it as root"
    );
    let rounds = usize::from(
        arguments
            .rounds
            .unwrap_or(if arguments.quick { 2 } else { 5 }),
    );
    let settings = Settings {
        quick: arguments.quick,
        rounds,
        pipe_rounds: if arguments.quick { 50_000 } else { 300_000 },
        against: arguments.against,
    };
    let load = machine::load_average();
    let mut sections = vec![machine::describe(settings.quick, rounds, &load)];
    println!("{}", sections[0].markdown());
    let mut failures = Vec::new();
    for (name, measure) in MEASURES {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == name) {
            continue;
        }
        eprintln!("measuring: {name}");
        match measure(&settings) {
            Ok(section) => {
                println!("{}", section.markdown());
                sections.push(section);
            }
            Err(error) => {
                // The verifier's log can be in it, which nobody wants whole.
                let reason: String = format!("{error:#}").chars().take(REASON).collect();
                failures.push(format!("{name}: {reason}"));
            }
        }
    }
    if let Some(path) = &arguments.json {
        let mut object = machine::run_json(settings.quick, rounds);
        for section in &sections {
            object[section.key] = section.json.clone();
        }
        fs::write(path, format!("{object:#}\n"))
            .with_context(|| format!("writing {}", path.display()))?;
    }
    if arguments.write_docs {
        ensure!(
            failures.is_empty(),
            "docs/overhead.md stays as it is, not everything could be measured: {}",
            failures.join("; ")
        );
        docs::write("docs/overhead.md".as_ref(), &sections)?;
    }
    Ok(failures)
}
