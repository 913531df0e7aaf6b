//! What limitscope says about itself.

use std::io::{self, Write};

use super::INDENT;
use super::style::Styles;
use crate::model::event::{AgentEvent, AgentPhase, Lost};
use crate::sinks::text::{Bytes, Nanos, Visible};

/// Writes the line, after the time; at the start also the plan.
pub fn write(out: &mut Vec<u8>, styles: &Styles, agent: &AgentEvent) -> io::Result<()> {
    let dim = styles.dim;
    write!(out, "{dim}agent{dim:#}     {}", agent.phase.name())?;
    if agent.phase == AgentPhase::Start {
        write!(out, ", attached after {}", Nanos(agent.attached_after_ns))?;
    }
    if let Some(cost) = &agent.cost {
        if let Some(per_switch) = cost.bpf_ns_per_switch {
            write!(out, ", {per_switch:.0} ns a context switch")?;
        }
        write!(
            out,
            ", {:.2} % of a core, {} resident",
            cost.cpu_ratio * 100.0,
            Bytes(cost.resident_bytes)
        )?;
    }
    lost(out, styles, &agent.lost)?;
    if agent.looks_awaited > 0 {
        let (warn, number) = (styles.warning, agent.looks_awaited);
        write!(
            out,
            ", {warn}{number} containers not looked into yet{warn:#}"
        )?;
    }
    writeln!(out)?;
    if agent.phase == AgentPhase::Start {
        plan(out, styles, agent)?;
    }
    Ok(())
}

fn lost(out: &mut Vec<u8>, styles: &Styles, lost: &Lost) -> io::Result<()> {
    let counts = [
        (lost.ring, "records in the ring"),
        (lost.slots, "cgroups without slot"),
        (lost.clock, "values of a clock that ran back"),
        (lost.undecodable, "records undecodable"),
        (lost.sink, "events not written"),
        (lost.maps, "entries without room in a map"),
        (lost.reads, "failed reads"),
    ];
    let mut parts: Vec<_> = counts
        .into_iter()
        .filter(|&(count, _)| count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    if lost.unseen_throttle_ns > 0 {
        parts.push(format!(
            "{} throttled unseen",
            Nanos(lost.unseen_throttle_ns)
        ));
    }
    if parts.is_empty() {
        return write!(out, ", nothing lost");
    }
    let warn = styles.warning;
    write!(out, ", {warn}lost{warn:#}: {}", parts.join(", "))
}

fn plan(out: &mut Vec<u8>, styles: &Styles, agent: &AgentEvent) -> io::Result<()> {
    let dim = styles.dim;
    for signal in &agent.plan.signals {
        let by = match signal.source.as_str() {
            "off" => "not asked for",
            "none" => "not possible here",
            source => &format!("by {source}"),
        };
        writeln!(
            out,
            "{:INDENT$}{dim}{:<16}{dim:#}  {}",
            "",
            Visible(&signal.signal).to_string(),
            Visible(by)
        )?;
        for note in &signal.notes {
            writeln!(out, "{:INDENT$}{:16}  {}", "", "", Visible(note))?;
        }
    }
    writeln!(
        out,
        "{:INDENT$}{dim}{:<16}{dim:#}  {}",
        "",
        "cgroups",
        Visible(&agent.plan.cgroup_hierarchy)
    )?;
    let held = match &agent.capabilities[..] {
        [] => "none".to_owned(),
        names => names.join(", "),
    };
    writeln!(
        out,
        "{:INDENT$}{dim}{:<16}{dim:#}  {held}",
        "", "capabilities"
    )
}
