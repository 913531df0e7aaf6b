//! `--force-source`: one source of a signal, whatever else the kernel offers. For comparing
//! sources, and for kernels whose best one misbehaves.

use std::str::FromStr;

use tracer_common::globals::Signal;

use super::source::Source;

/// A signal that has more than one source, its short name, and they from the best to the last
/// resort.
const LADDERS: [(Signal, &str, &[Source]); 2] = [
    (
        Signal::OomKill,
        "oom",
        &[Source::Fentry, Source::Kprobe, Source::Tracepoint],
    ),
    (
        Signal::CpuThrottle,
        "throttle",
        &[
            Source::Fexit,
            Source::Kretprobe,
            Source::Tracepoint,
            Source::CpuStat,
        ],
    ),
];

/// `SIGNAL=SOURCE`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForcedSource {
    /// The signal.
    pub signal: Signal,
    /// Its source.
    pub source: Source,
}

impl FromStr for ForcedSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (signal, source) = text.split_once('=').unwrap_or((text, ""));
        let ladder = LADDERS
            .iter()
            .find(|(own, short, _)| *short == signal || own.name() == signal);
        let Some((signal, _, sources)) = ladder else {
            return Err(format!("there are {}", all()));
        };
        match sources.iter().find(|own| own.name() == source) {
            Some(source) => Ok(Self {
                signal: *signal,
                source: *source,
            }),
            None => Err(format!("there are {}", all())),
        }
    }
}

/// Everything that can be forced.
fn all() -> String {
    let one = |(_, short, sources): &(Signal, &str, &[Source])| {
        let names: Vec<&str> = sources.iter().map(|source| source.name()).collect();
        format!("{short}={}", names.join("|"))
    };
    LADDERS.iter().map(one).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_goes_by_both_names() {
        let wanted = ForcedSource {
            signal: Signal::CpuThrottle,
            source: Source::Kretprobe,
        };
        assert_eq!("throttle=kretprobe".parse(), Ok(wanted));
        assert_eq!("cpu_throttle=kretprobe".parse(), Ok(wanted));
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        for text in [
            "throttle",
            "throttle=fentry",
            "oom=cpu_stat",
            "switch=x",
            "",
        ] {
            let error = text.parse::<ForcedSource>().unwrap_err();
            assert_eq!(
                error,
                "there are oom=fentry|kprobe|tracepoint and \
                 throttle=fexit|kretprobe|tracepoint|cpu_stat"
            );
        }
    }
}
