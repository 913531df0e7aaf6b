//! The groups of tests, and which of them a run has.

use clap::ValueEnum;

/// A group of tests; they are run in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Group {
    /// Conventions, formatting, clippy and the documentation
    Lint,
    /// Unit tests, which need no rights
    Unit,
    /// Tests on the live kernel, as root
    Privileged,
    /// Tests with real Docker containers, as root
    Docker,
    /// Tests with real containers of containerd and Podman, as root
    Containers,
    /// Tests with a real kubelet, as root; only where they are asked for: it is built first
    Kubelet,
    /// Tests with a whole Kubernetes, as root; only where they are asked for: it is built first
    Kubernetes,
    /// Tests on the live kernel in guests with other kernels; only where they are asked for
    Vm,
    /// Tests with engines under systemd on cgroup v2 alone, in a guest; only where they are asked for
    Systemd,
}

/// What a binary of the tests package that needs Docker is named with.
const DOCKER_PREFIX: &str = "docker";

/// What one that needs other engines is named with.
const CONTAINERS_PREFIX: &str = "containers";

/// What one that needs a kubelet alone is named with.
const KUBELET_PREFIX: &str = "kubelet";

/// What one that needs a whole Kubernetes is named with.
const KUBERNETES_PREFIX: &str = "kubernetes";

/// What those are named with that need systemd as the first process: a guest runs them.
const SYSTEMD_PREFIX: &str = "systemd";

/// What those are named with that would harm the machine that they run on: only guests run them.
const MACHINE_PREFIX: &str = "machine";

impl Group {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::Unit => "unit",
            Self::Privileged => "privileged",
            Self::Docker => "docker",
            Self::Containers => "containers",
            Self::Kubelet => "kubelet",
            Self::Kubernetes => "kubernetes",
            Self::Vm => "vm",
            Self::Systemd => "systemd",
        }
    }

    /// Whether a file of the tests package, named without its ending, belongs to this group.
    pub fn has_test_file(self, name: &str) -> bool {
        match self {
            Self::Lint | Self::Unit => false,
            Self::Privileged => {
                let others = [
                    DOCKER_PREFIX,
                    CONTAINERS_PREFIX,
                    KUBELET_PREFIX,
                    KUBERNETES_PREFIX,
                    MACHINE_PREFIX,
                    SYSTEMD_PREFIX,
                ];
                !others.iter().any(|prefix| name.starts_with(prefix))
            }
            Self::Vm => name.starts_with(MACHINE_PREFIX),
            Self::Systemd => name.starts_with(SYSTEMD_PREFIX),
            Self::Docker => name.starts_with(DOCKER_PREFIX),
            Self::Containers => name.starts_with(CONTAINERS_PREFIX),
            Self::Kubelet => name.starts_with(KUBELET_PREFIX),
            Self::Kubernetes => name.starts_with(KUBERNETES_PREFIX),
        }
    }
}

/// The groups to run: those asked for, or all; those that take long are in all only `with_long`.
/// A filter is about tests, so it leaves lints out.
pub fn chosen(only: &[Group], with_long: bool, filtered: bool) -> Vec<Group> {
    let all = Group::value_variants().iter().copied();
    all.filter(|group| match only {
        [] => match group {
            Group::Lint => !filtered,
            Group::Kubelet | Group::Kubernetes | Group::Vm | Group::Systemd => with_long,
            _ => true,
        },
        only => only.contains(group),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_chosen() {
        use Group::{Containers, Docker, Kubelet, Kubernetes, Lint, Privileged, Systemd, Unit, Vm};
        assert_eq!(
            chosen(&[], false, false),
            [Lint, Unit, Privileged, Docker, Containers]
        );
        assert_eq!(
            chosen(&[], true, false),
            [
                Lint, Unit, Privileged, Docker, Containers, Kubelet, Kubernetes, Vm, Systemd
            ]
        );
        assert_eq!(
            chosen(&[], false, true),
            [Unit, Privileged, Docker, Containers]
        );
        assert_eq!(chosen(&[Docker, Lint], false, true), [Lint, Docker]);
        assert_eq!(chosen(&[Vm], false, true), [Vm]);
    }

    #[test]
    fn every_file_is_in_one_group() {
        for (file, group) in [
            ("docker", Group::Docker),
            ("docker_names", Group::Docker),
            ("containers", Group::Containers),
            ("kubelet", Group::Kubelet),
            ("kubernetes_cluster", Group::Kubernetes),
            ("oom", Group::Privileged),
            ("machine", Group::Vm),
            ("machine_locked", Group::Vm),
            ("systemd_engines", Group::Systemd),
        ] {
            for other in Group::value_variants() {
                assert_eq!(
                    other.has_test_file(file),
                    *other == group,
                    "{file} {other:?}"
                );
            }
        }
    }
}
