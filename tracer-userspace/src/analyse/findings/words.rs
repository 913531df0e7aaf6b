//! Numbers in the sentences of findings.

use std::fmt::Write;

use crate::model::identity::Identity;

/// A number of CPUs: `2`, `0.5`, `1.25`.
pub fn cpus(cpus: f64) -> String {
    let mut text = format!("{cpus:.2}");
    while text.contains('.') && (text.ends_with('0') || text.ends_with('.')) {
        text.pop();
    }
    text
}

/// The same with its unit: `1 CPU`, `0.5 CPUs`.
pub fn in_cpus(number: f64) -> String {
    let text = cpus(number);
    let unit = if text == "1" { "CPU" } else { "CPUs" };
    format!("{text} {unit}")
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

/// Milliseconds, with a digit behind the point below ten: `3.4 ms`, `100 ms`.
pub fn milliseconds(ns: u64) -> String {
    let ms = ns as f64 / 1e6;
    let digits = usize::from(ms < 9.95);
    format!("{ms:.digits$} ms")
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

/// What names a container in a command that is to be pasted into a shell: its name, or its id where
/// the name has anything that a shell or an option parser could take for its own. Names come from
/// outside.
pub struct Pasteable<'a>(pub Option<&'a str>);

impl<'a> Pasteable<'a> {
    /// Of whom.
    pub fn of(who: &'a Identity) -> Self {
        let names = [who.container_name.as_deref(), who.container_id.as_deref()];
        Self(names.into_iter().flatten().find(|name| is_plain(name)))
    }
}

/// Whether a word means only itself to a shell and to a program that takes options.
pub fn is_plain(word: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@:/-".contains(&byte);
    word.bytes().all(plain) && word.starts_with(|first: char| first.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_shell_would_act_on_is_not_pasted() {
        let mut who = Identity {
            container_name: Some("web-1.blue".to_owned()),
            container_id: Some("4f2a".to_owned()),
            ..Identity::default()
        };
        assert_eq!(Pasteable::of(&who).0, Some("web-1.blue"));
        for hostile in ["$(reboot)", "--help", "a b", "a;b", "a\nb", "", "é"] {
            who.container_name = Some(hostile.to_owned());
            assert_eq!(Pasteable::of(&who).0, Some("4f2a"), "{hostile:?}");
        }
        who.container_id = None;
        assert_eq!(Pasteable::of(&who).0, None);
    }

    #[test]
    fn numbers_are_short() {
        let times = [3_449_000, 9_949_999, 9_950_000, 100_000_000].map(milliseconds);
        assert_eq!(times, ["3.4 ms", "9.9 ms", "10 ms", "100 ms"]);
        assert_eq!([1.0, 0.5].map(in_cpus), ["1 CPU", "0.5 CPUs"]);
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
