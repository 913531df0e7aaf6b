//! The report as a table for people.

use std::fmt::Write as _;

use comfy_table::{Cell, CellAlignment, Table, TableComponent, presets};

use super::PERCENTILES;
use crate::analyse::report::{MetricReport, Report};
use crate::sinks::text::{Nanos, Visible};

/// The table and what one has to know to read it.
pub fn render(report: &Report) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_style(TableComponent::HeaderLines, '─');
    let percentiles = PERCENTILES.map(|(name, ..)| name);
    table.set_header(
        ["container", "metric", "count"]
            .into_iter()
            .chain(percentiles)
            .chain(["max", "sum"])
            .enumerate()
            .map(|(column, text)| aligned(column, text)),
    );
    let mut estimated = false;
    for container in report.by_name() {
        // Said once; the rows below it are the same container's.
        let mut name = Visible(&container.name).to_string();
        for (kind, metric) in container.metrics() {
            estimated |= metric.sum_is_estimated;
            let cells = [std::mem::take(&mut name), kind.name().to_owned()]
                .into_iter()
                .chain(numbers(metric));
            table.add_row(
                cells
                    .enumerate()
                    .map(|(column, text)| aligned(column, text)),
            );
        }
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    legend(&mut text, estimated);
    text
}

fn aligned(column: usize, text: impl ToString) -> Cell {
    let alignment = if column < 2 {
        CellAlignment::Left
    } else {
        CellAlignment::Right
    };
    Cell::new(text).set_alignment(alignment)
}

fn numbers(metric: &MetricReport) -> impl Iterator<Item = String> {
    let histogram = &metric.histogram;
    let time = |value: Option<u64>| value.map_or_else(|| "-".into(), |ns| Nanos(ns).to_string());
    let mark = if metric.sum_is_estimated { "~" } else { "" };
    std::iter::once(histogram.count().to_string())
        .chain(PERCENTILES.map(|(.., share)| time(histogram.quantile(share))))
        .chain([
            time(histogram.max()),
            format!("{mark}{}", Nanos(metric.sum_ns)),
        ])
}

fn legend(text: &mut String, estimated: bool) {
    text.push_str(
        "Percentiles are middles of buckets: at most 3.1 % or 32 ns off. The maximum is the upper \
         edge of its bucket: at\nmost 6.25 % or 64 ns too high.",
    );
    let sums = if estimated {
        "Sums with ~ are estimated from middles of buckets: the recording has no exact ones."
    } else {
        "Sums are exact."
    };
    // Writing to a String cannot fail.
    let _ = writeln!(text, " {sums}");
}
