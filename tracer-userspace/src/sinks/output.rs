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
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
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
            Descriptor::from(File::from(descriptor)),
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
        let mut output = Self::new(Descriptor::from(file), name);
        if torn {
            output.buffer.push(b'\n');
            output.entries.push_back(1);
        }
        Ok(output)
    }

    /// Whether a person looks at it.
    pub fn is_terminal(&self) -> bool {
        self.target.file.is_terminal()
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

/// An open file that is not waited for endlessly: a reader that stops reading must not stop the
/// tracing, nor keep the program from ending. [`ErrorKind::WouldBlock`] says that nothing could be
/// written for 100 ms, or at once where that was so the last time.
#[derive(Debug)]
pub struct Descriptor {
    file: File,
    stalled: bool,
}

/// How long a reader may leave no room before it is taken for stopped: 100 ms.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};
/// What a pipe takes without blocking once it is ready (`PIPE_BUF`, pipe(7)).
const WITHOUT_BLOCKING: usize = 4096;

impl From<File> for Descriptor {
    fn from(file: File) -> Self {
        Self {
            file,
            stalled: false,
        }
    }
}

impl Write for Descriptor {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // Files are always ready. The flags of stdout are shared with other processes, so it is not
        // made non-blocking.
        let mut ready = [PollFd::new(&self.file, PollFlags::OUT)];
        let patience = if self.stalled {
            Timespec::default()
        } else {
            PATIENCE
        };
        self.stalled = poll(&mut ready, Some(&patience))? == 0;
        if self.stalled {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.file.write(&bytes[..bytes.len().min(WITHOUT_BLOCKING)])
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How often, and after how many milliseconds, the last flush is tried again for a reader that is
/// behind.
const LAST_TRIES: (u32, u64) = (20, 50);

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
    /// The reader had no room for all of it at the last flush.
    behind: bool,
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
            behind: false,
            lost: 0,
            lost_before: 0,
        }
    }

    /// Takes an entry, which ends with a line break.
    pub fn write_entry(&mut self, entry: &[u8]) -> Result<(), Closed> {
        let waits = self.failing || self.behind;
        if waits && self.buffer.len() + entry.len() > MAX_BACKLOG {
            if !self.failing {
                self.failed(&io::Error::other("its reader does not keep up"));
            }
            self.lost += 1;
            return Ok(());
        }
        self.buffer.extend_from_slice(entry);
        self.entries.push_back(entry.len());
        // While writing fails it is tried again at flushes only, not for each entry.
        if self.buffer.len() >= WRITE_FROM && !waits {
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
        self.behind = matches!(&result, Err(error) if error.kind() == ErrorKind::WouldBlock);
        match result {
            Ok(()) => self.recovered(written),
            Err(_) if self.behind => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(Closed),
            Err(error) => self.failed(&error),
        }
        Ok(())
    }

    /// The last flush: what still cannot be written is lost.
    pub fn finish(&mut self) -> Result<(), Closed> {
        let (tries, pause_ms) = LAST_TRIES;
        for _ in 0..tries {
            self.flush()?;
            if !self.behind {
                break;
            }
            std::thread::sleep(Duration::from_millis(pause_ms));
        }
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

    /// Whether something waits for a reader that has no room now: flush again soon.
    pub const fn is_behind(&self) -> bool {
        self.behind
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
