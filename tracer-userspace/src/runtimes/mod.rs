//! What a process says of itself: its language runtime, how many threads that runs at once, how
//! much memory it means to use. Read from outside; the process is not stopped and nothing in it is
//! changed.
//!
//! A value is given only with what it is based on, and where it cannot be had there is the reason.
//! Nothing is read across an exec: see `process`.

mod elf;
mod go;
mod others;
mod process;
mod view;

use std::num::NonZeroUsize;

use lru::LruCache;

use crate::model::{limits::CpuLimit, runtime::ProcessFacts};
use elf::Elf;
use go::GoProgram;
pub use process::ProcessError;
use process::{FileKey, Process};
use view::View;

/// Programs whose files are remembered.
const PROGRAMS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Looks into processes, and remembers the programs whose files it has read.
pub struct Inspector {
    programs: LruCache<FileKey, Option<Go>>,
}

/// A Go program and the file's headers.
struct Go {
    elf: Elf,
    program: GoProgram,
}

impl Default for Inspector {
    fn default() -> Self {
        Self {
            programs: LruCache::new(PROGRAMS),
        }
    }
}

impl Inspector {
    /// Looks into a process, by its id in the PID namespace of this process's `/proc`. `limit`
    /// is the CPU limit that holds for it, if there is one.
    pub fn inspect(
        &mut self,
        pid: u32,
        limit: Option<&CpuLimit>,
    ) -> Result<ProcessFacts, ProcessError> {
        let process = Process::open(pid)?;
        let command = process.read("comm")?;
        let mut missing = Vec::new();
        let image = process.image();
        let view = View::of(&process, limit, &mut missing);
        let mut runtimes = Vec::new();
        match image {
            Ok(image) => {
                if let Some(Go { elf, program }) = self.go_program(&process, image.file)? {
                    runtimes.push(go::look(program, elf, &process, &image, &view));
                    missing.extend(program.missing());
                } else {
                    runtimes = others::look(&view);
                }
                // What was seen is of one program only if it is still the same.
                if process.image()? != image {
                    return Err(ProcessError::Changed(pid));
                }
            }
            Err(error @ (ProcessError::Gone(_) | ProcessError::NoProgram(_))) => return Err(error),
            Err(error) => missing.push(error.to_string()),
        }
        let times = process.times().ok_or(ProcessError::Gone(pid))?;
        Ok(ProcessFacts {
            pid,
            start_ticks: times.start_ticks,
            cpu_share: None,
            command: String::from_utf8_lossy(&command).trim_end().to_owned(),
            threads: view.threads.len() as u64,
            cpus_allowed: view.cpus_allowed,
            memory_held_bytes: view.memory_held_bytes,
            runtimes,
            missing,
        })
    }

    /// Of these processes those that have used most CPU time, at most `most`.
    pub fn busiest(&self, pids: Vec<u32>, most: usize) -> Vec<u32> {
        if pids.len() <= most {
            return pids;
        }
        self.busiest_first(pids, most)
    }

    /// The same, those that have used most first, also where all are taken.
    pub fn busiest_first(&self, pids: Vec<u32>, most: usize) -> Vec<u32> {
        let mut used: Vec<(u64, u32)> = pids
            .into_iter()
            .filter_map(|pid| Some((Process::open(pid).ok()?.times()?.cpu_ticks, pid)))
            .collect();
        used.sort_unstable_by(|one, other| other.cmp(one));
        used.into_iter().take(most).map(|(_, pid)| pid).collect()
    }

    fn go_program(&mut self, process: &Process, key: FileKey) -> Result<Option<&Go>, ProcessError> {
        if !self.programs.contains(&key) {
            let file = process.file("exe")?;
            // A file that cannot be parsed is none of Go's.
            let go = Elf::parse(&file).ok().and_then(|elf| {
                let program = go::program(&elf, &file)?;
                Some(Go { elf, program })
            });
            // The file of this moment, which after an exec is another than that of the key.
            if process.image()?.file != key {
                return Err(ProcessError::Changed(process.pid));
            }
            self.programs.put(key, go);
        }
        Ok(self.programs.get(&key).and_then(Option::as_ref))
    }
}
