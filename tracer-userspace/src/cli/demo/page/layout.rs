//! The form of the page: headlines, labelled lines, text broken between words.

use std::fmt::{self, Write as _};

use crate::sinks::pretty::Styles;

/// Columns of the page.
pub const WIDTH: usize = 92;
/// Columns before the text of a section.
pub const INDENT: usize = 3;
/// Columns of a label.
const LABEL: usize = 18;

/// The page while it is written.
pub struct Page {
    /// What is written so far.
    pub text: String,
    /// Colours.
    pub styles: Styles,
}

impl Page {
    /// An empty page.
    pub const fn new(styles: Styles) -> Self {
        Self {
            text: String::new(),
            styles,
        }
    }

    /// How a section begins.
    pub fn headline(&mut self, name: &str, what: &str, style: anstyle::Style) -> fmt::Result {
        let bold = self.styles.bold;
        writeln!(
            self.text,
            "\n{bold}{name}{bold:#}: {style}{what}{style:#}\n"
        )
    }

    /// Text, broken between words.
    pub fn paragraph(&mut self, indent: usize, text: &str) -> fmt::Result {
        self.wrapped(indent, indent, text)
    }

    /// A label and its text; further lines stand below the first.
    pub fn line(&mut self, label: &str, text: &str) -> fmt::Result {
        let dim = self.styles.dim;
        write!(self.text, "{:INDENT$}{dim}{label:<LABEL$}{dim:#}", "")?;
        self.wrapped(0, INDENT + LABEL, text)
    }

    /// Writes words from where the line is; `first` columns are put before them, `rest` before
    /// those of each further line.
    fn wrapped(&mut self, first: usize, rest: usize, text: &str) -> fmt::Result {
        write!(self.text, "{:first$}", "")?;
        // With a label before it, the line begins at the same column as the further ones.
        let mut column = rest;
        let mut at_start = true;
        for word in text.split(' ') {
            let columns = word.chars().count();
            if !at_start && column + 1 + columns > WIDTH {
                write!(self.text, "\n{:rest$}", "")?;
                column = rest;
                at_start = true;
            }
            if !at_start {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += columns;
            at_start = false;
        }
        self.text.push('\n');
        Ok(())
    }

    /// What to do about it.
    pub fn advice(&mut self, text: &str) -> fmt::Result {
        self.text.push('\n');
        let good = self.styles.good;
        write!(
            self.text,
            "{:INDENT$}{good}{:<LABEL$}{good:#}",
            "", "What to do"
        )?;
        self.wrapped(0, INDENT + LABEL, text)
    }

    /// Our figures beside the kernel's.
    pub fn comparison(
        &mut self,
        file: &str,
        rows: &[(&str, String, String, String)],
    ) -> fmt::Result {
        let dim = self.styles.dim;
        writeln!(
            self.text,
            "\n{:INDENT$}{dim}{:<LABEL$}{:>12}  {:>12}   {file}{dim:#}",
            "", "", "limitscope", "the kernel"
        )?;
        for (label, ours, kernels, difference) in rows {
            writeln!(
                self.text,
                "{:INDENT$}{dim}{label:<LABEL$}{dim:#}{ours:>12}  {kernels:>12}   {difference}",
                ""
            )?;
        }
        Ok(())
    }
}
