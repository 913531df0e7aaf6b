//! Text from outside, made harmless: bounded in length, and nothing in it that steers a terminal.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

/// Longest text from outside in the output, in bytes: what PATH_MAX (`linux/limits.h`) allows.
pub const MAX_TEXT: usize = 4096;

/// Whether a character may steer a terminal or make text look like what it is not: control
/// characters (C0, DEL, C1), line and paragraph separators, the marks that turn the direction of
/// writing, the byte order mark and tag characters.
pub const fn is_hostile(c: char) -> bool {
    matches!(
        c,
        '\0'..='\x1f'
            | '\x7f'..='\u{9f}'
            | '\u{61c}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Splits text at the last character boundary at or below `max` bytes: what stays and how many
/// bytes go.
fn bound(text: &str, max: usize) -> (&str, usize) {
    let kept = &text[..text.floor_char_boundary(max)];
    (kept, text.len() - kept.len())
}

/// Text of at most [`MAX_TEXT`] bytes; of a longer one the start, then how many bytes are missing.
#[derive(Clone, Copy, Debug)]
pub struct Bounded<'a>(pub &'a str);

impl fmt::Display for Bounded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, cut) = bound(self.0, MAX_TEXT);
        f.write_str(kept)?;
        if cut > 0 {
            write!(f, "…[{cut} bytes more]")?;
        }
        Ok(())
    }
}

impl Serialize for Bounded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() <= MAX_TEXT {
            serializer.serialize_str(self.0)
        } else {
            serializer.collect_str(self)
        }
    }
}

/// Text for a terminal: bounded, and every hostile character shown as an escape (`\n`, `\x1b`,
/// `\u{202e}`).
#[derive(Clone, Copy, Debug)]
pub struct Visible<'a>(pub &'a str);

impl fmt::Display for Visible<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, cut) = bound(self.0, MAX_TEXT);
        let mut rest = kept;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_hostile(c)) {
            f.write_str(&rest[..at])?;
            match c {
                '\n' | '\r' | '\t' => write!(f, "{}", c.escape_default())?,
                '\0'..='\x7f' => write!(f, "\\x{:02x}", u32::from(c))?,
                _ => write!(f, "{}", c.escape_unicode())?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)?;
        if cut > 0 {
            write!(f, "…[{cut} bytes more]")?;
        }
        Ok(())
    }
}

/// A number of bytes as people read it: `512 MiB`, `1.5 GiB`, `640 B`.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        let mut text = Short::default();
        scaled(&mut text, self.0 as f64, 1024.0, &UNITS)?;
        f.pad(text.as_str())
    }
}

/// A duration in nanoseconds as people read it: `83.1 ms`, `2.04 s`, `640 ns`.
#[derive(Clone, Copy, Debug)]
pub struct Nanos(pub u64);

impl fmt::Display for Nanos {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 4] = ["ns", "µs", "ms", "s"];
        let mut text = Short::default();
        if self.0 >= 100_000_000_000 {
            let seconds = self.0 / 1_000_000_000;
            let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
            match hours {
                0 => write!(text, "{minutes} min {} s", seconds % 60)?,
                1..48 => write!(text, "{hours} h {minutes} min")?,
                _ => write!(text, "{} d {} h", hours / 24, hours % 24)?,
            }
        } else {
            scaled(&mut text, self.0 as f64, 1000.0, &UNITS)?;
        }
        f.pad(text.as_str())
    }
}

/// Three significant digits in the largest unit that leaves at least 1; whole numbers stay whole.
fn scaled(out: &mut Short, value: f64, step: f64, units: &[&str]) -> fmt::Result {
    let (mut value, mut unit) = (value, 0);
    // What would round up to a whole `step` belongs to the next unit.
    while value >= step - 0.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let name = units.get(unit).copied().unwrap_or_default();
    let decimals = if value.fract() == 0.0 || value >= 99.95 {
        0
    } else if value >= 9.995 {
        1
    } else {
        2
    };
    write!(out, "{value:.decimals$} {name}")
}

/// A short text without allocation, so that a formatted number can be padded.
#[derive(Default)]
struct Short {
    bytes: [u8; 32],
    len: usize,
}

impl Short {
    fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..self.len]).unwrap_or_default()
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_text_is_cut_at_a_character_and_says_so() {
        let text = "ä".repeat(3000);
        let bounded = Bounded(&text).to_string();
        assert_eq!(bounded, format!("{}…[1904 bytes more]", "ä".repeat(2048)));
        let odd = format!("x{text}");
        assert!(Bounded(&odd).to_string().ends_with("ä…[1906 bytes more]"));
    }

    #[test]
    fn escape_sequences_are_shown_and_not_sent() {
        assert_eq!(
            Visible("\x1b[2Jweb\n\u{9b}31m\u{202e}\x7f\0 ok \\x2d").to_string(),
            "\\x1b[2Jweb\\n\\u{9b}31m\\u{202e}\\x7f\\x00 ok \\x2d"
        );
    }

    #[test]
    fn units_are_those_of_people() {
        let bytes = [0, 640, 1023, 1024, 1536, 536_870_912, 521_142_272, u64::MAX];
        let shown: Vec<_> = bytes.iter().map(|&b| Bytes(b).to_string()).collect();
        assert_eq!(
            shown,
            [
                "0 B", "640 B", "1023 B", "1 KiB", "1.50 KiB", "512 MiB", "497 MiB", "16 EiB"
            ]
        );
        let times = [
            640,
            1_000,
            83_140_000,
            999_999,
            2_040_000_000,
            99_999_999_999,
            150_000_000_000,
            7_260_000_000_000,
            200_000_000_000_000,
        ];
        let shown: Vec<_> = times.iter().map(|&t| Nanos(t).to_string()).collect();
        assert_eq!(
            shown,
            [
                "640 ns",
                "1 µs",
                "83.1 ms",
                "1.00 ms",
                "2.04 s",
                "100 s",
                "2 min 30 s",
                "2 h 1 min",
                "2 d 7 h"
            ]
        );
        assert_eq!(
            format!("{:>9}|{:<9}|", Bytes(640), Nanos(5)),
            "    640 B|5 ns     |"
        );
    }

    proptest! {
        #[test]
        fn nothing_hostile_is_ever_visible(text in any::<String>()) {
            prop_assert!(!Visible(&text).to_string().chars().any(is_hostile));
        }

        #[test]
        fn any_number_has_a_short_form(value in any::<u64>()) {
            prop_assert!(Bytes(value).to_string().chars().count() <= 8);
            prop_assert!(Nanos(value).to_string().chars().count() <= 14);
        }
    }
}
