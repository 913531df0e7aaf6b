//! The lines that the program writes: their contract, and sums over them.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// A line with the moment at which it was read.
#[derive(Debug, Clone)]
pub struct Line {
    /// The flat object.
    pub value: Value,
    /// CLOCK_MONOTONIC in ns when the line had been read.
    pub arrived_ns: u64,
}

impl Line {
    /// A number that must be there.
    pub fn number(&self, key: &str) -> Result<u64> {
        self.value[key]
            .as_u64()
            .with_context(|| format!("no number {key:?} in {}", self.value))
    }

    /// A number that may be negative.
    pub fn signed(&self, key: &str) -> Result<i64> {
        self.value[key]
            .as_i64()
            .with_context(|| format!("no integer {key:?} in {}", self.value))
    }

    /// A text that must be there.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.value[key]
            .as_str()
            .with_context(|| format!("no text {key:?} in {}", self.value))
    }

    /// The value of `event`.
    pub fn kind(&self) -> &str {
        self.value["event"].as_str().unwrap_or_default()
    }

    /// The value of `process.linux.cgroup`, if it is there.
    pub fn cgroup(&self) -> &str {
        self.value["process.linux.cgroup"]
            .as_str()
            .unwrap_or_default()
    }
}

/// Lines in the order of writing, whole or chosen.
#[derive(Debug, Clone, Default)]
pub struct Events(pub Vec<Line>);

impl Events {
    /// Those with this value of `event`.
    #[must_use]
    pub fn kind(&self, kind: &str) -> Self {
        self.choose(|line| line.kind() == kind)
    }

    /// Those of exactly this cgroup path.
    #[must_use]
    pub fn cgroup(&self, path: &str) -> Self {
        self.choose(|line| line.cgroup() == path)
    }

    /// Those that hold this text under this key.
    #[must_use]
    pub fn with(&self, key: &str, text: &str) -> Self {
        self.choose(|line| line.value[key].as_str() == Some(text))
    }

    /// Those that `is` accepts.
    #[must_use]
    pub fn choose(&self, is: impl Fn(&Line) -> bool) -> Self {
        Self(self.0.iter().filter(|line| is(line)).cloned().collect())
    }

    /// The only one.
    pub fn only(&self) -> Result<&Line> {
        match &self.0[..] {
            [line] => Ok(line),
            lines => bail!("{} events where one was expected: {lines:#?}", lines.len()),
        }
    }

    /// The sum of a number over all of them; each must have it.
    pub fn sum(&self, key: &str) -> Result<u64> {
        self.0.iter().map(|line| line.number(key)).sum()
    }

    /// The largest value of a number; each must have it.
    pub fn max(&self, key: &str) -> Result<u64> {
        let numbers: Result<Vec<u64>> = self.0.iter().map(|line| line.number(key)).collect();
        Ok(numbers?.into_iter().max().unwrap_or_default())
    }

    /// Checks what every line of a stream must have, and that no line is missing in between.
    pub fn check_stream(&self) -> Result<()> {
        let mut last = None;
        for line in &self.0 {
            ensure!(line.value.is_object(), "not an object: {}", line.value);
            ensure!(!line.kind().is_empty(), "no event in {}", line.value);
            ensure!(
                !line.value["schema_version"].is_null(),
                "no schema_version: {}",
                line.value
            );
            ensure!(is_rfc3339(line.text("time")?), "time of {}", line.value);
            ensure!(
                !line.text("host.name")?.is_empty(),
                "host.name of {}",
                line.value
            );
            line.number("monotonic_ns")?;
            let seq = line.number("seq")?;
            ensure!(
                last.is_none_or(|last: u64| seq == last + 1),
                "seq {seq} came after {last:?}: {}",
                line.value
            );
            last = Some(seq);
        }
        Ok(())
    }

    /// Checks that the last word of the program counts nothing as lost.
    pub fn check_nothing_lost(&self) -> Result<()> {
        let last = self.kind("agent").0.pop().context("no agent event")?;
        for what in ["ring", "slots", "clock", "undecodable", "sink"] {
            let key = format!("agent.lost.{what}");
            ensure!(last.number(&key)? == 0, "{key} is not 0 in {}", last.value);
        }
        Ok(())
    }
}

/// `2025-01-31T23:59:59.123456789Z`: UTC with nanoseconds.
fn is_rfc3339(text: &str) -> bool {
    let shape = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    text.len() == shape.len()
        && text
            .bytes()
            .zip(shape.bytes())
            .all(|(byte, want)| match want {
                b'd' => byte.is_ascii_digit(),
                other => byte == other,
            })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(seq: u64) -> Line {
        let value = serde_json::json!({ "event": "agent", "schema_version": 1, "seq": seq,
            "time": "2025-01-31T23:59:59.123456789Z", "monotonic_ns": 1, "host.name": "h" });
        Line {
            value,
            arrived_ns: 2,
        }
    }

    #[test]
    fn a_gap_and_a_missing_key_are_found() {
        assert!(Events(vec![line(4), line(5)]).check_stream().is_ok());
        assert!(Events(vec![line(4), line(6)]).check_stream().is_err());
        let mut bad = line(5);
        bad.value["time"] = "2025-01-31 23:59:59Z".into();
        assert!(Events(vec![line(4), bad]).check_stream().is_err());
    }
}
