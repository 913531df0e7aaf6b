//! How long it takes from the start of the process until every program is attached.

use anyhow::Result;
use limitscope_tests::agent::Agent;
use serde_json::json;

use crate::{
    Settings,
    figures::{Rounds, SPREAD, Section, Table},
};

const STARTS: usize = 10;

/// Measures.
pub fn measure(_settings: &Settings) -> Result<Section> {
    let mut attached = Rounds::default();
    for _ in 0..STARTS {
        let agent = Agent::start(&[])?;
        let line = agent.wait_for("the start", |line| line.value["agent.phase"] == "start")?;
        attached.add(line.number("agent.attached_after_ns")? as f64 / 1e6);
        agent.stop()?;
    }
    let mut table = Table::new(["starts".to_owned(), format!("ms: {SPREAD}")]);
    table.row([STARTS.to_string(), attached.shown(0)]);
    Ok(Section {
        key: "attach",
        title: "From start to the last program attached",
        notes: vec![
            "By the agent's own account (`agent.attached_after_ns` of its first line): from the \
             start of the process, through reading the kernel's BTF, loading, the walk over the \
             existing cgroups, to the last program attached."
                .to_owned(),
        ],
        tables: vec![table],
        json: json!({ "starts": STARTS, "attached_after_ms": attached.json() }),
    })
}
