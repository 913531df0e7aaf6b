//! Reads the ring buffers without blocking.

use std::io;

use aya::maps::{MapData, RingBuf};
use tokio::io::unix::AsyncFd;

/// A ring buffer on the runtime's reactor: user space sleeps until the kernel has something.
pub struct RingReader {
    ring: AsyncFd<RingBuf<MapData>>,
}

impl RingReader {
    /// Must be called within a tokio runtime.
    pub fn new(ring: RingBuf<MapData>) -> io::Result<Self> {
        Ok(Self {
            ring: AsyncFd::new(ring)?,
        })
    }

    /// Waits until there may be records.
    pub async fn wait(&mut self) -> io::Result<()> {
        // Cleared at once: `drain` takes everything that is there, and what comes after wakes anew.
        self.ring.readable_mut().await?.clear_ready();
        Ok(())
    }

    /// Hands at most `most` records to `take`; returns how many there were.
    pub fn drain(&mut self, most: usize, mut take: impl FnMut(&[u8])) -> usize {
        let ring = self.ring.get_mut();
        let mut taken = 0;
        while taken < most
            && let Some(item) = ring.next()
        {
            take(&item);
            taken += 1;
        }
        taken
    }
}
