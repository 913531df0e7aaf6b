//! A stream of which only so much is read.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;

/// How many bytes may still be read.
#[derive(Clone)]
pub(in crate::identity) struct Allowance {
    left: Arc<AtomicU64>,
    full: u64,
}

impl Allowance {
    pub fn new(bytes: u64) -> Self {
        Self {
            left: Arc::new(AtomicU64::new(bytes)),
            full: bytes,
        }
    }

    /// All of it again: what was read so far was worth it.
    pub fn renew(&self) {
        self.left.store(self.full, Ordering::Relaxed);
    }
}

/// A stream that fails when more is read than allowed.
pub(in crate::identity) struct Metered {
    pub stream: UnixStream,
    pub allowance: Allowance,
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let left = self.allowance.left.load(Ordering::Relaxed);
        if left == 0 {
            let full = self.allowance.full;
            let error = format!("the answer is longer than {full} bytes");
            return Poll::Ready(Err(io::Error::other(error)));
        }
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = (buffer.filled().len() - before) as u64;
        self.allowance
            .left
            .store(left.saturating_sub(read), Ordering::Relaxed);
        result
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
