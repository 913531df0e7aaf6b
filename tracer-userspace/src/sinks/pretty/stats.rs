//! One interval of one container on one line.

use std::io::{self, Write};

use super::name_column;
use super::style::Styles;
use crate::model::stats::{ContainerStats, MemoryStats, ThrottleStats};
use crate::sinks::text::{Bytes, Nanos};

/// Writes the line, after the time. What is most often there comes first, so that columns align.
pub fn write(out: &mut Vec<u8>, styles: &Styles, stats: &ContainerStats) -> io::Result<()> {
    let dim = styles.dim;
    write!(out, "{dim}stats{dim:#}     ")?;
    name_column(out, styles, &stats.container)?;
    let interval = stats.interval_ns.max(1) as f64;
    let per_second = |count: u64| count as f64 * 1e9 / interval;
    let sched = &stats.sched;
    write!(
        out,
        "{dim}cpu{dim:#} {:>6.3}  {dim}switches{dim:#} {:>8.0}/s vol {:>8.0}/s invol",
        sched.cpu_time_ns as f64 / interval,
        per_second(sched.voluntary),
        per_second(sched.involuntary)
    )?;
    let wait = &stats.histograms.run_queue_wait;
    write!(
        out,
        "  {dim}wait{dim:#} p50 {:>7} p99 {:>7}",
        or_dash(wait.quantile(0.5)),
        or_dash(wait.quantile(0.99))
    )?;
    if let Some(memory) = &stats.memory {
        self::memory(out, styles, memory)?;
    }
    throttle(out, styles, &stats.throttle)?;
    writeln!(out)
}

fn or_dash(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| Nanos(value).to_string())
}

fn memory(out: &mut Vec<u8>, styles: &Styles, memory: &MemoryStats) -> io::Result<()> {
    let dim = styles.dim;
    let reading = &memory.reading;
    write!(
        out,
        "  {dim}memory{dim:#} {:>8}",
        Bytes(reading.current_bytes)
    )?;
    if let Some(limit) = reading.limit_bytes {
        let share = reading.current_bytes as f64 * 100.0 / limit.max(1) as f64;
        let style = if share >= 90.0 {
            styles.warning
        } else {
            styles.dim
        };
        write!(out, " of {} {style}({share:.0} %){style:#}", Bytes(limit))?;
    }
    match memory.growth_bytes_per_second {
        Some(growth) if growth.abs() >= 1.0 => {
            let sign = if growth > 0.0 { '+' } else { '-' };
            write!(out, " {sign}{}/s", Bytes(growth.abs().round() as u64))
        }
        _ => Ok(()),
    }
}

fn throttle(out: &mut Vec<u8>, styles: &Styles, throttle: &ThrottleStats) -> io::Result<()> {
    let frozen_ns = throttle.frozen_ns.unwrap_or(0);
    if throttle.throttled_periods == 0 && throttle.summed_ns == 0 && frozen_ns == 0 {
        return Ok(());
    }
    let warn = styles.warning;
    write!(
        out,
        "  {warn}throttled{warn:#} {} summed over CPUs",
        Nanos(throttle.summed_ns)
    )?;
    if let Some(frozen_ns) = throttle.frozen_ns {
        write!(out, ", frozen {}", Nanos(frozen_ns))?;
    }
    write!(
        out,
        ", {} of {} periods",
        throttle.throttled_periods, throttle.periods
    )?;
    throttle.burn.map_or(Ok(()), |burn| {
        let (lasted, cpus) = (Nanos(burn.mean_ns()), burn.mean_cpus());
        write!(out, ", quota gone after {lasted} on {cpus:.1} CPUs")
    })
}
