//! A report of histograms: a table for people, JSON, or an HdrHistogram log.

mod file;
mod json;
mod table;
#[cfg(test)]
mod tests;

use std::path::Path;

use thiserror::Error;

use crate::analyse::report::Report;
use crate::sinks::hlog::{self, HlogError};

pub use file::{FileError, ReportFile};

/// The percentiles of a report: their name in the table, in JSON keys, and as a share.
const PERCENTILES: [(&str, &str, f64); 4] = [
    ("p50", "p50_ns", 0.5),
    ("p90", "p90_ns", 0.9),
    ("p99", "p99_ns", 0.99),
    ("p99.9", "p99_9_ns", 0.999),
];

/// Form of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// A table for people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// An HdrHistogram log (V2).
    Hlog,
}

impl Format {
    /// By a file's name: `.json`, `.hlog`, else a table.
    pub fn of_path(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("json") => Self::Json,
            Some("hlog") => Self::Hlog,
            _ => Self::Table,
        }
    }
}

/// Why a report cannot be put into its form.
#[derive(Debug, Error)]
pub enum RenderError {
    /// As JSON.
    #[error("the report cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// As a log.
    #[error(transparent)]
    Hlog(#[from] HlogError),
}

/// The report in one of its forms.
pub fn render(report: &Report, format: Format) -> Result<Vec<u8>, RenderError> {
    match format {
        Format::Table => Ok(table::render(report).into_bytes()),
        Format::Json => Ok(json::render(report)?),
        Format::Hlog => {
            let containers = report.by_name();
            let histograms = containers.iter().flat_map(|container| {
                container
                    .metrics()
                    .filter(|(_, metric)| !metric.histogram.is_empty())
                    .map(|(kind, metric)| (container.name.as_str(), kind, &metric.histogram))
            });
            Ok(hlog::whole_log(
                report.span().unwrap_or((0, 0)),
                histograms,
            )?)
        }
    }
}
