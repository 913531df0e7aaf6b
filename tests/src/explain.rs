//! The page of `limitscope explain`.

use std::{ffi::OsStr, time::Duration};

use anyhow::{Context, Result, ensure};

use crate::agent;

/// Time for a trace of eight seconds, and what is around it.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// A page, line by line.
#[derive(Debug)]
pub struct Page(pub Vec<String>);

impl Page {
    /// Traces a container for eight seconds: names of engines come while it is traced.
    pub fn of<S: AsRef<OsStr>>(container: &str, more: &[S]) -> Result<Self> {
        let fixed = ["explain", container, "--duration", "8s"].map(OsStr::new);
        let more = more.iter().map(AsRef::as_ref);
        let done = agent::output(fixed.into_iter().chain(more), PATIENCE)?;
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        println!("{text}");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        ensure!(done.status.success(), "{}: {said}", done.status);
        Ok(Self(text.lines().map(str::to_owned).collect()))
    }

    /// What stands behind a label below a title; the head has none.
    pub fn line(&self, title: &str, label: &str) -> Result<&str> {
        let below = self
            .0
            .iter()
            .skip_while(|line| !title.is_empty() && *line != title);
        let label = format!("  {label} ");
        let found = below.skip(1).find_map(|line| line.strip_prefix(&label));
        let found = found.with_context(|| format!("no {label:?} below {title:?}"))?;
        Ok(found.trim())
    }

    /// Whether a line begins so, however far it is indented.
    pub fn has(&self, start: &str) -> bool {
        self.0
            .iter()
            .any(|line| line.trim_start().starts_with(start))
    }
}

/// The numbers of a line, in their order: `1.20 s of 4 s; 38 of 40` has four.
pub fn numbers(line: &str) -> Vec<f64> {
    line.split(|c: char| !c.is_ascii_digit() && c != '.')
        .filter_map(|word| word.parse().ok())
        .collect()
}

/// One number with its unit of time, in nanoseconds.
pub fn nanos(line: &str) -> Result<f64> {
    let mut words = line.split_whitespace();
    let number: f64 = words.next().context("a number")?.parse()?;
    Ok(number
        * match words.next().context("a unit")?.trim_end_matches(';') {
            "s" => 1e9,
            "ms" => 1e6,
            "µs" | "us" => 1e3,
            other => anyhow::bail!("{other:?} in {line:?}"),
        })
}
