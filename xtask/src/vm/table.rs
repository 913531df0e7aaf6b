//! Tables for the terminal and for Markdown; the first line is the heading.

use std::fmt::Write as _;

/// Lines of cells.
pub type Lines = Vec<Vec<String>>;

pub fn line<S: AsRef<str>>(words: impl IntoIterator<Item = S>) -> Vec<String> {
    words
        .into_iter()
        .map(|word| word.as_ref().to_owned())
        .collect()
}

/// Each column as wide as its widest cell.
pub fn aligned(lines: &Lines) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = (line.iter().zip(&widths))
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// A table of Markdown.
pub fn markdown(lines: &Lines) -> String {
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        let _ = writeln!(text, "| {} |", line.join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|{}", " --- |".repeat(line.len()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let lines = vec![line(["a", "long"]), line(["word", "b"])];
        assert_eq!(aligned(&lines), "a     long\nword  b\n");
        assert_eq!(
            markdown(&lines),
            "| a | long |\n| --- | --- |\n| word | b |\n"
        );
    }
}
