//! What the minutes before an OOM kill say: the verdict, a curve, the largest processes, what to do.

use std::io;

use super::lines::Lines;
use crate::model::oom::OomContext;
use crate::sinks::text::{Bytes, Nanos, Visible};

/// Columns of the curve.
const COLUMNS: usize = 48;
/// Heights of a column.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Writes the lines.
pub fn write(lines: &mut Lines<'_>, context: &OomContext) -> io::Result<()> {
    let verdict = &context.verdict;
    lines.line("cause", &Visible(&verdict.explanation))?;
    if let (Some((first, _)), Some((last, _))) = (verdict.samples.first(), verdict.samples.last())
        && verdict.samples.len() > 2
    {
        let most = verdict
            .samples
            .iter()
            .map(|(_, bytes)| *bytes)
            .max()
            .unwrap_or(0);
        lines.line(
            "before",
            &format_args!(
                "{}  up to {}, from {} before to {} before",
                curve(&verdict.samples, most),
                Bytes(most),
                Nanos(*first),
                Nanos(*last)
            ),
        )?;
    }
    for (place, process) in context.largest.iter().enumerate() {
        let label = if place == 0 { "largest" } else { "" };
        lines.line(
            label,
            &format_args!(
                "{:>9}  `{}` (pid {})",
                Bytes(process.bytes),
                Visible(&process.command),
                process.pid
            ),
        )?;
    }
    lines.line("do", &Visible(&verdict.recommendation))
}

/// The samples as columns of equal width, the last ones where there are more than fit.
fn curve(samples: &[(u64, u64)], most: u64) -> String {
    let last = &samples[samples.len().saturating_sub(COLUMNS)..];
    last.iter()
        .map(|(_, bytes)| {
            let level = bytes.saturating_mul(BARS.len() as u64 - 1) / most.max(1);
            BARS.get(level as usize).copied().unwrap_or('█')
        })
        .collect()
}
