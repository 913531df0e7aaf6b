//! Reasons for which nothing can be traced, found before anything is loaded.

use std::io;

use tracer_common::globals::Signal;

use super::btf::BtfError;
use super::capabilities::{CAP_SYS_RESOURCE, Capabilities, Capability};
use super::grants;
use super::host::{HostFacts, Lockdown};
use super::loader::LoadError;
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
    /// With both texts.
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
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
        let none = Capabilities::default();
        let wanted = missing.iter().fold(none, |set, it| set.and(it.number));
        return vec![Problem::new(
            format!("missing capabilities: {list}. This process is {who}"),
            grants::remedy(host, wanted),
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

/// A refusal of the kernel that nothing announced, with the likely reason and the end of the
/// verifier's log.
pub fn refused(error: &LoadError) -> Problem {
    let what = error.to_string();
    let lines: Vec<&str> = what.lines().collect();
    let tail = lines
        .len()
        .saturating_sub(LOG_LINES)
        .max(1)
        .min(lines.len());
    let mut short = lines.first().copied().unwrap_or_default().to_owned();
    for line in &lines[tail..] {
        short.push('\n');
        short.push_str(line);
    }
    Problem::new(short, likely_reason(errno(error), &what))
}

/// Lines at the end of the verifier's log that say what it did not like.
const LOG_LINES: usize = 12;

fn likely_reason(code: Option<i32>, text: &str) -> &'static str {
    if [
        "unknown func bpf_probe_read",
        "cannot use helper bpf_probe_read",
    ]
    .iter()
    .any(|words| text.contains(words))
    {
        return "the kernel is locked down to confidentiality, where BPF programs may not read its \
                memory: boot with lockdown=integrity or lockdown=none";
    }
    match code {
        Some(libc::EPERM | libc::EACCES) => {
            "the kernel forbids it although the capabilities are there: a security module (the \
             audit log names it), a seccomp filter (in a container), or before Linux 5.11 the \
             limit of locked memory (ulimit -l unlimited)"
        }
        Some(libc::ENOMEM) => "there is not enough kernel memory: take fewer with --max-cgroups",
        _ => "please report it, with the kernel's release and its distribution",
    }
}

/// The system's error at the bottom of another.
fn errno(error: &LoadError) -> Option<i32> {
    let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(code) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error)
        {
            return Some(code);
        }
        next = error.source();
    }
    None
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

#[cfg(test)]
mod tests {
    use aya::programs::ProgramError;

    use super::*;

    fn refusal(code: i32, text: &str) -> LoadError {
        let error = aya::sys::SyscallError {
            call: "bpf_prog_load",
            io_error: io::Error::from_raw_os_error(code),
        };
        LoadError::Load {
            name: format!("sched_switch{text}"),
            source: Box::new(ProgramError::SyscallError(error)),
        }
    }

    #[test]
    fn a_refusal_has_its_likely_reason() {
        for (code, log, reason) in [
            (libc::EPERM, "", "security module"),
            (libc::ENOMEM, "", "--max-cgroups"),
            (libc::E2BIG, "too many", "report"),
            (
                libc::EINVAL,
                "unknown func bpf_probe_read_kernel#113",
                "lockdown",
            ),
        ] {
            let Problem { what, remedy } = refused(&refusal(code, log));
            assert!(
                what.contains("sched_switch") && what.contains(log),
                "{what}"
            );
            assert!(remedy.contains(reason), "{remedy}");
        }
    }

    #[test]
    fn a_long_log_is_told_by_its_end() {
        let lines: Vec<_> = (0..5_000).map(|line| format!("\n{line}: r0 = 0")).collect();
        let log = lines.concat();
        let Problem { what, .. } = refused(&refusal(libc::EACCES, &log));
        assert_eq!(what.lines().count(), 1 + LOG_LINES);
        assert!(what.contains("sched_switch") && what.contains("\n4999: r0 = 0"));
        assert!(!what.contains("\n4900:"));
    }
}
