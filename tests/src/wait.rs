//! Waiting for a condition with a deadline, never for a fixed time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::emulated;

/// How long a step of a test may take when nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long to sleep between two looks. Where all is emulated a look takes milliseconds itself.
fn step() -> Duration {
    Duration::from_millis(if emulated() { 20 } else { 2 })
}

/// Polls `probe` every few milliseconds until it returns a value; fails after `deadline`, naming `what`.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("waited {deadline:?} in vain for: {what}");
        }
        std::thread::sleep(step());
    }
}

/// Polls `sample` until it has returned the same value for `calm`; fails after `deadline`.
pub fn until_at_rest<T: PartialEq>(
    what: &str,
    calm: Duration,
    deadline: Duration,
    mut sample: impl FnMut() -> Result<T>,
) -> Result<T> {
    let start = Instant::now();
    let mut value = sample()?;
    let mut since = Instant::now();
    while since.elapsed() < calm {
        if start.elapsed() > deadline {
            bail!("{what} did not come to rest within {deadline:?}");
        }
        std::thread::sleep(step());
        let now = sample()?;
        if now != value {
            value = now;
            since = Instant::now();
        }
    }
    Ok(value)
}

/// CLOCK_MONOTONIC now, in nanoseconds: the clock of `monotonic_ns` in every event.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}
