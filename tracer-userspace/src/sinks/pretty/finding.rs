//! A finding: what it is, and what to do, on three lines; its end on one.

use std::io::{self, Write};

use super::style::Styles;
use super::{INDENT, name_column};
use crate::model::finding::{FindingEvent, FindingPhase, Severity};
use crate::sinks::text::{Nanos, Visible};

/// Writes the block, after the time.
pub fn write(out: &mut Vec<u8>, styles: &Styles, event: &FindingEvent) -> io::Result<()> {
    let finding = &event.finding;
    let style = match (event.phase, finding.severity) {
        (FindingPhase::End, _) | (_, Severity::Info) => styles.good,
        (_, Severity::Warning) => styles.warning,
        (_, Severity::Critical) => styles.error,
    };
    write!(out, "{style}finding{style:#}   ")?;
    name_column(out, styles, &event.container)?;
    let kind = finding.kind.name();
    if event.phase == FindingPhase::End {
        let lasted = Nanos(event.lasted_ns.unwrap_or(0));
        return writeln!(out, "{kind} ended after {lasted}");
    }
    writeln!(
        out,
        "{style}{kind}{style:#} ({}, confidence {})",
        finding.severity.name(),
        finding.confidence.name()
    )?;
    let dim = styles.dim;
    writeln!(out, "{:INDENT$}{}", "", Visible(&finding.summary))?;
    writeln!(
        out,
        "{:INDENT$}{dim}do{dim:#}  {}",
        "",
        Visible(&finding.recommendation)
    )
}
