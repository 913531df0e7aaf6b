//! Capabilities of this process, and what limitscope needs which for.

use rustix::thread::CapabilitySet;

/// A set of capabilities (`linux/capability.h`), as `/proc/self/status` shows it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities(pub u64);

/// One capability that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capability {
    /// Its number.
    pub number: u32,
    /// Its name.
    pub name: &'static str,
    /// What limitscope needs it for.
    pub purpose: &'static str,
    /// Whether nothing works without it ([`Capabilities::may_trace`]).
    pub required: bool,
}

/// Using any file, socket and folder.
pub const CAP_DAC_OVERRIDE: u32 = 1;
/// Reading any file.
pub const CAP_DAC_READ_SEARCH: u32 = 2;
/// Replacing other users' files in folders with the sticky bit.
pub const CAP_FOWNER: u32 = 3;
/// Looking at other users' processes.
pub const CAP_SYS_PTRACE: u32 = 19;
/// Everything that has no capability of its own, BPF included.
pub const CAP_SYS_ADMIN: u32 = 21;
/// Going beyond resource limits.
pub const CAP_SYS_RESOURCE: u32 = 24;
/// Addresses in `/proc/kallsyms`.
pub const CAP_SYSLOG: u32 = 34;
/// Tracing programs that read kernel memory.
pub const CAP_PERFMON: u32 = 38;
/// Maps and programs.
pub const CAP_BPF: u32 = 39;

/// The capabilities that matter here, the needed ones first.
pub const CAPABILITIES: [Capability; 7] = [
    Capability {
        number: CAP_BPF,
        name: "CAP_BPF",
        purpose: "to make maps and load programs",
        required: true,
    },
    Capability {
        number: CAP_PERFMON,
        name: "CAP_PERFMON",
        purpose: "to attach programs that read kernel memory",
        required: true,
    },
    Capability {
        number: CAP_SYS_ADMIN,
        name: "CAP_SYS_ADMIN",
        purpose: "does for CAP_BPF and CAP_PERFMON; not needed beside them",
        required: false,
    },
    Capability {
        number: CAP_SYSLOG,
        name: "CAP_SYSLOG",
        purpose: "to add up a victim's memory over CPUs exactly (an address of /proc/kallsyms)",
        required: false,
    },
    Capability {
        number: CAP_SYS_PTRACE,
        name: "CAP_SYS_PTRACE",
        purpose: "to look into other users' processes: what their runtimes say",
        required: false,
    },
    Capability {
        number: CAP_DAC_READ_SEARCH,
        name: "CAP_DAC_READ_SEARCH",
        purpose: "to read cgroup files that belong to others",
        required: false,
    },
    Capability {
        number: CAP_SYS_RESOURCE,
        name: "CAP_SYS_RESOURCE",
        purpose: "to lock memory for maps, on kernels that count it against a limit (before 5.11)",
        required: false,
    },
];

impl Capabilities {
    /// The effective set in the text of `/proc/<pid>/status`.
    pub fn effective(status: &str) -> Option<Self> {
        Self::field(status, "CapEff:")
    }

    /// The bounding set there: what the process can come to hold, also by a program that it starts.
    pub fn bounding(status: &str) -> Option<Self> {
        Self::field(status, "CapBnd:")
    }

    fn field(status: &str, name: &str) -> Option<Self> {
        let text = status.lines().find_map(|line| line.strip_prefix(name))?;
        u64::from_str_radix(text.trim(), 16).ok().map(Self)
    }

    /// These and `number`.
    #[must_use]
    pub const fn and(self, number: u32) -> Self {
        if number < u64::BITS {
            Self(self.0 | 1 << number)
        } else {
            self
        }
    }

    /// Those that are in `other` too.
    #[must_use]
    pub const fn within(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that are not in `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Their names, by number; one that nobody has named yet is `CAP_` and its number.
    pub fn names(self) -> Vec<String> {
        (0..u64::BITS)
            .filter(|number| self.has(*number))
            .map(|number| {
                let flag = CapabilitySet::from_bits_retain(1 << number);
                let name = flag.iter_names().next().map(|(name, _)| name);
                name.map_or_else(|| format!("CAP_{number}"), |name| format!("CAP_{name}"))
            })
            .collect()
    }

    /// Whether it holds capability `number`.
    pub const fn has(self, number: u32) -> bool {
        number < u64::BITS && self.0 >> number & 1 == 1
    }

    /// Whether tracing programs may be loaded and attached, as far as capabilities go
    /// (`kernel/bpf/syscall.c`, `bpf_prog_load`; `CAP_SYS_ADMIN` stands in for both).
    pub const fn may_trace(self) -> bool {
        self.has(CAP_SYS_ADMIN) || (self.has(CAP_BPF) && self.has(CAP_PERFMON))
    }

    /// The required ones that are missing; none where `CAP_SYS_ADMIN` stands in for them.
    pub fn missing(self) -> Vec<Capability> {
        if self.may_trace() {
            return Vec::new();
        }
        CAPABILITIES
            .into_iter()
            .filter(|capability| capability.required && !self.has(capability.number))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_set_is_read() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000001fffeffffff\n";
        let caps = Capabilities::effective(status).unwrap();
        assert!(caps.has(CAP_BPF) && caps.has(CAP_SYS_ADMIN));
        assert!(!caps.has(CAP_SYS_RESOURCE));
        assert!(!caps.has(64), "beyond the set");
        for broken in ["", "CapEff:", "CapEff:\tnonsense", "CapPrm:\t01"] {
            assert_eq!(Capabilities::effective(broken), None);
        }
    }

    #[test]
    fn sets_are_told_by_name() {
        let held = Capabilities::default()
            .and(CAP_BPF)
            .and(CAP_DAC_OVERRIDE)
            .and(63);
        assert_eq!(held.names(), ["CAP_DAC_OVERRIDE", "CAP_BPF", "CAP_63"]);
        let bpf = Capabilities::default().and(CAP_BPF).and(CAP_SYSLOG);
        assert_eq!(held.within(bpf).names(), ["CAP_BPF"]);
        assert_eq!(bpf.without(held).names(), ["CAP_SYSLOG"]);
        assert_eq!(bpf.and(64), bpf);
        for capability in CAPABILITIES {
            let alone = Capabilities::default().and(capability.number);
            assert_eq!(alone.names(), [capability.name]);
        }
        let status = "CapEff:\t0000000000000001\nCapBnd:\t0000000000000002\n";
        assert_eq!(Capabilities::bounding(status), Some(Capabilities(2)));
    }

    #[test]
    fn sys_admin_stands_in_for_both() {
        let set = |numbers: &[u32]| Capabilities(numbers.iter().map(|number| 1 << number).sum());
        assert!(set(&[CAP_BPF, CAP_PERFMON]).may_trace());
        assert!(set(&[CAP_SYS_ADMIN]).missing().is_empty());
        for (held, missing) in [(CAP_BPF, "CAP_PERFMON"), (CAP_PERFMON, "CAP_BPF")] {
            let names: Vec<_> = set(&[held]).missing().iter().map(|c| c.name).collect();
            assert_eq!(names, [missing]);
        }
        assert_eq!(set(&[]).missing().len(), 2);
    }
}
