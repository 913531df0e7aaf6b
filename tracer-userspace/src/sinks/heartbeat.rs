//! A file that says that tracing goes on, for whoever has to restart what hangs.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt as _,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::time::{ClockId, clock_gettime};

/// Digits of a `u64`: each beat overwrites the one before.
const DIGITS: usize = 20;

/// The file, open: it is written where nothing else can be opened any more.
pub struct Heartbeat(File);

impl Heartbeat {
    /// Makes the file, or takes the one that is there; it has no beat yet.
    pub fn open(path: &Path) -> Result<Self> {
        OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .open(path)
            .map(Self)
            .with_context(|| format!("cannot write the heartbeat to {}", path.display()))
    }

    /// Notes that all is well now.
    pub fn beat(&self) -> io::Result<()> {
        let now = since_boot().as_nanos();
        self.0
            .write_all_at(format!("{now:0DIGITS$}\n").as_bytes(), 0)
    }
}

/// How long ago the last beat of the file was. An error says why nobody can tell.
pub fn age(path: &Path) -> Result<Duration> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the heartbeat {}", path.display()))?;
    if text.is_empty() {
        bail!("{} has no beat yet: nothing is traced", path.display());
    }
    let beat = text.trim_end().parse().map(Duration::from_nanos);
    let beat = beat.with_context(|| format!("{} is no heartbeat", path.display()))?;
    // Of a boot before, it is later than now.
    since_boot()
        .checked_sub(beat)
        .with_context(|| format!("{} is of before this machine was booted", path.display()))
}

/// `CLOCK_BOOTTIME`: the same in every container, never set, and it goes on in a suspend.
fn since_boot() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        u64::try_from(now.tv_sec).unwrap_or(0),
        u32::try_from(now.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beat_is_as_old_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("beat");
        let error = |path: &Path| age(path).unwrap_err().to_string();
        assert!(error(&path).starts_with("cannot read the heartbeat"));
        let heartbeat = Heartbeat::open(&path).unwrap();
        assert!(error(&path).ends_with("nothing is traced"));
        let before = since_boot();
        heartbeat.beat().unwrap();
        heartbeat.beat().unwrap();
        assert!(age(&path).unwrap() <= since_boot().checked_sub(before).unwrap());
        std::fs::write(&path, format!("{}\n", u64::MAX)).unwrap();
        assert!(error(&path).ends_with("booted"));
        std::fs::write(&path, "now").unwrap();
        assert!(error(&path).ends_with("is no heartbeat"));
        assert!(Heartbeat::open(dir.path()).is_err());
    }
}
