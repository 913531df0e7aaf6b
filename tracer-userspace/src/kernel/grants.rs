//! Which capabilities are of use on this machine, and how a person gives them to the program.

use super::capabilities::{
    CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, CAP_SYSLOG, CAPABILITIES, Capabilities,
    Capability,
};
use super::host::HostFacts;
use super::kallsyms::SymbolAddress;
use super::plan::Plan;

/// Of what use a capability is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Nothing works without it.
    Required,
    /// Something is missing without it.
    Wanted,
    /// Holding it changes nothing, for this reason.
    Needless(&'static str),
}

/// The use of `capability` on `host` with `plan`, where there is one; `map_bytes` is the kernel
/// memory of the maps.
pub fn use_of(
    capability: &Capability,
    host: &HostFacts,
    plan: Option<&Plan>,
    map_bytes: u64,
) -> Use {
    match capability.number {
        _ if capability.required => Use::Required,
        CAP_SYS_ADMIN => Use::Needless("CAP_BPF and CAP_PERFMON are enough"),
        CAP_SYSLOG => match plan.map(|plan| &plan.per_cpu_offset) {
            Some(SymbolAddress::Absent) => Use::Needless("this kernel does not list the address"),
            Some(SymbolAddress::NotNeeded) => {
                Use::Needless("this kernel keeps such counts in one place")
            }
            _ => Use::Wanted,
        },
        CAP_SYS_RESOURCE => match plan {
            Some(plan) if !plan.memory_is_locked => {
                Use::Needless("this kernel does not count maps as locked memory")
            }
            _ if host.memlock.hard.is_none_or(|limit| limit >= map_bytes) => {
                Use::Needless("the limit of locked memory is high enough")
            }
            _ => Use::Wanted,
        },
        _ => Use::Wanted,
    }
}

/// How the running program comes by the capabilities `wanted`: a sentence with the commands.
pub fn remedy(host: &HostFacts, wanted: Capabilities) -> String {
    let names = wanted.names();
    if wanted.without(host.bounding) != Capabilities::default() {
        let bare = names.iter().map(|name| name.trim_start_matches("CAP_"));
        let adds: Vec<_> = bare.map(|name| format!("--cap-add {name}")).collect();
        return format!(
            "whoever started this process keeps them from it: give its container {} \
             (Kubernetes: securityContext.capabilities.add), or its systemd unit \
             CapabilityBoundingSet= and AmbientCapabilities= with {}",
            adds.join(" "),
            names.join(" ")
        );
    }
    if host.uid == 0 {
        return format!(
            "root may hold them, but they were taken from this process: start it without that, or \
             in a systemd unit with AmbientCapabilities={}",
            names.join(" ")
        );
    }
    if host.no_new_privs {
        return "this process may not get more rights (no_new_privs), so sudo and setcap do not \
                help: start it without (systemd: NoNewPrivileges=no; Docker: without \
                --security-opt no-new-privileges)"
            .to_owned();
    }
    format!(
        "run it with sudo, or give the program what it needs: {}",
        setcap(host, wanted)
    )
}

/// The command that gives the program's file what it holds already and `wanted`: the new set takes
/// the place of an old one.
fn setcap(host: &HostFacts, wanted: Capabilities) -> String {
    let set: Vec<_> = CAPABILITIES
        .iter()
        .filter(|it| {
            let held = host.capabilities.has(it.number) && it.number != CAP_SYS_ADMIN;
            it.required || held || wanted.has(it.number)
        })
        .map(|it| it.name.to_lowercase())
        .collect();
    let program = quoted(&host.program.to_string_lossy());
    format!("sudo setcap {}=ep {program}", set.join(","))
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// What is held and of use to nothing here, the stand-in for the required ones excepted where it
/// stands in.
pub fn needless(host: &HostFacts, plan: Option<&Plan>, map_bytes: u64) -> Capabilities {
    let held = host.capabilities;
    let mut useful = Capabilities::default();
    for it in &CAPABILITIES {
        if !matches!(use_of(it, host, plan, map_bytes), Use::Needless(_)) {
            useful = useful.and(it.number);
        }
    }
    if !(held.has(CAP_BPF) && held.has(CAP_PERFMON)) {
        useful = useful.and(CAP_SYS_ADMIN);
    }
    held.without(useful)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::capabilities::CAP_SYS_PTRACE;

    fn host() -> HostFacts {
        let mut host = HostFacts::read(None).unwrap();
        host.uid = 1_000;
        host.capabilities = Capabilities::default();
        host.bounding = Capabilities(u64::MAX);
        host.no_new_privs = false;
        host.program = "/opt/bin/limitscope".into();
        host
    }

    fn wanted(numbers: &[u32]) -> Capabilities {
        let none = Capabilities::default();
        numbers.iter().fold(none, |set, number| set.and(*number))
    }

    #[test]
    fn the_command_names_the_program_and_the_whole_set() {
        let mut host = host();
        let text = remedy(&host, wanted(&[CAP_BPF, CAP_PERFMON]));
        assert!(
            text.ends_with("sudo setcap cap_bpf,cap_perfmon=ep /opt/bin/limitscope"),
            "{text}"
        );
        host.capabilities = wanted(&[CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, CAP_SYS_ADMIN]);
        host.program = "/opt/it's here/limitscope".into();
        let text = remedy(&host, wanted(&[CAP_SYSLOG]));
        let command = "sudo setcap cap_bpf,cap_perfmon,cap_syslog,cap_sys_ptrace=ep \
                       '/opt/it'\\''s here/limitscope'";
        assert!(text.ends_with(command), "{text}");
    }

    #[test]
    fn a_command_that_cannot_help_is_not_given() {
        let mut host = host();
        host.no_new_privs = true;
        let text = remedy(&host, wanted(&[CAP_BPF]));
        assert!(text.contains("NoNewPrivileges=no") && !text.contains("sudo setcap"));
        host.bounding = wanted(&[CAP_SYSLOG]);
        let text = remedy(&host, wanted(&[CAP_BPF, CAP_PERFMON]));
        assert!(text.contains("--cap-add PERFMON --cap-add BPF"), "{text}");
        assert!(!text.contains("setcap"), "{text}");
        host.bounding = Capabilities(u64::MAX);
        host.uid = 0;
        let text = remedy(&host, wanted(&[CAP_BPF]));
        assert!(text.contains("AmbientCapabilities=CAP_BPF"), "{text}");
    }

    #[test]
    fn what_helps_nothing_is_named() {
        let mut host = host();
        host.capabilities = wanted(&[CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_PTRACE, 0]);
        let names = needless(&host, None, 1).names();
        assert_eq!(names, ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        host.capabilities = wanted(&[CAP_BPF, CAP_SYS_ADMIN, CAP_SYS_PTRACE]);
        assert_eq!(needless(&host, None, 1), Capabilities::default());
    }
}
