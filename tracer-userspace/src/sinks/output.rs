//! Where lines go: stdout or a file, buffered, without ever tearing a line.
//!
//! Entries are collected and written in large pieces; whoever owns the writer calls
//! [`LineWriter::flush`] when there is nothing more to do and at least every 100 ms. Writing
//! blocks when the reader is slow: what is lost then is lost, and counted, in the kernel's ring.
//!
//! When writing fails (disk full), what was not written stays in the buffer, also the rest of a
//! line that was written in part, and is tried again at each flush. So no line is ever glued to
//! half of another. A buffer that is full refuses entries and counts them.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal as _, Read as _, Seek as _, SeekFrom, Write};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, poll};
use thiserror::Error;

use crate::sinks::text::Visible;

#[cfg(test)]
mod tests;

/// Bytes from which on the buffer is written without waiting for a flush.
const WRITE_FROM: usize = 64 << 10;
/// Bytes that wait at most while nothing can be written.
const MAX_BACKLOG: usize = 1 << 20;

/// Why an output cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The file cannot be opened or created.
    #[error("cannot open {} for writing: {source}", Visible(&path.to_string_lossy()))]
    File {
        /// Its path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// There is no stdout.
    #[error("stdout cannot be used: {0}")]
    Stdout(#[source] io::Error),
}

/// Nobody reads any more (EPIPE): the end of the run, and no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("nobody reads the output any more")]
pub struct Closed;

/// The process's stdout or a file.
pub type Output = LineWriter<Descriptor>;

impl Output {
    /// The process's stdout.
    pub fn stdout() -> Result<Self, OpenError> {
        let descriptor = io::stdout()
            .as_fd()
            .try_clone_to_owned()
            .map_err(OpenError::Stdout)?;
        Ok(Self::new(
            Descriptor(File::from(descriptor)),
            "stdout".into(),
        ))
    }

    /// A file. It is created where it is missing and appended to where it is not, so that a second
    /// run never destroys what the first recorded; a last line without line break, left by a run
    /// that was killed, gets one first.
    pub fn file(path: &Path) -> Result<Self, OpenError> {
        let failed = |source| OpenError::File {
            path: path.to_owned(),
            source,
        };
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(failed)?;
        let torn = file.metadata().map_err(failed)?.is_file() && ends_in_half_a_line(path);
        let name = Visible(&path.to_string_lossy()).to_string();
        let mut output = Self::new(Descriptor(file), name);
        if torn {
            output.buffer.push(b'\n');
            output.entries.push_back(1);
        }
        Ok(output)
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.target.0.is_terminal()
    }
}

/// A file that may be written but not read is taken as whole.
fn ends_in_half_a_line(path: &Path) -> bool {
    let last_byte = || -> io::Result<u8> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last[0])
    };
    last_byte().is_ok_and(|byte| byte != b'\n')
}

/// An open file that is waited for even where somebody made it non-blocking: stdout is shared with
/// other processes, and so are its flags.
#[derive(Debug)]
pub struct Descriptor(File);

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.0.write(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let mut waiting = [PollFd::new(&self.0, PollFlags::OUT)];
                    match poll(&mut waiting, None) {
                        Ok(_) | Err(rustix::io::Errno::INTR) => {}
                        Err(error) => return Err(error.into()),
                    }
                }
                result => return result,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes whole entries (lines, or blocks of lines) to `W`.
#[derive(Debug)]
pub struct LineWriter<W> {
    target: W,
    /// For messages.
    name: String,
    /// What is not yet written.
    buffer: Vec<u8>,
    /// Bytes of each entry in `buffer`; of the first perhaps only the rest.
    entries: VecDeque<usize>,
    failing: bool,
    lost: u64,
    /// `lost` when writing began to fail.
    lost_before: u64,
}

impl<W: Write> LineWriter<W> {
    /// For a target and its name in messages.
    pub fn new(target: W, name: String) -> Self {
        Self {
            target,
            name,
            buffer: Vec::with_capacity(2 * WRITE_FROM),
            entries: VecDeque::new(),
            failing: false,
            lost: 0,
            lost_before: 0,
        }
    }

    /// Takes an entry, which ends with a line break.
    pub fn write_entry(&mut self, entry: &[u8]) -> Result<(), Closed> {
        if self.failing && self.buffer.len() + entry.len() > MAX_BACKLOG {
            self.lost += 1;
            return Ok(());
        }
        self.buffer.extend_from_slice(entry);
        self.entries.push_back(entry.len());
        // While writing fails it is tried again at flushes only, not for each entry.
        if self.buffer.len() >= WRITE_FROM && !self.failing {
            return self.flush();
        }
        Ok(())
    }

    /// Writes what waits. A failure is said once, and again when it is over.
    pub fn flush(&mut self) -> Result<(), Closed> {
        let mut written = 0;
        let result = loop {
            let rest = &self.buffer[written..];
            if rest.is_empty() {
                break Ok(());
            }
            match self.target.write(rest) {
                Ok(0) => break Err(ErrorKind::WriteZero.into()),
                Ok(count) => written += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        self.forget(written);
        match result {
            Ok(()) => self.recovered(written),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Closed),
            Err(error) => self.failed(&error),
        }
        Ok(())
    }

    /// The last flush: what still cannot be written is lost.
    pub fn finish(&mut self) -> Result<(), Closed> {
        self.flush()?;
        if !self.entries.is_empty() {
            self.lost += self.entries.len() as u64;
            tracing::warn!(
                output = self.name,
                events = self.lost - self.lost_before,
                "output could not be written to the end"
            );
            self.entries.clear();
            self.buffer.clear();
        }
        Ok(())
    }

    /// Entries that were not written and will not be (`agent.lost.sink`).
    pub const fn lost(&self) -> u64 {
        self.lost
    }

    /// The target; what was not flushed is gone.
    pub fn into_inner(self) -> W {
        self.target
    }

    /// Takes written bytes out of the buffer.
    fn forget(&mut self, written: usize) {
        self.buffer.drain(..written);
        let mut rest = written;
        while let Some(first) = self.entries.front_mut() {
            if *first > rest {
                *first -= rest;
                break;
            }
            rest -= *first;
            self.entries.pop_front();
        }
    }

    fn failed(&mut self, error: &io::Error) {
        if !self.failing {
            self.failing = true;
            self.lost_before = self.lost;
            tracing::warn!(
                output = self.name,
                %error,
                "output cannot be written; tracing goes on, events are kept as far as there is room"
            );
        }
    }

    fn recovered(&mut self, written: usize) {
        // Having had nothing to write proves nothing.
        if self.failing && written > 0 {
            self.failing = false;
            tracing::warn!(
                output = self.name,
                events_lost = self.lost - self.lost_before,
                "output can be written again"
            );
        }
    }
}
