//! Sources of a signal from the best to the last resort, and which of them is taken.

use super::needs::{CONTROL_MEMBERS, OOM_KILL_PROCESS, UNTHROTTLE, function_problem};
use super::source::{SignalChoice, Source};
use crate::kernel::btf::{Btf, BtfError};
use crate::kernel::host::HostFacts;
use crate::kernel::offsets::KernelTypes;

/// A source, and why it cannot be used here; `None` where it can.
pub struct Rung {
    pub source: Source,
    pub problem: Option<String>,
}

/// Takes the first of `rungs` that can be used, or the one that is forced, and says why not a
/// better one.
pub fn climb(choice: &mut SignalChoice, forced: Option<Source>, rungs: Vec<Rung>) {
    if let Some(forced) = forced {
        choice.source = forced;
        match rungs.into_iter().find(|rung| rung.source == forced) {
            Some(Rung { problem: None, .. }) => choice
                .notes
                .push(format!("{} is forced by --force-source", forced.name())),
            Some(Rung {
                problem: Some(problem),
                ..
            }) => choice.missing.push(problem),
            None => choice.missing.push(format!(
                "{} is no source of {}",
                forced.name(),
                choice.signal.name()
            )),
        }
        return;
    }
    let mut refused = Vec::new();
    for rung in rungs {
        match rung.problem {
            None => {
                choice.source = rung.source;
                choice.notes.append(&mut refused);
                return;
            }
            // The same reason can hold for several.
            Some(problem) => {
                let what = format!("not by {}: {problem}", rung.source.name());
                if !refused.contains(&what) {
                    refused.push(what);
                }
            }
        }
    }
    choice.missing.append(&mut refused);
}

/// What keeps programs from the entry of `oom_kill_process`, by fentry and by kprobe.
pub fn oom_functions(
    btf: &Btf<'_>,
    types: &KernelTypes,
    host: &HostFacts,
) -> Result<[Rung; 2], BtfError> {
    let mut problem = function_problem(btf, OOM_KILL_PROCESS, "oom_control")?;
    for symbol in CONTROL_MEMBERS {
        if problem.is_none() && types.get(symbol).is_none() {
            problem = Some(format!("this kernel has no {symbol}"));
        }
    }
    Ok([
        Rung {
            source: Source::Fentry,
            problem: problem.clone().or_else(|| fexit_problem(host)),
        },
        Rung {
            source: Source::Kprobe,
            problem: problem.or_else(|| kprobe_problem(host)),
        },
    ])
}

/// What keeps programs from the exit of `unthrottle_cfs_rq`, by fexit and by kretprobe.
/// `common` is what everything but the last resort lacks.
pub fn throttle_functions(
    btf: &Btf<'_>,
    host: &HostFacts,
    common: Option<&String>,
) -> Result<[Rung; 2], BtfError> {
    let problem = match common {
        Some(common) => Some(common.clone()),
        None => function_problem(btf, UNTHROTTLE, "cfs_rq")?,
    };
    Ok([
        Rung {
            source: Source::Fexit,
            problem: problem.clone().or_else(|| fexit_problem(host)),
        },
        Rung {
            source: Source::Kretprobe,
            problem: problem.or_else(|| kprobe_problem(host)),
        },
    ])
}

fn fexit_problem(host: &HostFacts) -> Option<String> {
    match host.functions.fexit {
        Some(true) => None,
        Some(false) => Some(
            "this kernel does not attach programs to functions (needs CONFIG_FUNCTION_TRACER=y \
             and CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS=y)"
                .to_owned(),
        ),
        None => Some("it was not tried".to_owned()),
    }
}

fn kprobe_problem(host: &HostFacts) -> Option<String> {
    match &host.functions.kprobe {
        Some(Ok(())) => None,
        Some(Err(why)) => Some(why.clone()),
        None => Some("it was not tried".to_owned()),
    }
}
