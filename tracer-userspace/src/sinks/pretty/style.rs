//! Colours, and whether there are any.

use std::ffi::OsStr;

use anstyle::{AnsiColor, Style};

/// The styles in use; a plain one writes nothing.
#[derive(Clone, Copy, Debug)]
pub struct Styles {
    /// What was killed.
    pub error: Style,
    /// What was slowed down.
    pub warning: Style,
    /// What began and ended.
    pub good: Style,
    /// Names.
    pub bold: Style,
    /// Times and labels.
    pub dim: Style,
}

impl Styles {
    /// No colours.
    pub const PLAIN: Self = Self {
        error: Style::new(),
        warning: Style::new(),
        good: Style::new(),
        bold: Style::new(),
        dim: Style::new(),
    };

    /// The terminal's own palette.
    pub const COLOURED: Self = Self {
        error: AnsiColor::Red.on_default().bold(),
        warning: AnsiColor::Yellow.on_default(),
        good: AnsiColor::Green.on_default(),
        bold: Style::new().bold(),
        dim: Style::new().dimmed(),
    };
}

/// Whether to colour: on a terminal that knows how, unless `NO_COLOR` (no-color.org) is set and
/// not empty.
pub fn wants_color(is_terminal: bool) -> bool {
    decide(
        is_terminal,
        std::env::var_os("NO_COLOR").as_deref(),
        std::env::var_os("TERM").as_deref(),
    )
}

fn decide(is_terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    is_terminal
        && no_color.is_none_or(OsStr::is_empty)
        && term.is_some_and(|term| !term.is_empty() && term != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_want_them() {
        let text = |text: &'static str| Some(OsStr::new(text));
        assert!(decide(true, None, text("xterm")));
        assert!(decide(true, text(""), text("xterm")));
        assert!(!decide(false, None, text("xterm")));
        assert!(!decide(true, text("1"), text("xterm")));
        assert!(!decide(true, None, text("dumb")));
        assert!(!decide(true, None, None));
    }
}
