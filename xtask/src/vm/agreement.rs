//! How far our figures are from their referees', as the tests tell it.

use std::{collections::BTreeMap, fmt::Write as _};

/// Begins a line in which a test tells a figure of ours, its referee's, and how far they are apart.
const MARK: &str = "AGREEMENT: ";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Figure {
    Kills,
    ThrottledTime,
    Periods,
    Frozen,
    Switches,
    Wait,
    CpuTime,
}

/// By words in a figure's name, the more special ones first.
const WORDS: [(&str, Figure); 7] = [
    ("OOM kills", Figure::Kills),
    ("frozen", Figure::Frozen),
    ("throttled periods", Figure::Periods),
    ("throttle", Figure::ThrottledTime),
    ("switches", Figure::Switches),
    ("run-queue wait", Figure::Wait),
    ("CPU time", Figure::CpuTime),
];

impl Figure {
    /// In the order of the matrix.
    pub const ALL: [Self; 7] = [
        Self::Kills,
        Self::ThrottledTime,
        Self::Periods,
        Self::Frozen,
        Self::Switches,
        Self::Wait,
        Self::CpuTime,
    ];

    pub const fn title(self) -> &'static str {
        match self {
            Self::Kills => "kills",
            Self::ThrottledTime => "throttled time",
            Self::Periods => "periods",
            Self::Frozen => "frozen time",
            Self::Switches => "switches",
            Self::Wait => "run-queue wait",
            Self::CpuTime => "CPU time",
        }
    }

    /// The signal that it belongs to, as the plan names it.
    pub const fn signal(self) -> &'static str {
        match self {
            Self::Kills => "oom_kill",
            Self::ThrottledTime | Self::Periods | Self::Frozen => "cpu_throttle",
            Self::Switches | Self::Wait | Self::CpuTime => "context_switch",
        }
    }

    /// Whether it is a number of things, which is compared as such and not in percent.
    const fn is_count(self) -> bool {
        matches!(self, Self::Kills | Self::Periods | Self::Switches)
    }
}

/// The comparison that was furthest off, of so many.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Worst {
    off: f64,
    comparisons: usize,
}

/// All comparisons of a pass.
#[derive(Debug, Default, PartialEq)]
pub struct Agreement(BTreeMap<Figure, Worst>);

impl Agreement {
    /// Takes what a line tells, if it tells any.
    pub fn line(&mut self, line: &str) {
        if let Some((figure, off)) = read(line) {
            let worst = self.0.entry(figure).or_default();
            if off.abs() >= worst.off.abs() {
                worst.off = off;
            }
            worst.comparisons += 1;
        }
    }

    /// As in `+0.001 % (7)`, or `equal (7)` for numbers; a dash where nothing was compared.
    pub fn cell(&self, figure: Figure) -> String {
        let Some(worst) = self.0.get(&figure) else {
            return "-".to_owned();
        };
        let mut cell = match (figure.is_count(), worst.off) {
            (true, 0.0) => "equal".to_owned(),
            (true, off) => format!("{off:+}"),
            (false, off) => format!("{off:+.3} %"),
        };
        let _ = write!(cell, " ({})", worst.comparisons);
        cell
    }
}

/// `AGREEMENT: figure | ours | referee's | percent`, maybe behind what the test runner wrote.
fn read(line: &str) -> Option<(Figure, f64)> {
    let (_, told) = line.split_once(MARK)?;
    let mut parts = told.split(" | ").map(str::trim);
    let name = parts.next()?;
    let mut number = || parts.next()?.parse::<f64>().ok();
    let (ours, referee, percent) = (number()?, number()?, number()?);
    let (_, figure) = WORDS.iter().find(|(words, _)| name.contains(words))?;
    let off = if figure.is_count() {
        ours - referee
    } else {
        percent
    };
    Some((*figure, off))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read() {
        let line = "test one ... AGREEMENT: sum of throttled intervals | 1010 | 1000 | +1.0000";
        assert_eq!(read(line), Some((Figure::ThrottledTime, 1.0)));
        assert_eq!(
            read("AGREEMENT: throttled periods | 99 | 100 | -1.0000"),
            Some((Figure::Periods, -1.0))
        );
        assert_eq!(read("AGREEMENT: nothing"), None);
    }

    #[test]
    fn the_worst_is_kept() {
        let mut agreement = Agreement::default();
        for line in [
            "AGREEMENT: CPU time | 99 | 100 | -1.0000",
            "AGREEMENT: CPU time and schedstat | 1001 | 1000 | +0.1000",
            "AGREEMENT: OOM kills | 4 | 4 | +0.0000",
            "AGREEMENT: throttled periods | 45 | 44 | +2.2727",
        ] {
            agreement.line(line);
        }
        assert_eq!(agreement.cell(Figure::CpuTime), "-1.000 % (2)");
        assert_eq!(agreement.cell(Figure::Kills), "equal (1)");
        assert_eq!(agreement.cell(Figure::Periods), "+1 (1)");
        assert_eq!(agreement.cell(Figure::Wait), "-");
    }
}
