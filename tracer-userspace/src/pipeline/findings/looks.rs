//! Looks into the processes of containers, in a thread of its own: a program's file may be on a disk
//! that does not answer, and records must not wait for that.

use std::{
    collections::VecDeque,
    fs, io,
    sync::mpsc::{self, Receiver, Sender, TryRecvError},
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    kernel::cgroup_files::ControllerFiles,
    model::{identity::CgroupKey, limits::CpuLimit, runtime::ProcessFacts},
    runtimes::Inspector,
};

/// Name of the thread, at most 15 bytes.
const THREAD: &str = "runtimes";
/// Most processes of a container that are considered, and that are looked into.
const MOST_PROCESSES: usize = 256;
const MOST_INSPECTED: usize = 16;
/// Looks take at most one part in so many of a CPU, over time.
const SHARE: u32 = 200;
/// CPU time that may be used at once, where none was used for long.
const SAVED: Duration = Duration::from_millis(100);
/// With less than one part in so many of the machine's memory available nothing is looked into: who
/// reads a process's arguments holds its memory, which must not keep the OOM killer from freeing it.
const SCARCE: u64 = 50;

/// A container whose processes are to be looked into.
#[derive(Debug)]
pub struct Request {
    /// Which.
    pub key: CgroupKey,
    /// The paths of its cgroups: its processes are listed only when it is its turn.
    pub cgroups: Vec<String>,
    /// Its CPU limit, if there is one.
    pub cpu_limit: Option<CpuLimit>,
    /// Whether nothing is known of it yet, which has precedence.
    pub first: bool,
}

/// What was seen.
#[derive(Debug)]
pub struct Look {
    /// Whose.
    pub key: CgroupKey,
    /// What the busiest of its processes told; `None` where nobody looked for want of memory.
    pub processes: Option<Vec<ProcessFacts>>,
}

/// Where looks are asked for. The thread ends when this is dropped, after the look at hand.
#[derive(Debug)]
pub struct Looks(Sender<Request>);

impl Looks {
    /// Makes the thread, which has the capabilities of the calling one. What it sees is sent to
    /// `answers`.
    ///
    /// # Errors
    ///
    /// Where no thread can be made.
    pub fn start(files: ControllerFiles, answers: UnboundedSender<Look>) -> io::Result<Self> {
        let (sender, requests) = mpsc::channel();
        let worker = Worker {
            files,
            inspector: Inspector::default(),
            budget: Budget::new(Instant::now()),
        };
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || worker.run(&requests, &answers))?;
        Ok(Self(sender))
    }

    /// Asks for a look; false where nobody looks any more.
    pub fn ask(&self, request: Request) -> bool {
        self.0.send(request).is_ok()
    }
}

struct Worker {
    files: ControllerFiles,
    inspector: Inspector,
    budget: Budget,
}

impl Worker {
    fn run(mut self, requests: &Receiver<Request>, answers: &UnboundedSender<Look>) {
        let mut queue = Queue::default();
        loop {
            // What has come meanwhile first: there may be some among it that nothing is known of.
            loop {
                match requests.try_recv() {
                    Ok(request) => queue.add(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return,
                }
            }
            let Some(request) = queue.next() else {
                match requests.recv() {
                    Ok(request) => queue.add(request),
                    Err(_) => return,
                }
                continue;
            };
            let key = request.key;
            let began = thread_cpu();
            let processes = memory_is_plenty().then(|| self.look(&request));
            if answers.send(Look { key, processes }).is_err() {
                return;
            }
            let used = thread_cpu().saturating_sub(began);
            thread::sleep(self.budget.pay(used, Instant::now()));
        }
    }

    fn look(&mut self, request: &Request) -> Vec<ProcessFacts> {
        let mut pids = Vec::new();
        for cgroup in &request.cgroups {
            let left = MOST_PROCESSES.saturating_sub(pids.len());
            pids.extend(self.files.processes(cgroup.as_bytes(), left));
        }
        let busiest = self.inspector.busiest(pids, MOST_INSPECTED);
        let limit = request.cpu_limit.as_ref();
        let facts = busiest.into_iter();
        facts
            .filter_map(|pid| self.inspector.inspect(pid, limit).ok())
            .collect()
    }
}

/// Who waits for a look.
#[derive(Debug, Default)]
struct Queue {
    first: VecDeque<Request>,
    again: VecDeque<Request>,
}

impl Queue {
    fn add(&mut self, request: Request) {
        let queue = if request.first {
            &mut self.first
        } else {
            &mut self.again
        };
        queue.push_back(request);
    }

    fn next(&mut self) -> Option<Request> {
        self.first.pop_front().or_else(|| self.again.pop_front())
    }
}

/// CPU time that may be used: it grows with time, up to [`SAVED`].
#[derive(Clone, Copy, Debug)]
struct Budget {
    left: Duration,
    at: Instant,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self {
            left: SAVED,
            at: now,
        }
    }

    /// Takes what was used, and tells how long nothing more may be.
    fn pay(&mut self, used: Duration, now: Instant) -> Duration {
        let grown = now.saturating_duration_since(self.at) / SHARE;
        self.at = now;
        self.left = (self.left + grown).min(SAVED);
        let missing = used.saturating_sub(self.left);
        self.left = self.left.saturating_sub(used);
        // What was missing has been saved by then.
        self.at += missing * SHARE;
        missing * SHARE
    }
}

/// CPU time of this thread.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Where that cannot be read it is taken as so.
fn memory_is_plenty() -> bool {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    is_plenty(&text).unwrap_or(true)
}

/// By the text of `/proc/meminfo`.
fn is_plenty(meminfo: &str) -> Option<bool> {
    let of = |name: &str| {
        let mut lines = meminfo.lines();
        let rest = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()
    };
    Some(of("MemAvailable")? >= of("MemTotal")? / SCARCE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_paid_back() {
        let begin = Instant::now();
        let mut budget = Budget::new(begin);
        assert_eq!(budget.pay(SAVED / 2, begin), Duration::ZERO);
        assert_eq!(budget.pay(SAVED / 2, begin), Duration::ZERO);
        let used = Duration::from_millis(10);
        let pause = budget.pay(used, begin);
        assert_eq!(pause, used * SHARE);
        // The pause has paid for that, and for nothing else.
        assert_eq!(budget.pay(used, begin + pause), used * SHARE);
        let later = begin + pause * 2 + SAVED * SHARE * 3;
        assert_eq!(budget.pay(SAVED, later), Duration::ZERO);
        assert_eq!(budget.pay(used, later), used * SHARE);
    }

    #[test]
    fn who_is_new_comes_first() {
        let request = |id, first| Request {
            key: CgroupKey::new(1, id),
            cgroups: Vec::new(),
            cpu_limit: None,
            first,
        };
        let mut queue = Queue::default();
        for (id, first) in [(1, false), (2, true), (3, false), (4, true)] {
            queue.add(request(id, first));
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.next())
            .map(|request| request.key.id)
            .collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }

    #[test]
    fn scarce_memory_is_noticed() {
        let text = |available| format!("MemTotal: 1000 kB\nMemAvailable:   {available} kB\n");
        assert_eq!(is_plenty(&text(20)), Some(true));
        assert_eq!(is_plenty(&text(19)), Some(false));
        assert_eq!(is_plenty("MemTotal: 1000 kB\n"), None);
    }

    #[test]
    fn it_ends_with_its_asker() {
        let host = crate::kernel::host::HostFacts::read(None).unwrap();
        let files = host.cgroups.slots().and_then(ControllerFiles::new).unwrap();
        let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
        let looks = Looks::start(files, sender).unwrap();
        let key = CgroupKey::new(1, 7);
        assert!(looks.ask(Request {
            key,
            cgroups: vec!["/no such cgroup".into()],
            cpu_limit: None,
            first: true,
        }));
        let look = answers.blocking_recv().unwrap();
        assert_eq!(
            (look.key, look.processes.map(|all| all.len())),
            (key, Some(0))
        );
        drop(looks);
        assert!(answers.blocking_recv().is_none());
    }
}
