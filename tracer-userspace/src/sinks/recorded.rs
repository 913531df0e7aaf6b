//! Reads back what was recorded: JSON lines and HdrHistogram logs (V2), told apart line by line.
//!
//! Recordings come from anywhere, so every line is checked: a damaged one is named with its file,
//! number and reason, and never taken in part.

mod hdr;
mod json_lines;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::{self, BufRead};

use thiserror::Error;

use crate::analyse::report::Report;
use crate::model::identity::Identity;
use crate::sinks::text::Visible;

/// Longest line in bytes that is taken into memory.
const MAX_LINE: u64 = 16 << 20;
/// Damaged lines that are kept by name when others are used in spite of them.
const KEPT_DAMAGES: usize = 10;

/// A line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The input's name.
    pub file: String,
    /// Number of the line, from 1.
    pub line: u64,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, reason) = (Visible(&self.file), Visible(&self.reason));
        write!(f, "{file}:{}: {reason}", self.line)
    }
}

/// Why reading stopped.
#[derive(Debug, Error)]
pub enum ReadError {
    /// A damaged line.
    #[error("{0}")]
    Damaged(Damage),
    /// The input cannot be read.
    #[error("cannot read {}: {source}", Visible(file))]
    Io {
        /// Its name.
        file: String,
        /// The system's reason.
        source: io::Error,
    },
}

/// Puts recordings together into one report.
pub struct Recordings<F> {
    report: Report,
    wanted: F,
    keep_going: bool,
    skipped: u64,
    damages: Vec<Damage>,
}

impl<F: Fn(&Identity) -> bool> Recordings<F> {
    /// `wanted` says whether a container is taken (of one in a log only the name is known); with `keep_going` damaged lines are
    /// left out instead of ending it all.
    pub const fn new(report: Report, wanted: F, keep_going: bool) -> Self {
        Self {
            report,
            wanted,
            keep_going,
            skipped: 0,
            damages: Vec::new(),
        }
    }

    /// Reads one recording to its end.
    pub fn read(&mut self, file: &str, mut input: impl BufRead) -> Result<(), ReadError> {
        let mut log = hdr::Log::default();
        let mut line = Vec::new();
        for number in 1.. {
            let too_long = match next_line(&mut input, &mut line) {
                Ok(Line::End) => break,
                Ok(Line::Whole) => false,
                Ok(Line::TooLong) => true,
                Err(source) => {
                    let file = file.to_owned();
                    return Err(ReadError::Io { file, source });
                }
            };
            let result = if too_long {
                Err(format!("longer than {} MiB", MAX_LINE >> 20))
            } else {
                self.line(&mut log, line.trim_ascii())
            };
            if let Err(reason) = result {
                let damage = Damage {
                    file: file.to_owned(),
                    line: number,
                    reason,
                };
                self.damaged(damage)?;
            }
        }
        Ok(())
    }

    /// The report so far.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// The report.
    pub fn into_report(self) -> Report {
        self.report
    }

    /// Lines left out because they are damaged.
    pub const fn skipped(&self) -> u64 {
        self.skipped
    }

    /// The first of the lines left out.
    pub fn damages(&self) -> &[Damage] {
        &self.damages
    }

    fn line(&mut self, log: &mut hdr::Log, line: &[u8]) -> Result<(), String> {
        match line.first() {
            None => Ok(()),
            Some(b'{') => {
                let Some((stats, end)) = json_lines::parse(line)? else {
                    return Ok(());
                };
                if (self.wanted)(&stats.container) {
                    self.report.add(&stats, end);
                }
                Ok(())
            }
            Some(_) => {
                let Some(interval) = log.parse(line)? else {
                    return Ok(());
                };
                if (self.wanted)(&named(&interval.name)) {
                    let (start, end) = interval.span;
                    self.report.cover(start, end);
                    self.report
                        .add_histogram(&interval.name, interval.metric, &interval.histogram);
                }
                Ok(())
            }
        }
    }

    fn damaged(&mut self, damage: Damage) -> Result<(), ReadError> {
        if !self.keep_going {
            return Err(ReadError::Damaged(damage));
        }
        self.skipped += 1;
        if self.damages.len() < KEPT_DAMAGES {
            self.damages.push(damage);
        }
        Ok(())
    }
}

/// Who has this name, which may be `namespace/pod/container` or a cgroup's path.
fn named(name: &str) -> Identity {
    Identity {
        container_name: Some(name.to_owned()),
        cgroup_path: name.to_owned(),
        ..Identity::default()
    }
}

enum Line {
    Whole,
    TooLong,
    End,
}

/// Reads a line into `line`, or past it where it is too long.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Line> {
    line.clear();
    let read = io::Read::take(&mut *input, MAX_LINE).read_until(b'\n', line)?;
    if read == 0 {
        return Ok(Line::End);
    }
    if (read as u64) < MAX_LINE || line.ends_with(b"\n") {
        return Ok(Line::Whole);
    }
    input.skip_until(b'\n')?;
    Ok(Line::TooLong)
}
