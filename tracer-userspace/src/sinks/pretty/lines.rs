//! The labelled lines of an event's block.

use std::fmt::Display;
use std::io::{self, Write};

use super::INDENT;
use super::style::Styles;

/// Columns of a label.
const LABEL: usize = 11;

/// Labelled lines of one block.
pub struct Lines<'a> {
    out: &'a mut Vec<u8>,
    styles: &'a Styles,
}

impl<'a> Lines<'a> {
    /// Lines that are appended to `out`.
    pub const fn new(out: &'a mut Vec<u8>, styles: &'a Styles) -> Self {
        Self { out, styles }
    }

    /// A line.
    pub fn line(&mut self, label: &str, text: &dyn Display) -> io::Result<()> {
        let dim = self.styles.dim;
        writeln!(
            self.out,
            "{:INDENT$}{dim}{label:<LABEL$}{dim:#}  {text}",
            ""
        )
    }
}
