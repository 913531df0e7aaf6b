//! Chooses the source of each signal.

use tracer_common::globals::{ABSENT, Signal, plan as globals};

use super::PlanOptions;
use super::ladder::{self, Rung};
use super::needs::{
    CALLS, CGROUPS, MARK_VICTIM, SCHED_SWITCH, SIGNAL_DELIVER, SIGNAL_GENERATE, TIMERS, remedy,
};
use super::source::{SignalChoice, Source};
use crate::kernel::btf::{Btf, BtfError};
use crate::kernel::host::HostFacts;
use crate::kernel::kallsyms::SymbolAddress;
use crate::kernel::offsets::{KernelTypes, Missing};

/// Chooses for each signal, in the order of [`Signal::ALL`].
pub fn signals(
    btf: &Btf<'_>,
    types: &KernelTypes,
    host: &HostFacts,
    options: &PlanOptions,
    per_cpu_offset: &SymbolAddress,
) -> Result<Vec<SignalChoice>, BtfError> {
    let mut choices = Vec::with_capacity(Signal::ALL.len());
    for signal in Signal::ALL {
        let mut choice = SignalChoice {
            signal,
            source: Source::Tracepoint,
            forced: false,
            programs: Vec::new(),
            notes: Vec::new(),
            missing: types
                .missing_for(signal)
                .map(|missing| {
                    let how = remedy(missing.parent, missing.members);
                    format!("this kernel has no {missing} (needs {how})")
                })
                .collect(),
        };
        if !options.signals.contains(&signal) {
            choice.missing.clear();
            choice.source = Source::Off;
            choices.push(choice);
            continue;
        }
        let forced = options
            .forced
            .iter()
            .rfind(|forced| forced.signal == signal)
            .map(|forced| forced.source);
        choice.forced = forced.is_some();
        match signal {
            Signal::OomKill => {
                oom_kill(&mut choice, btf, types, host, forced, per_cpu_offset)?;
            }
            Signal::CpuThrottle => cpu_throttle(&mut choice, btf, types, host, forced)?,
            Signal::ContextSwitch => {
                choice.need(btf, &[SCHED_SWITCH])?;
                choice.attach(&[SCHED_SWITCH]);
            }
            Signal::CgroupLifecycle => cgroup_lifecycle(&mut choice, btf, host)?,
        }
        if !choice.missing.is_empty() {
            choice.source = Source::None;
            choice.programs.clear();
            choice.notes.clear();
        }
        choices.push(choice);
    }
    Ok(choices)
}

fn oom_kill(
    choice: &mut SignalChoice,
    btf: &Btf<'_>,
    types: &KernelTypes,
    host: &HostFacts,
    forced: Option<Source>,
    per_cpu_offset: &SymbolAddress,
) -> Result<(), BtfError> {
    choice.need(btf, &[MARK_VICTIM])?;
    let [fentry, kprobe] = ladder::oom_functions(btf, types, host)?;
    let tracepoint = Rung {
        source: Source::Tracepoint,
        problem: None,
    };
    ladder::climb(choice, forced, vec![fentry, kprobe, tracepoint]);
    match choice.source {
        Source::Fentry => choice.programs.push("oom_kill_entry"),
        Source::Kprobe => choice.programs.push("oom_kill_kprobe"),
        _ => choice.notes.push(
            "whose limit fired is judged from the cgroups' counts and usage; order, flags, badness \
             and cpusets of the allocation are not told"
                .to_owned(),
        ),
    }
    match SIGNAL_GENERATE.problem(btf)? {
        None => choice.attach(&[SIGNAL_GENERATE]),
        // The old mark_victim has only the pid; the signal has the task.
        Some(problem) if types.get(globals::MARK_VICTIM_HAS_TASK) != Some(1) => {
            choice.missing.push(problem);
        }
        Some(problem) => choice.notes.push(format!(
            "{problem}: processes that were dying already are reported as killed"
        )),
    }
    choice.attach(&[MARK_VICTIM]);
    let arguments = ["MM_ARG_START", "MM_ARG_END"];
    let unknown = arguments.iter().find(|name| types.get(name).is_none());
    let problem = match unknown {
        Some(symbol) => Some(format!("no {}", member(symbol))),
        None => SIGNAL_DELIVER.problem(btf)?,
    };
    match problem {
        None => choice.attach(&[SIGNAL_DELIVER]),
        Some(problem) => choice
            .notes
            .push(format!("a victim's command line is unknown: {problem}")),
    }
    if types.get(globals::RSS_IS_PERCPU) == Some(1) && per_cpu_offset.or_zero() == 0 {
        choice.notes.push(format!(
            "a victim's resident memory is the kernel's running count, not the exact sum over \
             CPUs: __per_cpu_offset is {per_cpu_offset}"
        ));
    }
    for (symbol, what) in [
        ("MM_PGTABLES_BYTES", "size of page tables"),
        ("TASK_REAL_PARENT", "parent"),
        ("TASK_START_BOOTTIME", "age"),
        ("TASK_CRED", "user"),
        ("CRED_UID", "user"),
    ] {
        if types.get(symbol).is_none() {
            choice.notes.push(format!(
                "a victim's {what} is unknown: no {}",
                member(symbol)
            ));
        }
    }
    if types.get(globals::MEMCG_OOM_EVENT).is_none() || types.get("MEMCG_EVENTS_LOCAL").is_none() {
        choice.notes.push(
            "whose limit fired is told by usage alone: this kernel does not count it per cgroup"
                .to_owned(),
        );
    }
    if host.cgroups.with_controller("memory").is_none() {
        choice.notes.push(
            "no cgroup hierarchy has the memory controller (is it off by cgroup_disable=memory?): \
             only the whole machine can run out"
                .to_owned(),
        );
    }
    Ok(())
}

fn cpu_throttle(
    choice: &mut SignalChoice,
    btf: &Btf<'_>,
    types: &KernelTypes,
    host: &HostFacts,
    forced: Option<Source>,
) -> Result<(), BtfError> {
    // What the programs lack; the file of the last resort does without all of it.
    choice.need(btf, &[SCHED_SWITCH])?;
    let programs = std::mem::take(&mut choice.missing);
    let programs = (!programs.is_empty()).then(|| programs.join("; "));
    let mut timers = None;
    for timer in TIMERS {
        timers = timers.or(timer.problem(btf)?);
    }
    let [fexit, kretprobe] = ladder::throttle_functions(btf, host, programs.as_ref())?;
    let tracepoint = Rung {
        source: Source::Tracepoint,
        problem: programs.or_else(|| timers.clone()),
    };
    let cpu_stat = Rung {
        source: Source::CpuStat,
        problem: cpu_stat_problem(types, host),
    };
    ladder::climb(choice, forced, vec![fexit, kretprobe, tracepoint, cpu_stat]);
    match choice.source {
        Source::Fexit => choice
            .programs
            .extend(["unthrottle_entry", "unthrottle_exit"]),
        Source::Kretprobe => choice
            .programs
            .extend(["unthrottle_kprobe", "unthrottle_kretprobe"]),
        Source::CpuStat => {
            choice.notes.push(
                "only the sums of cpu.stat: no intervals, no frozen time, nobody who is held up"
                    .to_owned(),
            );
            return Ok(());
        }
        _ => {
            remote_ends(choice, btf, types)?;
            if types.get("CFS_RQ_SELF_TIME").is_none() {
                choice.notes.push(format!(
                    "an interval that a change of the quota ends is told up to the next switch on \
                     its CPU, which is too long: no {}",
                    member("CFS_RQ_SELF_TIME")
                ));
            }
        }
    }
    match timers {
        None => choice.attach(&TIMERS),
        Some(problem) => choice
            .notes
            .push(format!("periods are not seen: {problem}")),
    }
    choice.attach(&[SCHED_SWITCH]);
    if host.cgroups.with_controller("cpu").is_none() {
        choice.notes.push(
            "no cgroup hierarchy has the cpu controller: nothing can be throttled".to_owned(),
        );
    }
    Ok(())
}

/// Why `cpu.stat` tells nothing of throttling; `None` where it does.
fn cpu_stat_problem(types: &KernelTypes, host: &HostFacts) -> Option<String> {
    if types.get("CFS_B_NR_THROTTLED").is_none() {
        return Some("this kernel has no CPU quotas (CONFIG_CFS_BANDWIDTH=y)".to_owned());
    }
    match host.cgroups.with_controller("cpu") {
        None => Some("no cgroup hierarchy has the cpu controller".to_owned()),
        Some(cpu) if cpu.mount.is_none() => Some(
            "no mount of the cgroup hierarchy with the cpu controller is visible (mount it, or \
             name its place with --cgroup-root)"
                .to_owned(),
        ),
        Some(_) => None,
    }
}

/// The kernel's name of what a global stands for.
fn member(symbol: &str) -> String {
    Missing::of(symbol).map_or_else(|| symbol.to_owned(), |member| member.to_string())
}

/// Kernels in which a bandwidth timer asks the other CPUs to unthrottle their own run queues.
fn remote_ends(
    choice: &mut SignalChoice,
    btf: &Btf<'_>,
    types: &KernelTypes,
) -> Result<(), BtfError> {
    if types.get("RQ_CFSB_CSD").is_none() {
        return Ok(());
    }
    let mut calls = None;
    for call in CALLS {
        calls = calls.or(call.problem(btf)?);
    }
    for symbol in ["RQ_CFSB_CSD_LIST", "CFS_RQ_CSD_LIST", "CSD_FUNC"] {
        let absent = types
            .globals
            .iter()
            .any(|(name, value)| *name == symbol && *value == ABSENT);
        if absent && calls.is_none() {
            calls = Some(format!("this kernel has no {}", member(symbol)));
        }
    }
    match calls {
        None => choice.attach(&CALLS),
        Some(problem) => choice.notes.push(format!(
            "an interval that ends on another CPU than the timer's is seen only at that CPU's \
             next switch: {problem}"
        )),
    }
    Ok(())
}

fn cgroup_lifecycle(
    choice: &mut SignalChoice,
    btf: &Btf<'_>,
    host: &HostFacts,
) -> Result<(), BtfError> {
    choice.need(btf, &CGROUPS)?;
    choice.attach(&CGROUPS);
    let Some(slots) = host.cgroups.slots() else {
        choice.missing.push(
            "no cgroup hierarchy is in use (mount one: mount -t cgroup2 none /sys/fs/cgroup)"
                .to_owned(),
        );
        return Ok(());
    };
    match &slots.mount {
        None => choice.notes.push(format!(
            "no mount of the cgroup hierarchy {} is visible: cgroups that exist already have no \
             names (mount it, or name its place with --cgroup-root)",
            slots.label()
        )),
        Some(mount) if !mount.whole => choice.notes.push(format!(
            "{} shows only a part of the cgroup hierarchy {}: cgroups outside of it that exist \
             already have no names (mount the host's /sys/fs/cgroup, or use the host's cgroup \
             namespace)",
            mount.path.display(),
            slots.label()
        )),
        Some(_) => {}
    }
    Ok(())
}
