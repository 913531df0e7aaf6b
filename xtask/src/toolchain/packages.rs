//! Debian packages that tests and benchmarks need on the machine: engines, and other tools' answers
//! to compare with.

use std::{process::Command, time::Duration};

use super::say;
use crate::{
    process,
    step::{Output, Steps},
    workspace,
};

/// A package, a program in it, and what it is for.
pub struct Wanted {
    package: &'static str,
    program: &'static str,
    purpose: &'static str,
}

const fn wanted(package: &'static str, program: &'static str, purpose: &'static str) -> Wanted {
    Wanted {
        package,
        program,
        purpose,
    }
}

/// What the privileged tests need.
pub const TESTS: &[Wanted] = &[
    wanted(
        "bpftool",
        "bpftool",
        "tests look for programs left attached",
    ),
    wanted(
        "busybox-static",
        "busybox",
        "tests make container images of it",
    ),
    wanted(
        "libbpf-tools",
        "runqlat",
        "tests compare with its run-queue latency",
    ),
    wanted("golang-go", "go", "tests look into programs of Go"),
    wanted("nodejs", "node", "tests look into it"),
    wanted("python3", "python3", "tests look into it"),
    wanted("default-jre-headless", "java", "tests look into it"),
];

/// What the tests with Docker need besides.
pub const DOCKER: &[Wanted] = &[
    wanted("docker.io", "dockerd", "tests run an own Docker daemon"),
    wanted(
        "containerd",
        "containerd",
        "Docker runs its containers with it",
    ),
    wanted("runc", "runc", "Docker runs its containers with it"),
];

/// What the tests with containerd and Podman need besides.
pub const CONTAINERS: &[Wanted] = &[
    wanted("containerd", "containerd", "tests run an own containerd"),
    wanted(
        "runc",
        "runc",
        "containerd and Podman run their containers with it",
    ),
    wanted("podman", "podman", "tests run an own Podman service"),
    wanted("conmon", "conmon", "Podman watches its containers with it"),
    wanted("crun", "crun", "Podman runs its containers with it, too"),
    wanted(
        "busybox-static",
        "busybox",
        "tests make container images of it",
    ),
];

/// What the tests with a kubelet need besides those with containerd.
pub const KUBELET: &[Wanted] = &[wanted(
    "golang-go",
    "go",
    "the tests' Kubernetes is built with it",
)];

/// What the tests with a whole Kubernetes need besides.
pub const KUBERNETES: &[Wanted] = &[
    wanted(
        "kubernetes-client",
        "kubectl",
        "tests ask their cluster with it",
    ),
    wanted(
        "openssl",
        "openssl",
        "tests make their cluster's key with it",
    ),
    wanted("iproute2", "ip", "tests give their cluster a network"),
    wanted(
        "containernetworking-plugins",
        "/usr/lib/cni/bridge",
        "pods of the tests' cluster get their network by it",
    ),
];

/// What the kernel matrix needs.
pub const GUESTS: &[Wanted] = &[
    wanted(
        "qemu-system-x86",
        "qemu-system-x86_64",
        "the kernel matrix boots its kernels in it",
    ),
    wanted(
        "busybox-static",
        "busybox",
        "the guests' first process is a script for it",
    ),
    wanted(
        "libbpf-tools",
        "runqlat",
        "tests in the guests compare with its run-queue latency",
    ),
    wanted(
        "golang-go",
        "go",
        "tests in the guests look into programs of Go",
    ),
];

/// What the guest with systemd needs.
pub const SYSTEMD_GUEST: &[Wanted] = &[
    wanted(
        "qemu-system-x86",
        "qemu-system-x86_64",
        "the guest with systemd is booted in it",
    ),
    wanted(
        "busybox-static",
        "busybox",
        "the guest's first process is a script for it",
    ),
    wanted("e2fsprogs", "mke2fs", "the guest's disk is made with it"),
];

/// What the benchmark needs.
pub const BENCHMARK: &[Wanted] = &[
    wanted(
        "bpftool",
        "bpftool",
        "the benchmark reads the kernel's cost of each program",
    ),
    wanted(
        "libbpf-tools",
        "runqlat",
        "the benchmark compares with its cost",
    ),
    wanted(
        "linux-perf",
        "perf",
        "the benchmark uses its context switch load",
    ),
];

/// Installs what is missing, and tells what could not be had.
pub fn ensure(wanted: &[Wanted]) -> Vec<String> {
    let missing: Vec<&Wanted> = wanted.iter().filter(|wanted| !is_there(wanted)).collect();
    if missing.is_empty() {
        return Vec::new();
    }
    for wanted in &missing {
        say(&format!(
            "package {} is missing: {}",
            wanted.package, wanted.purpose
        ));
    }
    let mut install = apt_get(&["install", "--yes", "--no-install-recommends"]);
    install.args(missing.iter().map(|wanted| wanted.package));
    let by_hand = process::shown(&install);
    if !rustix::process::geteuid().is_root() {
        return vec![format!(
            "only root can install packages; as root, run:\n    {by_hand}"
        )];
    }
    if workspace::find_program("apt-get").is_none() {
        return missing
            .iter()
            .map(|wanted| format!("install {} by hand: {}", wanted.program, wanted.purpose))
            .collect();
    }
    let steps = Steps::within(None);
    // A failure here may concern another source than the one that has the packages.
    steps.command(
        "set-up: reading Debian's package lists",
        apt_get(&["update"]),
        Duration::from_mins(5),
        Output::Shown,
    );
    let done = steps.command(
        "set-up: installing Debian packages",
        install,
        Duration::from_mins(10),
        Output::Shown,
    );
    if let Some(failure) = done.failure {
        return vec![format!("{failure}: {by_hand}")];
    }
    missing
        .iter()
        .filter(|wanted| !is_there(wanted))
        .map(|wanted| {
            format!(
                "{} is installed, but has no {}",
                wanted.package, wanted.program
            )
        })
        .collect()
}

fn is_there(wanted: &Wanted) -> bool {
    let query = process::output(
        Command::new("dpkg-query")
            .args(["-W", "-f=${db:Status-Status}"])
            .arg(wanted.package),
    );
    match query {
        Ok(status) if status == "installed" => true,
        // Another distribution, or the program from elsewhere.
        _ => workspace::find_program(wanted.program).is_some(),
    }
}

fn apt_get(arguments: &[&str]) -> Command {
    let mut command = Command::new("apt-get");
    command
        // Somebody else's apt is waited for.
        .args(["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"])
        .args(["-o", "Dpkg::Use-Pty=0", "--quiet"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive");
    command
}
