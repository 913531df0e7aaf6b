//! Plans for the running kernel and for kernels like it that lack something.

mod members;

use std::collections::BTreeMap;

use tracer_common::globals::{ABSENT, OFFSETS};

use super::*;
use crate::kernel::btf::SYSFS_PATH;
use crate::kernel::host::FunctionPrograms;

const ADDRESS: SymbolAddress = SymbolAddress::Known(0xffff_ffff_8123_4560);

/// The running kernel's BTF in which each of `names` is called something else: a kernel without.
fn kernel_without(names: &[&str]) -> Vec<u8> {
    let mut bytes = std::fs::read(SYSFS_PATH).unwrap();
    // The string section is the last one.
    let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    let mut at = word(4) + word(16);
    let mut found = Vec::new();
    for text in bytes[at..].split(|byte| *byte == 0) {
        if let Some(name) = names.iter().find(|name| name.as_bytes() == text) {
            found.push((at, *name));
        }
        at += text.len() + 1;
    }
    for name in names {
        assert!(
            found.iter().any(|(_, own)| own == name),
            "{name} is not there anyway"
        );
    }
    for (at, _) in found {
        bytes[at] = b'~';
    }
    bytes
}

fn options() -> PlanOptions {
    PlanOptions {
        signals: Signal::ALL.to_vec(),
        slots: 100,
        throttle_min_ns: 5,
        forced: Vec::new(),
    }
}

fn plan(without: &[&str], fexit: Option<bool>) -> Plan {
    plan_with(without, fexit, Some(Err("no kprobes".to_owned())), &[])
}

fn plan_with(
    without: &[&str],
    fexit: Option<bool>,
    kprobe: Option<Result<(), String>>,
    forced: &[&str],
) -> Plan {
    let mut host = HostFacts::read(None).unwrap();
    host.functions = FunctionPrograms { fexit, kprobe };
    let options = PlanOptions {
        forced: forced.iter().map(|text| text.parse().unwrap()).collect(),
        ..options()
    };
    let bytes = kernel_without(without);
    let btf = Btf::parse(&bytes).unwrap();
    let types = KernelTypes::resolve(&btf).unwrap();
    Plan::choose(&btf, &types, &host, &options, || ADDRESS).unwrap()
}

impl Plan {
    fn choice(&self, signal: Signal) -> &SignalChoice {
        let choice = &self.signals[signal as usize];
        assert_eq!(choice.signal, signal);
        choice
    }

    fn global(&self, name: &str) -> u32 {
        let values: Vec<_> = self
            .globals
            .iter()
            .filter(|(own, _)| *own == name)
            .collect();
        assert_eq!(values.len(), 1, "{name} is set {} times", values.len());
        values[0].1
    }
}

fn mentions(texts: &[String], what: &str) -> bool {
    texts.iter().any(|text| text.contains(what))
}

#[test]
fn everything_that_the_object_declares_is_set_once() {
    let source = include_str!("../../../../tracer-ebpf/src/globals.rs");
    let plan = plan(&[], Some(false));
    let mut declared = BTreeMap::new();
    for line in source.lines() {
        let Some((name, rest)) = line.trim().split_once(": u") else {
            continue;
        };
        let Some((width, _)) = rest.split_once(" = ") else {
            continue;
        };
        declared.insert(name, width);
    }
    assert!(declared.len() > 15, "the form of the declarations changed");
    for spec in OFFSETS {
        assert_eq!(declared.insert(spec.symbol, "32"), None, "{}", spec.symbol);
    }
    let mut set = BTreeMap::new();
    for (name, _) in &plan.globals {
        assert_eq!(set.insert(*name, "32"), None, "{name} is set twice");
    }
    for (name, _) in &plan.wide_globals {
        assert_eq!(set.insert(*name, "64"), None, "{name} is set twice");
    }
    assert_eq!(set, declared);
}

#[test]
fn without_fexit_ends_are_seen_at_timers_and_calls() {
    let plan = plan(&[], Some(false));
    let choice = plan.choice(Signal::CpuThrottle);
    assert_eq!(choice.source, Source::Tracepoint);
    assert_eq!(
        choice.programs,
        [
            "csd_function_entry",
            "csd_function_exit",
            "hrtimer_expire_entry",
            "hrtimer_expire_exit",
            "sched_switch"
        ]
    );
    assert!(mentions(
        &choice.notes,
        "CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS"
    ));
    assert_eq!(plan.global(globals::THROTTLE_BY_FUNCTION), 0);
    assert_eq!(plan.global(globals::MEASURE_THROTTLE), 1);
    assert_eq!(plan.lacking, Vec::<&str>::new());
}

#[test]
fn fexit_is_taken_where_function_and_kernel_allow_it() {
    let best = plan(&[], Some(true));
    let choice = best.choice(Signal::CpuThrottle);
    assert_eq!(choice.source, Source::Fexit);
    assert!(
        choice
            .programs
            .starts_with(&["unthrottle_entry", "unthrottle_exit"])
    );
    assert_eq!(choice.notes, Vec::<String>::new());
    assert_eq!(best.global(globals::THROTTLE_BY_FUNCTION), 1);

    for (without, fexit) in [
        (&["unthrottle_cfs_rq"][..], Some(true)),
        (&[], Some(false)),
        (&[], None),
    ] {
        let plan = plan(without, fexit);
        assert_eq!(plan.source(Signal::CpuThrottle), Source::Tracepoint);
        assert!(!plan.programs().contains(&"unthrottle_exit"));
    }
}

#[test]
fn what_is_missing_takes_away_only_what_needs_it() {
    let plan = plan(&["cfs_bandwidth"], Some(true));
    let choice = plan.choice(Signal::CpuThrottle);
    assert_eq!((choice.source, choice.programs.len()), (Source::None, 0));
    assert!(mentions(&choice.missing, "CONFIG_CFS_BANDWIDTH"));
    assert_eq!(plan.global(globals::MEASURE_THROTTLE), 0);
    for signal in [
        Signal::OomKill,
        Signal::ContextSwitch,
        Signal::CgroupLifecycle,
    ] {
        assert!(plan.source(signal).is_some(), "{signal:?}");
    }
    let summary = plan.summary();
    assert_eq!(summary.signals[1].source, "none");
    assert!(mentions(&summary.signals[1].notes, "cfs_bandwidth.quota"));
}

#[test]
fn tracepoints_that_are_missing_are_told() {
    let without = plan(&["btf_trace_csd_function_entry"], Some(false));
    let choice = without.choice(Signal::CpuThrottle);
    assert_eq!(choice.source, Source::Tracepoint);
    assert!(!choice.programs.contains(&"csd_function_exit"));
    assert!(mentions(&choice.notes, "next switch"));

    let without = plan(&["throttled_clock_self_time"], Some(false));
    let choice = without.choice(Signal::CpuThrottle);
    assert_eq!(choice.source, Source::Tracepoint);
    assert!(mentions(
        &choice.notes,
        "no cfs_rq.throttled_clock_self_time"
    ));

    let without = plan(&["pgtables_bytes"], Some(false));
    let choice = without.choice(Signal::OomKill);
    assert!(mentions(&choice.notes, "no mm_struct.pgtables_bytes"));

    let without = plan(&["btf_trace_mark_victim"], Some(false));
    assert_eq!(without.source(Signal::OomKill), Source::None);
    assert!(!without.programs().contains(&"signal_generate"));

    let without = plan(&["btf_trace_signal_generate"], Some(false));
    let choice = without.choice(Signal::OomKill);
    assert_eq!(choice.source, Source::Tracepoint);
    assert_eq!(without.global(globals::KILLS_ARE_SIGNALLED), 0);
    assert!(mentions(&choice.notes, "dying already"));

    let without = plan(&["btf_trace_signal_deliver"], Some(false));
    let choice = without.choice(Signal::OomKill);
    assert_eq!(choice.source, Source::Tracepoint);
    assert!(!choice.programs.contains(&"signal_deliver"));
    assert!(mentions(&choice.notes, "command line"));

    let without = plan(&["btf_trace_sched_switch"], Some(true));
    assert_eq!(without.source(Signal::ContextSwitch), Source::None);
    assert_eq!(without.source(Signal::OomKill), Source::Fentry);
    // The sums of the file need no program.
    let choice = without.choice(Signal::CpuThrottle);
    assert_eq!(choice.source, Source::CpuStat);
    assert!(choice.programs.is_empty());
    assert!(mentions(&choice.notes, "sched_switch"));
    assert_eq!(without.global(globals::MEASURE_THROTTLE), 0);

    // A tracepoint whose arguments are not those that the program reads is not used.
    let without = plan(&["cgroup"], Some(true));
    let choice = without.choice(Signal::CgroupLifecycle);
    assert_eq!(choice.source, Source::None);
    assert!(mentions(
        &choice.missing,
        "argument 0 of the tracepoint cgroup_mkdir"
    ));
}

#[test]
fn kernels_without_ring_buffers_are_told() {
    let plan = plan(&["BPF_MAP_TYPE_RINGBUF"], None);
    assert_eq!(plan.lacking, ["BPF ring buffers (Linux 5.8)"]);
}

#[test]
fn what_nobody_wants_is_off() {
    let host = HostFacts::read(None).unwrap();
    let options = PlanOptions {
        signals: vec![Signal::OomKill],
        ..options()
    };
    let plan = Plan::for_this_machine(&host, &options).unwrap();
    assert_eq!(plan.source(Signal::ContextSwitch), Source::Off);
    assert_eq!(
        plan.programs(),
        ["signal_generate", "mark_victim", "signal_deliver"]
    );
    assert_eq!(plan.global(globals::MEASURE_SWITCHES), 0);
    assert_eq!(plan.global(globals::SLOT_COUNT), 100);
    assert_eq!(plan.global(globals::CPUS), host.possible_cpus);
    assert!(plan.wide_globals.contains(&(globals::THROTTLE_MIN_NS, 5)));
}

#[test]
fn exact_sums_need_the_address_and_all_cpus() {
    let bytes = kernel_without(&[]);
    let btf = Btf::parse(&bytes).unwrap();
    let types = KernelTypes::resolve(&btf).unwrap();
    assert_eq!(types.get(globals::RSS_IS_PERCPU), Some(1));
    let mut host = HostFacts::read(None).unwrap();
    let mut choose = |cpus, address: SymbolAddress| {
        host.possible_cpus = cpus;
        Plan::choose(&btf, &types, &host, &options(), || address).unwrap()
    };
    let exact = choose(2, ADDRESS);
    assert!(
        exact
            .wide_globals
            .contains(&(globals::PER_CPU_OFFSET, ADDRESS.or_zero()))
    );
    assert!(!mentions(
        &exact.choice(Signal::OomKill).notes,
        "running count"
    ));
    for plan in [
        choose(2, SymbolAddress::Hidden),
        choose(MAX_CPUS + 1, ADDRESS),
    ] {
        assert!(plan.wide_globals.contains(&(globals::PER_CPU_OFFSET, 0)));
        assert!(mentions(
            &plan.choice(Signal::OomKill).notes,
            "running count"
        ));
    }
}

#[test]
fn the_programs_are_attached_once_and_cgroups_first() {
    let plan = plan(&[], Some(true));
    let programs = plan.programs();
    let mut unique = programs.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), programs.len());
    assert_eq!(programs[0], "cgroup_mkdir");
    assert!(
        !plan
            .globals
            .iter()
            .any(|(name, _)| *name == "TASK_PID" && plan.global(name) == ABSENT)
    );
}

#[test]
fn the_best_source_that_works_is_taken() {
    let by = |fexit, kprobe: Result<(), String>, without: &[&str]| {
        let plan = plan_with(without, Some(fexit), Some(kprobe), &[]);
        (
            plan.source(Signal::OomKill),
            plan.source(Signal::CpuThrottle),
        )
    };
    let no = || Err("no kprobes here".to_owned());
    assert_eq!(by(true, no(), &[]), (Source::Fentry, Source::Fexit));
    assert_eq!(by(false, Ok(()), &[]), (Source::Kprobe, Source::Kretprobe));
    assert_eq!(
        by(false, no(), &[]),
        (Source::Tracepoint, Source::Tracepoint)
    );
    let timers = &["btf_trace_hrtimer_expire_entry"];
    assert_eq!(
        by(false, no(), timers),
        (Source::Tracepoint, Source::CpuStat)
    );
    let functions = &["oom_kill_process", "unthrottle_cfs_rq"];
    assert_eq!(
        by(true, Ok(()), functions),
        (Source::Tracepoint, Source::Tracepoint)
    );
    let member = &["chosen_points"];
    assert_eq!(
        by(true, Ok(()), member),
        (Source::Tracepoint, Source::Fexit)
    );
}

#[test]
fn a_better_source_that_is_not_taken_is_told_with_the_reason() {
    let plan = plan_with(&[], Some(false), Some(Err("no kprobes here".into())), &[]);
    for signal in [Signal::OomKill, Signal::CpuThrottle] {
        let notes = &plan.choice(signal).notes;
        assert!(mentions(notes, "CONFIG_FUNCTION_TRACER"), "{notes:?}");
        assert!(mentions(notes, "probe: no kprobes here"), "{notes:?}");
    }
}

#[test]
fn a_forced_source_is_taken_or_refused() {
    let forced = ["throttle=cpu_stat", "oom=tracepoint"];
    let plan = plan_with(&[], Some(true), None, &forced);
    assert_eq!(plan.source(Signal::CpuThrottle), Source::CpuStat);
    assert_eq!(plan.source(Signal::OomKill), Source::Tracepoint);
    assert!(!plan.programs().contains(&"oom_kill_entry"));

    let no = Some(Err("no kprobes here".to_owned()));
    let plan = plan_with(&[], Some(true), no, &["throttle=kretprobe"]);
    let choice = plan.choice(Signal::CpuThrottle);
    assert_eq!((choice.source, choice.forced), (Source::None, true));
    assert_eq!(choice.missing, ["no kprobes here"]);
}
