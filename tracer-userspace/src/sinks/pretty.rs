//! Events for people at a terminal (`--format pretty`): a line each, for an OOM kill a short block.
//!
//! Nothing from outside reaches the terminal unescaped.

mod agent;
mod finding;
mod lines;
mod oom;
mod oom_context;
mod stats;
mod style;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use crate::analyse::names::qualified_name;
use crate::model::event::{Event, EventBody, Lifecycle, NamedEvent};
use crate::model::identity::Identity;
use crate::model::throttle::ThrottleEvent;
use crate::sinks::text::{Nanos, Visible};
use crate::sinks::wall_clock::WallClock;

pub use style::{Styles, wants_color};

/// Columns of the time, in front of everything; further lines of a block are indented by them.
const INDENT: usize = 14;
/// Columns of a container's name; longer ones push the rest of their line to the right.
const NAME: usize = 24;

/// Writes events for people.
#[derive(Clone, Debug)]
pub struct Pretty {
    clock: WallClock,
    styles: Styles,
}

impl Pretty {
    /// With or without colours (see [`wants_color`]).
    pub const fn new(clock: WallClock, color: bool) -> Self {
        let styles = if color {
            Styles::COLOURED
        } else {
            Styles::PLAIN
        };
        Self { clock, styles }
    }

    /// Takes a newly measured wall clock.
    pub const fn set_clock(&mut self, clock: WallClock) {
        self.clock = clock;
    }

    /// Appends the event, one or several whole lines, to `out`.
    pub fn write(&self, event: &Event, out: &mut Vec<u8>) -> io::Result<()> {
        let time = self.clock.at(event.monotonic_ns);
        let dim = self.styles.dim;
        write!(out, "{dim}{}{dim:#}  ", time.strftime("%H:%M:%S%.3f"))?;
        match &event.body {
            EventBody::OomKill(oom) => oom::write(out, &self.styles, oom),
            EventBody::CpuThrottle(throttle) => self.throttle(out, throttle),
            EventBody::ContainerStart(life) => self.life(out, "start", life),
            EventBody::ContainerExit(life) => self.life(out, "exit", life),
            EventBody::ContainerNamed(named) => self.named(out, named),
            EventBody::ContainerStats(stats) => stats::write(out, &self.styles, stats),
            EventBody::Finding(event) => finding::write(out, &self.styles, event),
            EventBody::Agent(agent) => agent::write(out, &self.styles, agent),
        }
    }

    fn throttle(&self, out: &mut Vec<u8>, event: &ThrottleEvent) -> io::Result<()> {
        let warn = self.styles.warning;
        write!(out, "{warn}throttle{warn:#}  ")?;
        name_column(out, &self.styles, &event.container)?;
        write!(
            out,
            "{warn}{:>7}{warn:#} on CPU {:<3} ",
            Nanos(event.duration_ns),
            event.cpu
        )?;
        match event.quota_ns {
            Some(quota) => write!(
                out,
                "quota of {:.2} CPUs ({} in {})",
                quota as f64 / event.period_ns.max(1) as f64,
                Nanos(quota),
                Nanos(event.period_ns)
            )?,
            None => write!(out, "quota, since removed,")?,
        }
        if event.quota_cgroup.cgroup_path != event.container.cgroup_path {
            write!(
                out,
                " of {} {}",
                event.level.name(),
                Visible(&event.quota_cgroup.cgroup_path)
            )?;
        }
        write!(out, " used up")?;
        if let Some(burn) = event.burn_ns {
            write!(out, " after {}", Nanos(burn))?;
        }
        match event.threads {
            0 => {}
            1 => write!(out, ", 1 thread held up")?,
            threads => write!(out, ", {threads} threads held up")?,
        }
        writeln!(out)
    }

    fn life(&self, out: &mut Vec<u8>, what: &str, life: &Lifecycle) -> io::Result<()> {
        let good = self.styles.good;
        write!(out, "{good}{what:<8}{good:#}  ")?;
        name_column(out, &self.styles, &life.container)?;
        let mut first = true;
        let mut part = |out: &mut Vec<u8>, text: &dyn std::fmt::Display| {
            let separator = if first { "" } else { ", " };
            first = false;
            write!(out, "{separator}{text}")
        };
        if let Some(lifetime) = life.lifetime_ns {
            part(out, &format_args!("after {}", Nanos(lifetime)))?;
        }
        if let Some(exit) = &life.exit {
            part(out, &format_args!("code {}", exit.code))?;
            match exit.oom_kill_seq {
                Some(seq) => part(out, &format_args!("{}: see line {seq}", exit.cause.name()))?,
                None => part(out, &exit.cause.name())?,
            }
            if let Some(killer) = exit.killed_by {
                part(out, &format_args!("by {killer}"))?;
            }
            if let Some(killer) = &exit.killer {
                let command = Visible(&killer.command);
                part(
                    out,
                    &format_args!("SIGKILL sent by {command} (pid {})", killer.pid),
                )?;
            }
        }
        if let Some(count @ 1..) = life.restart_count {
            part(out, &format_args!("restarts: {count}"))?;
        }
        let identity = &life.container;
        for text in [identity.image_name.as_deref(), identity.runtime_name]
            .into_iter()
            .flatten()
        {
            part(out, &Visible(text))?;
        }
        part(out, &Visible(&identity.cgroup_path))?;
        if let Some(reason) = &identity.unresolved {
            part(out, &format_args!("no name: {}", Visible(reason)))?;
        }
        writeln!(out)
    }

    fn named(&self, out: &mut Vec<u8>, event: &NamedEvent) -> io::Result<()> {
        let dim = self.styles.dim;
        write!(out, "{dim}named{dim:#}     ")?;
        name_column(out, &self.styles, &event.container)?;
        let what = if event.lines == 1 { "line" } else { "lines" };
        writeln!(out, "is whom {} {what} before had no name for", event.lines)
    }
}

/// The container's name, filled up to its column.
fn name_column(out: &mut Vec<u8>, styles: &Styles, identity: &Identity) -> io::Result<()> {
    let bold = styles.bold;
    let name = visible_name(identity);
    let fill = NAME.saturating_sub(name.chars().count());
    write!(out, "{bold}{name}{bold:#}{:fill$}  ", "")
}

fn visible_name(identity: &Identity) -> String {
    Visible(&qualified_name(identity)).to_string()
}
