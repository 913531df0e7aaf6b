//! Numbers in the sentences of findings.

use std::fmt::Write;

/// A number of CPUs: `2`, `0.5`, `1.25`.
pub fn cpus(cpus: f64) -> String {
    let mut text = format!("{cpus:.2}");
    while text.contains('.') && (text.ends_with('0') || text.ends_with('.')) {
        text.pop();
    }
    text
}

/// A share: `37 %`.
pub fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Bytes in whole MiB, or KiB below one.
pub fn bytes(bytes: u64) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else {
        format!("{} KiB", bytes >> 10)
    }
}

/// A rate in MiB or KiB a second, or a minute where it is small.
pub fn rate(bytes_per_second: f64) -> String {
    let (mut value, mut unit) = (bytes_per_second / 1024.0, "KiB/s");
    if value >= 1024.0 {
        (value, unit) = (value / 1024.0, "MiB/s");
    } else if value < 1.0 {
        (value, unit) = (value * 60.0, "KiB/min");
    }
    format!("{value:.1} {unit}")
}

/// A time to come: `4 min 10 s`, `2 h 5 min`.
pub fn seconds(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let mut text = String::new();
    let parts = [
        (whole / 3600, "h"),
        (whole / 60 % 60, "min"),
        (whole % 60, "s"),
    ];
    let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(2);
    for (count, unit) in &parts[first..(first + 2).min(3)] {
        if *count > 0 || text.is_empty() {
            // Writing to a string does not fail.
            let _ = write!(
                text,
                "{}{count} {unit}",
                if text.is_empty() { "" } else { " " }
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        assert_eq!(
            [cpus(2.0), cpus(0.5), cpus(1.25), cpus(10.0)],
            ["2", "0.5", "1.25", "10"]
        );
        assert_eq!(
            [seconds(250.0), seconds(7500.0), seconds(0.2)],
            ["4 min 10 s", "2 h 5 min", "0 s"]
        );
        assert_eq!(
            [rate(1_048_576.0), rate(2048.0), rate(512.0)],
            ["1.0 MiB/s", "2.0 KiB/s", "30.0 KiB/min"]
        );
    }
}
