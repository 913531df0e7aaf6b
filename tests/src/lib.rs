//! Fixtures and referees of the privileged tests.
//!
//! A test makes its own cgroups ([`cgroup`]), starts a workload that waits for the word
//! ([`workload`]), starts the program under test ([`agent`]), and compares what the program says
//! with what the kernel or the container engine says ([`referee`], [`docker`]). Nothing here is
//! shared with the program under test.

pub mod agent;
pub mod cgroup;
pub mod cluster;
pub mod command;
pub mod containerd;
pub mod cri;
pub mod daemon;
pub mod docker;
pub mod engine_api;
pub mod events;
pub mod explain;
pub mod findings;
pub mod folder;
pub mod followed;
pub mod go;
pub mod histogram;
pub mod http;
pub mod image;
pub mod inspect;
pub mod kubelet;
pub mod listener;
pub mod mounts;
pub mod oom;
pub mod parents;
pub mod podman;
pub mod pods;
pub mod referee;
pub mod restarts;
pub mod rights;
pub mod sandbox;
pub mod sockets;
pub mod systemd;
pub mod throttled;
pub mod wait;
pub mod workload;

/// Says that a test cannot be run on this machine, in the form that the test runner counts.
///
/// Only for what a machine cannot have (a kernel feature); a missing package is a failure.
pub fn skip(test: &str, reason: &str) {
    println!("SKIPPED: {test}: {reason}");
}

/// The end of what a test made: fails the test if something of it stays, unless it has failed already.
///
/// # Panics
/// When something stays.
pub fn ended(cleared: anyhow::Result<()>) {
    if let Err(error) = cleared {
        eprintln!("LEFT BEHIND: {error:#}");
        assert!(std::thread::panicking(), "{error:#}");
    }
}

/// Whether the CPU is an emulated one, which does everything right and little of it in a second.
pub fn emulated() -> bool {
    std::env::var_os("LIMITSCOPE_EMULATED").is_some()
}

/// Tells a figure of ours beside its referee's, in the form that the kernel matrix collects, and
/// returns how far it is off in percent. Numbers in its name are left out.
pub fn agreement(figure: &str, ours: f64, referee: f64) -> f64 {
    let off = match (referee == 0.0, ours == 0.0) {
        (true, true) => 0.0,
        (true, false) => 100.0,
        (false, _) => (ours - referee) / referee * 100.0,
    };
    let words: Vec<&str> = figure
        .split(' ')
        .filter(|word| word.parse::<f64>().is_err())
        .collect();
    println!(
        "AGREEMENT: {} | {ours} | {referee} | {off:+.4}",
        words.join(" ")
    );
    off
}

/// Asserts that `ours` is within `percent` of `referee`, with both in the message.
///
/// # Panics
/// When it is not.
pub fn assert_within(what: &str, ours: f64, referee: f64, percent: f64) {
    let off = agreement(what, ours, referee);
    assert!(
        off.abs() <= percent,
        "{what}: ours {ours} is {off:+.3} % off the referee's {referee}; at most {percent} % is allowed"
    );
}
