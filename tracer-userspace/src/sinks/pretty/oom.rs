//! An OOM kill: who, how much of what, by which limit, at whose request.

use std::io::{self, Write};

use super::lines::Lines;
use super::style::Styles;
use super::{INDENT, name_column, oom_context, visible_name};
use crate::model::oom::{LimitShares, OomKillEvent, OomLimit, OomProcess, VictimMemory};
use crate::sinks::json::OomSummary;
use crate::sinks::text::{Bytes, Nanos, Visible};

/// Writes the block, after the time.
pub fn write(out: &mut Vec<u8>, styles: &Styles, event: &OomKillEvent) -> io::Result<()> {
    let error = styles.error;
    write!(out, "{error}OOM kill{error:#}  ")?;
    name_column(out, styles, &event.container)?;
    let container = &event.container;
    let facts = [container.image_name.as_deref(), container.runtime_name];
    let facts: Vec<_> = facts
        .into_iter()
        .flatten()
        .map(|text| Visible(text).to_string())
        .collect();
    writeln!(out, "{}", facts.join(", "))?;
    let summary = OomSummary(event).to_string();
    writeln!(out, "{:INDENT$}{}", "", Visible(&summary))?;
    let mut lines = Lines::new(out, styles);
    victim(&mut lines, event)?;
    memory(&mut lines, &event.memory)?;
    if let Some(limit) = &event.limit {
        self::limit(&mut lines, limit)?;
    }
    if event.trigger.pid != 0 {
        lines.line(
            "asked by",
            &format_args!(
                "{} in {}",
                process(&event.trigger),
                visible_name(&event.trigger_container)
            ),
        )?;
    }
    if let Some(context) = &event.context {
        oom_context::write(&mut lines, context)?;
    }
    if let Some(reading) = &event.container_memory {
        let current = Bytes(reading.current_bytes);
        let what = match reading.peak_bytes {
            Some(peak) => format!("{current}, {} at its peak", Bytes(peak)),
            None => current.to_string(),
        };
        lines.line("afterwards", &format_args!("the container has {what}"))?;
    }
    Ok(())
}

fn victim(lines: &mut Lines<'_>, event: &OomKillEvent) -> io::Result<()> {
    let mut facts = vec![process(&event.victim), format!("user {}", event.victim_uid)];
    facts.extend(event.victim_age_ns.map(|age| format!("{} old", Nanos(age))));
    facts.push(format!("oom_score_adj {}", event.victim_oom_score_adj));
    if event.victims > 1 {
        let why = if event.group {
            ", all of it by memory.oom.group"
        } else {
            ""
        };
        facts.push(format!(
            "victim {} of {}{why}",
            event.victim_number, event.victims
        ));
    }
    if let Some(pid) = event.shares_memory_of_pid {
        facts.push(format!(
            "in the same memory as pid {pid}: what follows is theirs together"
        ));
    }
    lines.line("victim", &facts.join(", "))?;
    match &event.victim_command_line {
        Some(command_line) => lines.line("command", &Visible(command_line)),
        None => Ok(()),
    }
}

/// The parts that count against a process when the kernel chooses (`oom_badness` in
/// mm/oom_kill.c: resident memory, swap and page tables), as shares of their sum.
fn memory(lines: &mut Lines<'_>, memory: &VictimMemory) -> io::Result<()> {
    let parts = [
        ("anonymous", Some(memory.anon_bytes)),
        ("files", Some(memory.file_bytes)),
        ("shared", Some(memory.shmem_bytes)),
        ("swapped", Some(memory.swap_bytes)),
        ("page tables", memory.page_tables_bytes),
    ];
    let known = parts.iter().filter_map(|&(_, bytes)| bytes);
    let sum = known.fold(0u64, u64::saturating_add);
    for (label, bytes) in parts {
        let Some(bytes) = bytes else { continue };
        let share = bytes as f64 * 100.0 / sum.max(1) as f64;
        lines.line(label, &format_args!("{:>9}  {share:>5.1} %", Bytes(bytes)))?;
    }
    let about = if memory.exact { "" } else { ", about" };
    lines.line(
        "together",
        &format_args!(
            "{:>9}{about}; address space {}",
            Bytes(sum),
            Bytes(memory.total_vm_bytes)
        ),
    )
}

fn limit(lines: &mut Lines<'_>, limit: &OomLimit) -> io::Result<()> {
    let bytes = limit
        .limit_bytes
        .map_or_else(|| "none".to_owned(), |bytes| format!("{:>9}", Bytes(bytes)));
    let kind = if limit.memory_and_swap {
        " of memory and swap"
    } else {
        ""
    };
    let share = limit.limit_bytes.map_or_else(String::new, |bytes| {
        let share = limit.usage_bytes as f64 * 100.0 / bytes.max(1) as f64;
        format!(" ({share:.0} %)")
    });
    lines.line(
        "limit",
        &format_args!(
            "{bytes}{kind}, {} {}; used {}{share}",
            limit.level.name(),
            Visible(&limit.cgroup.cgroup_path),
            Bytes(limit.usage_bytes)
        ),
    )?;
    limit.shares.as_ref().map_or(Ok(()), |s| shares(lines, s))
}

/// Who uses it.
fn shares(lines: &mut Lines<'_>, shares: &LimitShares) -> io::Result<()> {
    let mut label = "used by";
    for share in &shares.largest {
        let bytes = Bytes(share.bytes);
        let name = visible_name(&share.who);
        lines.line(label, &format_args!("{bytes:>9}  {name}"))?;
        label = "";
    }
    let more = shares.count.saturating_sub(shares.largest.len());
    if more > 0 {
        lines.line(label, &format_args!("{:>9}  and {more} more", ""))?;
    }
    if let Some(rest) = shares.rest_bytes.filter(|rest| *rest > 0) {
        let bytes = Bytes(rest);
        lines.line(label, &format_args!("{bytes:>9}  in none of them"))?;
    }
    Ok(())
}

fn process(process: &OomProcess) -> String {
    format!("`{}` (pid {})", Visible(&process.command), process.pid)
}
