//! Figures of several rounds, and tables of them for people and for documents.

use comfy_table::{CellAlignment, Table as Layout, presets};
use serde_json::{Value, json};

/// One figure, measured once a round.
#[derive(Clone, Debug, Default)]
pub struct Rounds(Vec<f64>);

impl Rounds {
    /// Takes the figure of a round.
    pub fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// All, in the order of the rounds.
    pub fn values(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// The value at `share` (0 to 1) of the sorted ones: the first that at least this share of them
    /// does not exceed.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(rank.saturating_sub(1)).copied()
    }

    /// The middle one; of an even number the mean of the two in the middle.
    pub fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let upper = sorted.get(sorted.len() / 2)?;
        let lower = sorted.get(sorted.len().saturating_sub(1) / 2)?;
        Some(f64::midpoint(*lower, *upper))
    }

    /// The smallest.
    pub fn min(&self) -> Option<f64> {
        self.0.iter().copied().min_by(f64::total_cmp)
    }

    /// The largest.
    pub fn max(&self) -> Option<f64> {
        self.0.iter().copied().max_by(f64::total_cmp)
    }

    /// `min / median / max` with this many decimals.
    pub fn shown(&self, decimals: usize) -> String {
        match (self.min(), self.median(), self.max()) {
            (Some(min), Some(median), Some(max)) => {
                format!("{min:.decimals$} / {median:.decimals$} / {max:.decimals$}")
            }
            _ => "-".to_owned(),
        }
    }

    /// All of it for programs; `null` where nothing was measured.
    pub fn json(&self) -> Value {
        if self.0.is_empty() {
            return Value::Null;
        }
        json!({ "min": self.min(), "median": self.median(), "max": self.max(), "rounds": self.0 })
    }
}

/// How [`Rounds::shown`] reads, for headings.
pub const SPREAD: &str = "min / median / max";

/// A table.
#[derive(Clone, Debug)]
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// One without rows.
    pub fn new<S: Into<String>>(heads: impl IntoIterator<Item = S>) -> Self {
        Self {
            heads: heads.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// As Markdown, which people can read in a terminal as well. Figures are on the right.
    pub fn markdown(&self) -> String {
        let mut layout = Layout::new();
        layout.load_preset(presets::ASCII_MARKDOWN);
        layout.set_header(&self.heads);
        layout.add_rows(&self.rows);
        for column in layout.column_iter_mut().skip(1) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        layout.to_string()
    }
}

/// What one measurement found.
#[derive(Clone, Debug)]
pub struct Section {
    /// Key in the JSON.
    pub key: &'static str,
    /// Heading.
    pub title: &'static str,
    /// What the figures are, a paragraph each.
    pub notes: Vec<String>,
    /// The figures for people.
    pub tables: Vec<Table>,
    /// The figures for programs.
    pub json: Value,
}

impl Section {
    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut text = format!("### {}\n", self.title);
        for table in &self.tables {
            text.push('\n');
            text.push_str(&table.markdown());
            text.push('\n');
        }
        for note in &self.notes {
            text.push('\n');
            text.push_str(note);
            text.push('\n');
        }
        text
    }
}

/// Bytes as MiB.
pub fn mib(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounds(values: &[f64]) -> Rounds {
        Rounds(values.to_vec())
    }

    #[test]
    fn the_middle_and_the_ends() {
        let odd = rounds(&[3.0, 1.0, 2.0]);
        assert_eq!(
            (odd.min(), odd.median(), odd.max()),
            (Some(1.0), Some(2.0), Some(3.0))
        );
        assert_eq!(rounds(&[4.0, 1.0]).median(), Some(2.5));
        assert_eq!(rounds(&[]).median(), None);
        assert_eq!(rounds(&[]).shown(1), "-");
        assert_eq!(odd.shown(1), "1.0 / 2.0 / 3.0");
    }

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let hundred = rounds(&(1..=100).map(f64::from).collect::<Vec<_>>());
        assert_eq!(hundred.quantile(0.99), Some(99.0));
        assert_eq!(hundred.quantile(0.5), Some(50.0));
        assert_eq!(hundred.quantile(1.0), Some(100.0));
        assert_eq!(rounds(&[7.0]).quantile(0.01), Some(7.0));
    }

    #[test]
    fn a_table_is_markdown() {
        let mut table = Table::new(["what", "ns"]);
        table.row(["empty", "25"]);
        let lines: Vec<String> = table.markdown().lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), 3);
        assert!(lines.iter().all(|line| line.starts_with('|')));
    }
}
