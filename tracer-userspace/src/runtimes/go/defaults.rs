//! What GOMAXPROCS and GOMEMLIMIT would be, where the runtime's own variables cannot be read.
//!
//! The rules are those of `schedinit` and `defaultGOMAXPROCS` (runtime/proc.go, runtime/debug.go,
//! runtime/cgroup_linux.go) and of `readGOMEMLIMIT` (runtime/mgcpacer.go).

use super::build_info::{CONTAINER_AWARE, minor};
use crate::model::runtime::{Basis, Fact, GoBuild};

/// What decides GOMAXPROCS at the start of a Go program.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// The version that it was built with.
    pub version: &'a str,
    /// What it was built of.
    pub build: &'a GoBuild,
    /// `GOMAXPROCS` in its environment.
    pub variable: Option<&'a str>,
    /// `GODEBUG` in its environment.
    pub debug: Option<&'a str>,
    /// CPUs that it may run on.
    pub cpus_allowed: Option<u64>,
    /// The CPU limit of its cgroup and those above it, in CPUs.
    pub quota_cpus: Option<f64>,
}

/// The estimate, and why it is only that.
pub fn gomaxprocs(inputs: &Inputs<'_>, why: &str) -> Fact<u64> {
    let estimate = |value, basis, note: String| Fact::Known {
        value,
        basis,
        note: format!("an estimate, because {why}: {note}"),
    };
    // As strconv.ParseInt for 32 bits: what is no positive number counts as not set.
    let variable = inputs
        .variable
        .and_then(|text| text.parse::<i32>().ok())
        .and_then(|number| u64::try_from(number).ok())
        .filter(|number| *number > 0);
    if let Some(value) = variable {
        let note = "the program may have changed it since its start".to_owned();
        return estimate(value, Basis::Environment, note);
    }
    let Some(cpus) = inputs.cpus_allowed.filter(|cpus| *cpus > 0) else {
        return Fact::Unknown(format!("{why}, and the CPUs that it may use are not known"));
    };
    if inputs.build.automaxprocs {
        let value = inputs
            .quota_cpus
            .map_or(cpus, |quota| (quota.floor() as u64).max(1));
        let note = "go.uber.org/automaxprocs is built in and sets it to the quota, rounded down";
        return estimate(value, Basis::Defaults, note.to_owned());
    }
    if container_aware(inputs.version, inputs.build, inputs.debug) {
        let value = inputs
            .quota_cpus
            .map_or(cpus, |quota| (quota.ceil() as u64).max(2).min(cpus));
        let note = format!(
            "{} takes the CPU limit of its own cgroup into account",
            inputs.version
        );
        return estimate(value, Basis::Defaults, note);
    }
    let note = format!(
        "{} uses every CPU that it may run on, whatever the limit",
        inputs.version
    );
    estimate(cpus, Basis::Defaults, note)
}

/// Whether the runtime takes the CPU limit into account: what the build decided, unless `GODEBUG` in
/// the environment says otherwise. Of several settings the last one counts, and what is no number
/// does not (`parsegodebug` in runtime/runtime1.go).
pub fn container_aware(version: &str, build: &GoBuild, debug: Option<&str>) -> bool {
    let set = debug.and_then(|debug| {
        let mut values = debug.split(',').filter_map(|setting| {
            let value = setting.strip_prefix("containermaxprocs=")?;
            value.parse::<i32>().ok()
        });
        values.next_back()
    });
    match set {
        Some(value) => value > 0 && minor(version).is_some_and(|minor| minor >= CONTAINER_AWARE),
        None => build.container_aware,
    }
}

/// The memory limit by the environment.
pub fn gomemlimit(version: &str, variable: Option<&str>, why: &str) -> Fact<Option<u64>> {
    if minor(version).is_some_and(|minor| minor < 19) {
        return Fact::Known {
            value: None,
            basis: Basis::Defaults,
            note: format!("{version} has no memory limit, Go 1.19 was the first"),
        };
    }
    let note = format!("an estimate, because {why}: the program may set another");
    match variable {
        None | Some("" | "off") => Fact::Known {
            value: None,
            basis: if variable.is_some() {
                Basis::Environment
            } else {
                Basis::Defaults
            },
            note,
        },
        Some(text) => match parse_bytes(text) {
            Some(bytes) => Fact::Known {
                value: Some(bytes),
                basis: Basis::Environment,
                note,
            },
            None => Fact::Unknown("GOMEMLIMIT in its environment is no number of bytes".to_owned()),
        },
    }
}

/// A number of bytes as GOMEMLIMIT has it: `512MiB`, `1073741824`, `64B` (`parseByteCount` in
/// runtime/string.go).
pub fn parse_bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(
        version: &str,
        change: impl FnOnce(&mut GoBuild, &mut Inputs<'static>),
    ) -> Option<u64> {
        let mut build = GoBuild {
            container_aware: minor(version).is_some_and(|minor| minor >= 25),
            ..GoBuild::default()
        };
        let empty: &'static GoBuild = Box::leak(Box::default());
        let mut inputs = Inputs {
            version: "",
            build: empty,
            variable: None,
            debug: None,
            cpus_allowed: Some(16),
            quota_cpus: Some(2.5),
        };
        change(&mut build, &mut inputs);
        let inputs = Inputs {
            version,
            build: &build,
            ..inputs
        };
        let fact = gomaxprocs(&inputs, "it is stripped");
        assert!(!fact.is_exact());
        fact.value().copied()
    }

    #[test]
    fn gomaxprocs_follows_the_rules_of_its_version() {
        assert_eq!(value("go1.24.2", |_, _| ()), Some(16));
        assert_eq!(value("go1.25.0", |_, _| ()), Some(3), "rounded up");
        let small = |_: &mut GoBuild, inputs: &mut Inputs<'_>| inputs.quota_cpus = Some(0.5);
        assert_eq!(value("go1.27.1", small), Some(2), "never below 2");
        assert_eq!(
            value("go1.27.1", |_, i| i.debug = Some("containermaxprocs=0")),
            Some(16)
        );
        assert_eq!(
            value("go1.27.1", |build, i| {
                build.container_aware = false;
                i.debug = Some("containermaxprocs=0,containermaxprocs=1,containermaxprocs=x");
            }),
            Some(3),
            "built for an older Go, and switched on again"
        );
        assert_eq!(
            value("go1.24.2", |_, i| i.debug = Some("containermaxprocs=1")),
            Some(16),
            "it does not know the setting"
        );
        assert_eq!(
            value("go1.19", |build, _| build.automaxprocs = true),
            Some(2)
        );
        assert_eq!(value("go1.19", |_, i| i.variable = Some("7")), Some(7));
        assert_eq!(value("go1.19", |_, i| i.variable = Some("-7")), Some(16));
        assert_eq!(value("go1.19", |_, i| i.cpus_allowed = None), None);
        assert_eq!(value("go1.27", |_, i| i.quota_cpus = None), Some(16));
    }

    #[test]
    fn memory_limits_are_read_as_go_reads_them() {
        assert_eq!(parse_bytes("512MiB"), Some(512 << 20));
        assert_eq!(parse_bytes("7"), Some(7));
        assert_eq!(parse_bytes("1GB"), None);
        assert_eq!(parse_bytes("99999999TiB"), None);
        let limit = |variable| gomemlimit("go1.22", variable, "x").value().copied();
        assert_eq!(limit(Some("64KiB")), Some(Some(65536)));
        assert_eq!((limit(Some("off")), limit(None)), (Some(None), Some(None)));
        assert_eq!(limit(Some("much")), None);
        assert_eq!(gomemlimit("go1.17", Some("1"), "x").value(), Some(&None));
    }
}
