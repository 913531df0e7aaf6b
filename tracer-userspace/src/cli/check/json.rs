//! `check --json`: one object. Its keys are a contract; new ones may come, none goes.

use serde_json::{Value, json};

use super::Report;
use super::privileges::Standing;
use super::trial::Trial;
use crate::kernel::capabilities::Capabilities;
use crate::kernel::grants::{self, Use};

/// Version of the object's form.
const SCHEMA_VERSION: u32 = 1;

/// The report as one object.
pub fn object(report: &Report) -> Value {
    json!({
        "schema_version": SCHEMA_VERSION,
        "works": report.works(),
        "problems": report.problems.iter().map(|problem| json!({
            "what": problem.what,
            "remedy": problem.remedy,
        })).collect::<Vec<_>>(),
        "host": host(report),
        "privileges": privileges(report),
        "plan": plan(report),
        "cgroups": cgroups(report),
        "runtimes": report.sockets.iter().map(|(runtime, socket, found)| json!({
            "runtime": runtime,
            "socket": socket.to_string_lossy(),
            "found": found,
        })).collect::<Vec<_>>(),
        "memory": memory(report),
        "programs": programs(report),
        "warnings": report.trial.as_ref().map(Trial::warnings).unwrap_or_default(),
    })
}

fn host(report: &Report) -> Value {
    let host = &report.host;
    json!({
        "kernel_release": host.kernel_release,
        "possible_cpus": host.possible_cpus,
        "online_cpus": host.online_cpus,
        "page_size_bytes": host.page_size,
        "btf_bytes": host.btf_bytes,
        "lockdown": host.lockdown.name(),
        "fexit": host.functions.fexit,
        "kprobe": host.functions.kprobe.as_ref().map(Result::is_ok),
        "tracefs": host.tracefs.as_ref().map(|path| path.to_string_lossy()),
        "memlock_soft_bytes": host.memlock.soft,
        "memlock_hard_bytes": host.memlock.hard,
        "perf_event_paranoid": host.perf_event_paranoid,
        "unprivileged_bpf_disabled": host.unprivileged_bpf_disabled,
        "bpf_stats_enabled": host.bpf_stats_enabled,
        "initial_user_namespace": host.initial_user_namespace,
        "initial_pid_namespace": host.initial_pid_namespace,
    })
}

fn privileges(report: &Report) -> Value {
    let held = report.host.capabilities;
    let one = |standing: &Standing| {
        let missed = standing.is_missed(held);
        let alone = Capabilities::default().and(standing.capability.number);
        json!({
            "name": standing.capability.name,
            "held": standing.held,
            "required": standing.capability.required,
            "purpose": standing.capability.purpose,
            "needless_because": match standing.use_here {
                Use::Needless(why) => Some(why),
                Use::Required | Use::Wanted => None,
            },
            "kept_after_attaching": standing.kept,
            "remedy": missed.then(|| grants::remedy(&report.host, alone)),
        })
    };
    json!({
        "uid": report.host.uid,
        "sufficient": held.may_trace() && report.host.initial_user_namespace,
        "no_new_privs": report.host.no_new_privs,
        "capabilities": report.standings().iter().map(one).collect::<Vec<_>>(),
        "held_and_needless": report.needless().names(),
        "held_after_attaching": report.trial.as_ref()
            .and_then(|trial| trial.kept)
            .map(Capabilities::names),
    })
}

/// What loading each program took; empty where they were not loaded.
fn programs(report: &Report) -> Vec<Value> {
    let programs = report.trial.iter().flat_map(|trial| &trial.programs);
    programs
        .map(|program| {
            json!({
                "name": program.name,
                "verified_instructions": program.verified_instructions,
                "load_ns": program.load_ns,
            })
        })
        .collect()
}

/// The plan, or `null` where the kernel's BTF could not be read.
fn plan(report: &Report) -> Value {
    let Ok(plan) = &report.plan else {
        return Value::Null;
    };
    let summary = plan.summary();
    json!({
        "cgroup_hierarchy": summary.cgroup_hierarchy,
        "signals": summary.signals.iter().map(|signal| json!({
            "signal": signal.signal,
            "source": signal.source,
            "programs": signal.programs,
            "notes": signal.notes,
        })).collect::<Vec<_>>(),
    })
}

fn cgroups(report: &Report) -> Value {
    let layout = &report.host.cgroups;
    let slots = layout.slots().map(|slots| slots.id);
    layout
        .hierarchies
        .iter()
        .map(|hierarchy| {
            json!({
                "id": hierarchy.id,
                "version": hierarchy.version.name(),
                "controllers": hierarchy.controllers,
                "name": hierarchy.name,
                "slots": slots == Some(hierarchy.id),
                "mount": hierarchy.mount.as_ref().map(|mount| json!({
                    "path": mount.path.to_string_lossy(),
                    "root": mount.root.to_string_lossy(),
                    "whole": mount.whole,
                })),
            })
        })
        .collect()
}

fn memory(report: &Report) -> Value {
    json!({
        "max_cgroups": report.max_cgroups,
        "possible_cpus": report.host.possible_cpus,
        "total_bytes": report.bounds.total(),
        "maps": report.bounds.maps.iter().map(|map| json!({
            "name": map.name,
            "entries": map.entries,
            "bytes": map.bytes,
        })).collect::<Vec<_>>(),
    })
}
