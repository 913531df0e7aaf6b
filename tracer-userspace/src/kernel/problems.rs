//! Reasons for which nothing can be traced, found before anything is loaded.

use tracer_common::globals::Signal;

use super::btf::BtfError;
use super::capabilities::{CAP_SYS_RESOURCE, Capability};
use super::host::{HostFacts, Lockdown};
use super::plan::{Plan, Source};

/// Why `run` cannot work, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong.
    pub what: String,
    /// What a person can do.
    pub remedy: String,
}

impl Problem {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            remedy: remedy.into(),
        }
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n  {}", self.what, self.remedy)
    }
}

/// Every reason for which tracing with `plan` cannot start on `host`; `map_bytes` is the kernel
/// memory of the maps.
pub fn fatal(host: &HostFacts, plan: Result<&Plan, &BtfError>, map_bytes: u64) -> Vec<Problem> {
    let mut problems = privileges(host);
    if host.lockdown == Lockdown::Confidentiality {
        problems.push(Problem::new(
            "the kernel is locked down to confidentiality: BPF programs may not read its memory",
            "boot with lockdown=integrity or lockdown=none (Secure Boot may have to be switched \
             off)",
        ));
    }
    match plan {
        Ok(plan) => {
            problems.extend(too_old(plan));
            problems.extend(memlock(host, plan, map_bytes));
            problems.extend(nothing_to_measure(plan));
            problems.extend(forced(plan));
        }
        Err(BtfError::Read { .. }) if host.btf_bytes.is_none() => problems.push(Problem::new(
            "this kernel does not describe its types: there is no /sys/kernel/btf/vmlinux",
            "use a kernel with CONFIG_DEBUG_INFO_BTF=y, as those of all large distributions are \
             (since Debian 11, Ubuntu 20.10, Fedora 31, RHEL 8.2); in a container, mount the \
             host's /sys",
        )),
        Err(error @ BtfError::Read { .. }) => problems.push(Problem::new(
            error.to_string(),
            "let this user read /sys/kernel/btf/vmlinux",
        )),
        Err(error) => problems.push(Problem::new(
            error.to_string(),
            "please report it, with the kernel's release and its distribution",
        )),
    }
    problems
}

fn privileges(host: &HostFacts) -> Vec<Problem> {
    let missing = host.capabilities.missing();
    if !missing.is_empty() {
        let list = missing
            .iter()
            .map(|Capability { name, purpose, .. }| format!("{name} ({purpose})"))
            .collect::<Vec<_>>()
            .join(" and ");
        let who = match host.uid {
            0 => "root without all capabilities, as in a container".to_owned(),
            uid => format!("user {uid}"),
        };
        let remedy = if host.uid == 0 {
            "give the container --cap-add BPF --cap-add PERFMON, or --privileged"
        } else {
            "run it with sudo, or give the program what it needs: sudo setcap \
             cap_bpf,cap_perfmon=ep FILE"
        };
        return vec![Problem::new(
            format!("missing capabilities: {list}. This process is {who}"),
            remedy,
        )];
    }
    if !host.initial_user_namespace {
        return vec![Problem::new(
            "this process is in a user namespace of its own, where capabilities do not allow BPF",
            "run it outside of it; in a container, without user namespaces (--userns=host)",
        )];
    }
    Vec::new()
}

fn too_old(plan: &Plan) -> Option<Problem> {
    (!plan.lacking.is_empty()).then(|| {
        Problem::new(
            format!(
                "this kernel is too old: it has no {}",
                plan.lacking.join(", no ")
            ),
            "use Linux 5.10 or later",
        )
    })
}

fn memlock(host: &HostFacts, plan: &Plan, map_bytes: u64) -> Option<Problem> {
    if !plan.memory_is_locked || host.capabilities.has(CAP_SYS_RESOURCE) {
        return None;
    }
    let limit = host.memlock.hard.filter(|limit| *limit < map_bytes)?;
    Some(Problem::new(
        format!(
            "this kernel counts BPF maps as locked memory: they take {map_bytes} bytes, and the \
             limit is {limit}"
        ),
        "raise it (ulimit -l unlimited; LimitMEMLOCK=infinity in a systemd unit), or add \
         CAP_SYS_RESOURCE",
    ))
}

/// Signals whose source was forced and cannot be used.
fn forced(plan: &Plan) -> Vec<Problem> {
    plan.signals
        .iter()
        .filter(|choice| choice.forced && choice.source == Source::None)
        .map(|choice| {
            Problem::new(
                format!(
                    "the source of {} that --force-source asks for cannot be used here: {}",
                    choice.signal.name(),
                    choice.missing.join("; ")
                ),
                "leave --force-source away: limitscope check shows the best source that there is",
            )
        })
        .collect()
}

fn nothing_to_measure(plan: &Plan) -> Option<Problem> {
    let wanted = || {
        plan.signals
            .iter()
            .filter(|choice| choice.source != Source::Off)
            .filter(|choice| choice.signal != Signal::CgroupLifecycle)
    };
    if wanted().any(|choice| choice.source.is_some()) {
        return None;
    }
    let mut reasons: Vec<_> = wanted()
        .flat_map(|choice| choice.missing.iter().map(String::as_str))
        .collect();
    if reasons.is_empty() {
        // Only the lives of cgroups are wanted, or nothing.
        return None;
    }
    reasons.sort_unstable();
    reasons.dedup();
    Some(Problem::new(
        format!("nothing can be measured here: {}", reasons.join("; ")),
        "use a kernel that is built with what is named",
    ))
}
