//! Tags of a log: `NAME/METRIC`, where every name gets one of its own.

use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use thiserror::Error;

use crate::model::stats::Metric;

/// What is percent-encoded besides everything that is not ASCII: what ends a tag or a line, what
/// readers of logs give a meaning, and the percent sign, so that no two names become one tag.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b',')
    .add(b'|')
    .add(b'"')
    .add(b'\'')
    .add(b'#')
    .add(b'%');

/// Why a tag is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum TagError {
    /// The part after the last slash is no metric.
    #[error("the tag does not end in a metric such as /run_queue_wait")]
    Metric,
    /// The name is no percent-encoded UTF-8.
    #[error("the tag's name is no percent-encoded UTF-8")]
    Name,
}

/// The tag of a container's metric.
pub fn encode_tag(name: &str, metric: Metric) -> String {
    format!("{}/{}", utf8_percent_encode(name, ENCODED), metric.name())
}

/// Container and metric of a tag.
pub fn decode_tag(tag: &str) -> Result<(String, Metric), TagError> {
    let (name, metric) = tag.rsplit_once('/').ok_or(TagError::Metric)?;
    let metric = Metric::ALL
        .into_iter()
        .find(|known| known.name() == metric)
        .ok_or(TagError::Metric)?;
    let name = percent_decode_str(name)
        .decode_utf8()
        .map_err(|_| TagError::Name)?;
    Ok((name.into_owned(), metric))
}
