//! Looks into the processes of containers, in a thread of its own: a program's file may be on a disk
//! that does not answer, and records must not wait for that.

use std::{
    collections::VecDeque,
    fs, io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Receiver, RecvTimeoutError, Sender, TryRecvError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::mpsc::UnboundedSender;

use crate::{
    kernel::cgroup_files::ControllerFiles,
    model::{identity::CgroupKey, limits::CpuLimit, runtime::ProcessFacts},
    runtimes::{Inspector, ProcessError},
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
/// No look takes more, but for the process at hand.
const LONGEST: Duration = Duration::from_millis(20);
/// What nothing is known of yet waits at most so long for those before it to be paid for.
const MOMENT: Duration = Duration::from_secs(1);
/// A look that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(10);
/// Threads that are made at most in place of those that hang.
const SPARE: u32 = 3;
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
    /// What the busiest of its processes told; `None` where nobody looked for want of memory, or all have
    /// ended or become others meanwhile.
    pub processes: Option<Vec<ProcessFacts>>,
}

/// Where looks are asked for. The thread ends when this is dropped, after the look at hand.
pub struct Looks {
    requests: Sender<Request>,
    answers: UnboundedSender<Look>,
    files: ControllerFiles,
    at_hand: Arc<Mutex<Option<AtHand>>>,
    /// Threads that may still be made in place of one that hangs.
    spare: u32,
}

/// The look that is being done.
#[derive(Clone, Copy, Debug)]
struct AtHand {
    key: CgroupKey,
    since: Instant,
}

impl Looks {
    /// Makes the thread, which has the capabilities of the calling one. What it sees is sent to
    /// `answers`.
    ///
    /// # Errors
    ///
    /// Where no thread can be made.
    pub fn start(files: ControllerFiles, answers: UnboundedSender<Look>) -> io::Result<Self> {
        let (requests, received) = mpsc::channel();
        let at_hand = Arc::default();
        let worker = Worker {
            files: files.clone(),
            inspector: Inspector::default(),
            budget: Budget::new(Instant::now()),
            at_hand: Arc::clone(&at_hand),
        };
        let sender = answers.clone();
        thread::Builder::new()
            .name(THREAD.to_owned())
            .spawn(move || worker.run(&received, &sender))?;
        Ok(Self {
            requests,
            answers,
            files,
            at_hand,
            spare: SPARE,
        })
    }

    /// Asks for a look; false where nobody looks any more.
    pub fn ask(&self, request: Request) -> bool {
        self.requests.send(request).is_ok()
    }

    /// Whose look hangs, if one does; another thread is made then, which knows of no request, unless
    /// too many were made already.
    pub fn replace_hanging(&mut self) -> Option<CgroupKey> {
        let at_hand = *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner);
        let hanging = at_hand.filter(|look| look.since.elapsed() >= PATIENCE)?;
        if let Some(spare) = self.spare.checked_sub(1)
            && let Ok(next) = Self::start(self.files.clone(), self.answers.clone())
        {
            *self = Self { spare, ..next };
            return Some(hanging.key);
        }
        None
    }
}

struct Worker {
    files: ControllerFiles,
    inspector: Inspector,
    budget: Budget,
    at_hand: Arc<Mutex<Option<AtHand>>>,
}

impl Worker {
    fn run(mut self, requests: &Receiver<Request>, answers: &UnboundedSender<Look>) {
        let mut queue = Queue::default();
        while let Some(request) = self.next(&mut queue, requests) {
            let key = request.key;
            let began = thread_cpu();
            let since = Instant::now();
            self.is_at_hand(Some(AtHand { key, since }));
            let processes = memory_is_plenty().then(|| self.look(&request)).flatten();
            self.is_at_hand(None);
            if answers.send(Look { key, processes }).is_err() {
                return;
            }
            let used = thread_cpu().saturating_sub(began);
            self.budget.pay(used, Instant::now());
        }
    }

    fn is_at_hand(&self, look: Option<AtHand>) {
        *self.at_hand.lock().unwrap_or_else(PoisonError::into_inner) = look;
    }

    /// The next request, when there is time for it; `None` when nobody asks any more.
    fn next(&self, queue: &mut Queue, requests: &Receiver<Request>) -> Option<Request> {
        loop {
            // What has come meanwhile first: there may be some among it that nothing is known of.
            loop {
                match requests.try_recv() {
                    Ok(request) => queue.add(request),
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return None,
                }
            }
            if queue.is_empty() {
                queue.add(requests.recv().ok()?);
                continue;
            }
            let wait = self.budget.wait(queue.has_first(), Instant::now());
            if wait.is_zero() {
                return queue.next();
            }
            match requests.recv_timeout(wait) {
                Ok(request) => queue.add(request),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// What the busiest processes tell, as many as there is time for; `None` where there were some and all
    /// have ended or become others meanwhile.
    fn look(&mut self, request: &Request) -> Option<Vec<ProcessFacts>> {
        let mut pids = Vec::new();
        for cgroup in &request.cgroups {
            let left = MOST_PROCESSES.saturating_sub(pids.len());
            pids.extend(self.files.processes(cgroup.as_bytes(), left));
        }
        let began = thread_cpu();
        let mut told = pids.is_empty();
        let limit = request.cpu_limit.as_ref();
        let mut facts = Vec::new();
        for pid in self.inspector.busiest_first(pids, MOST_INSPECTED) {
            match self.inspector.inspect(pid, limit) {
                Ok(process) => facts.push(process),
                // That they may not be asked is an answer, too.
                Err(ProcessError::Hidden(_) | ProcessError::NotAllowed { .. }) => told = true,
                Err(_) => {}
            }
            if thread_cpu().saturating_sub(began) >= LONGEST {
                break;
            }
        }
        (told || !facts.is_empty()).then_some(facts)
    }
}

/// Who waits for a look.
#[derive(Debug, Default)]
struct Queue {
    first: VecDeque<Request>,
    again: VecDeque<Request>,
    turn: u32,
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

    fn is_empty(&self) -> bool {
        self.first.is_empty() && self.again.is_empty()
    }

    fn has_first(&self) -> bool {
        !self.first.is_empty()
    }

    /// Those that nothing is known of come first, but for one turn in four.
    fn next(&mut self) -> Option<Request> {
        self.turn = self.turn.wrapping_add(1);
        let [one, other] = if self.turn.is_multiple_of(4) {
            [&mut self.again, &mut self.first]
        } else {
            [&mut self.first, &mut self.again]
        };
        one.pop_front().or_else(|| other.pop_front())
    }
}

/// CPU time that may be used: it grows with time, up to [`SAVED`].
#[derive(Clone, Copy, Debug)]
struct Budget {
    /// When everything that was used is paid for.
    paid_at: Instant,
}

impl Budget {
    const fn new(now: Instant) -> Self {
        Self { paid_at: now }
    }

    /// Takes what was used.
    fn pay(&mut self, used: Duration, now: Instant) {
        self.paid_at = self.paid_at.max(now) + used * SHARE;
    }

    /// How long nothing more may be used. Those that nothing is known of yet wait a moment only, which
    /// has to be paid for all the same.
    fn wait(&self, first: bool, now: Instant) -> Duration {
        let debt = self.paid_at.saturating_duration_since(now);
        let wait = debt.saturating_sub(SAVED * SHARE);
        if first { wait.min(MOMENT) } else { wait }
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
        budget.pay(SAVED, begin);
        assert_eq!(budget.wait(false, begin), Duration::ZERO);
        let used = Duration::from_millis(10);
        budget.pay(used, begin);
        assert_eq!(budget.wait(false, begin), used * SHARE);
        assert_eq!(budget.wait(true, begin), MOMENT);
        // What is used meanwhile has to be paid for, too.
        budget.pay(used, begin + MOMENT);
        assert_eq!(
            budget.wait(false, begin + MOMENT),
            (used * SHARE * 2).saturating_sub(MOMENT)
        );
        let later = begin + SAVED * SHARE * 3;
        budget.pay(SAVED, later);
        assert_eq!(budget.wait(false, later), Duration::ZERO);
        budget.pay(used, later);
        assert_eq!(budget.wait(false, later), used * SHARE);
    }

    #[test]
    fn who_is_new_comes_first_and_nobody_never() {
        let request = |id, first| Request {
            key: CgroupKey::new(1, id),
            cgroups: Vec::new(),
            cpu_limit: None,
            first,
        };
        let mut queue = Queue::default();
        for (id, first) in [
            (1, false),
            (2, true),
            (3, false),
            (4, true),
            (5, true),
            (6, true),
        ] {
            queue.add(request(id, first));
        }
        let order: Vec<u64> = std::iter::from_fn(|| queue.next())
            .map(|request| request.key.id)
            .collect();
        assert_eq!(order, [2, 4, 5, 1, 6, 3]);
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
