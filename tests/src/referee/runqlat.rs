//! `runqlat` of libbpf-tools, as a second opinion on the distribution of run-queue waits.

use std::{
    fs,
    io::Read,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::wait::{self, PATIENCE};

/// A running `runqlat`; dropping it kills it.
#[derive(Debug)]
pub struct Runqlat(Child);

/// A log2 histogram in µs: (lowest value of the bucket, count).
pub type Histogram = Vec<(u64, u64)>;

impl Runqlat {
    /// Starts it for one process and waits until its programs are attached.
    ///
    /// Its cgroup filter looks at the task that leaves the CPU instead of the one that waited, so
    /// only the filter by process is of use as a referee.
    pub fn start(pid: u32) -> Result<Self> {
        Self::launch(&["-p", &pid.to_string()])
    }

    /// Starts it for the whole host.
    pub fn start_for_all() -> Result<Self> {
        Self::launch(&[])
    }

    fn launch(args: &[&str]) -> Result<Self> {
        let mut command = Command::new("runqlat");
        command
            .args(args)
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdout(Stdio::piped());
        // SAFETY: prctl is async-signal-safe and touches only the child.
        unsafe {
            command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?));
        }
        let child = command
            .spawn()
            .context("starting runqlat (Debian package libbpf-tools)")?;
        let mut started = Self(child);
        let descriptors = format!("/proc/{}/fd", started.0.id());
        wait::until("runqlat's three programs attached", PATIENCE, || {
            if let Some(status) = started.0.try_wait()? {
                bail!("runqlat ended with {status}");
            }
            let mut attached = 0;
            for entry in fs::read_dir(&descriptors)? {
                let target = fs::read_link(entry?.path()).unwrap_or_default();
                let target = target.to_string_lossy().into_owned();
                attached += u32::from(target.contains("bpf_link") || target.contains("bpf-link"));
            }
            Ok((attached >= 3).then_some(()))
        })?;
        Ok(started)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Ends it as Ctrl-C does and reads its histogram.
    pub fn stop(mut self) -> Result<Histogram> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, Signal::INT)?;
        let mut text = String::new();
        self.0
            .stdout
            .take()
            .context("stdout is piped")?
            .read_to_string(&mut text)?;
        wait::until("runqlat's end", Duration::from_secs(5), || {
            Ok(self.0.try_wait()?)
        })?;
        let histogram = parse(&text);
        if histogram.is_empty() {
            bail!("runqlat printed no histogram: {text:?}");
        }
        Ok(histogram)
    }
}

impl Drop for Runqlat {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads the lines `low -> high : count |****|`.
fn parse(text: &str) -> Histogram {
    text.lines()
        .filter_map(|line| {
            let (low, rest) = line.split_once("->")?;
            let (_, rest) = rest.split_once(':')?;
            let count = rest.split('|').next()?.trim().parse().ok()?;
            Some((low.trim().parse().ok()?, count))
        })
        .collect()
}

/// Number of the log2 bucket that holds the `quantile` (0 to 1): 0 for 0–1 µs, 1 for 2–3 µs, ….
pub fn bucket_at(histogram: &Histogram, quantile: f64) -> Option<u32> {
    let total: u64 = histogram.iter().map(|(_, count)| count).sum();
    let mut seen = 0;
    for &(low, count) in histogram {
        seen += count;
        if count > 0 && seen as f64 >= total as f64 * quantile {
            return Some(bucket_of(low * 1000));
        }
    }
    None
}

/// Number of the log2 bucket of a value in ns.
pub fn bucket_of(ns: u64) -> u32 {
    (ns / 1000).max(1).ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_histogram_is_read() {
        let text = "Tracing run queue latency... Hit Ctrl-C to end.\n^C\n     \
                    usecs               : count    distribution\n         \
                    0 -> 1          : 3        |****      |\n         \
                    2 -> 3          : 0        |          |\n         \
                    4 -> 7          : 7        |**********|\n";
        let histogram = parse(text);
        assert_eq!(histogram, [(0, 3), (2, 0), (4, 7)]);
        assert_eq!(bucket_at(&histogram, 0.3), Some(0));
        assert_eq!(bucket_at(&histogram, 0.5), Some(2));
        assert_eq!(bucket_of(4_999), 2);
    }
}
