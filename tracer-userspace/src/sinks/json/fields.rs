//! The keys and values of one line, and how their text is escaped.

use std::io;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::ser::Formatter;

use crate::sinks::text::{Bounded, is_hostile};

/// The object of one line while it is written.
pub struct Fields<M>(pub M);

impl<M: SerializeMap> Fields<M> {
    /// A fact that is known.
    pub fn put<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), M::Error> {
        self.0.serialize_entry(key, value)
    }

    /// A fact that may be unknown.
    pub fn maybe<T: Serialize>(&mut self, key: &str, value: Option<T>) -> Result<(), M::Error> {
        value.map_or(Ok(()), |value| self.put(key, &value))
    }

    /// Text from outside.
    pub fn text(&mut self, key: &str, value: &str) -> Result<(), M::Error> {
        self.put(key, &Bounded(value))
    }

    /// Text from outside that may be unknown.
    pub fn maybe_text(&mut self, key: &str, value: Option<&str>) -> Result<(), M::Error> {
        self.maybe(key, value.map(Bounded))
    }

    /// A ratio or rate; left out where it is no number.
    pub fn float(&mut self, key: &str, value: f64) -> Result<(), M::Error> {
        self.maybe(key, Some(value).filter(|value| value.is_finite()))
    }
}

/// A UTC time by RFC 3339 with nine decimals of a second.
pub struct Time(pub Timestamp);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{:.9}", self.0))
    }
}

/// Compact JSON in which also those characters are escaped that JSON allows but a terminal obeys.
#[derive(Clone, Copy, Debug)]
pub struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + io::Write,
    {
        // Nearly all text is printable ASCII, and quotes, backslashes and C0 never get here.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|&(_, c)| is_hostile(c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}
