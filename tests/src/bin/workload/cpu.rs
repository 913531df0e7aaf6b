//! Modes that use CPU time and switch.
//!
//! Threads are made after `go`, so that their whole life is in the cgroup, and stay asleep after
//! their work, so that /proc can still be asked about them.

use std::{
    io::{Read, Write},
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::thread::futex;
use serde_json::{Value, json};

use crate::{Options, own};

/// Which CPUs threads may use.
#[derive(Clone, Copy)]
enum Pin {
    /// Those of the process.
    Free,
    /// Each another one.
    Apart,
    /// All the first one.
    Together,
}

/// Runs `work(i)` in `count` threads; returns what each says, with its counters, when all are done.
fn in_threads(
    count: usize,
    pin: Pin,
    work: impl Fn(usize) -> Result<Value> + Send + Sync + 'static,
) -> Result<Value> {
    let work = Arc::new(work);
    let (sender, receiver) = mpsc::channel();
    if matches!(pin, Pin::Together) {
        // Before there are threads, so that none has to be moved.
        pin_to(Some(0))?;
    }
    let start = Instant::now();
    for number in 0..count {
        let (sender, work) = (sender.clone(), Arc::clone(&work));
        thread::spawn(move || {
            let cpu = match pin {
                Pin::Free | Pin::Together => None,
                Pin::Apart => Some(number),
            };
            let said = pin_to(cpu)
                .and_then(|()| work(number))
                .and_then(|own| Ok(json!({ "own": own, "counters": own::counters()? })));
            // Nobody listens any more only when the process is ending.
            let _ = sender.send(said);
            loop {
                thread::park();
            }
        });
    }
    let mut threads = Vec::new();
    for _ in 0..count {
        threads.push(receiver.recv().context("a thread died")??);
    }
    Ok(json!({ "elapsed_ns": start.elapsed().as_nanos() as u64, "threads": threads }))
}

/// Pins the calling thread to the `number`th of the CPUs it may use.
fn pin_to(number: Option<usize>) -> Result<()> {
    let Some(number) = number else { return Ok(()) };
    let allowed = rustix::thread::sched_getaffinity(None)?;
    let cpus: Vec<usize> = (0..rustix::thread::CpuSet::MAX_CPU)
        .filter(|&c| allowed.is_set(c))
        .collect();
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpus[number % cpus.len()]);
    rustix::thread::sched_setaffinity(None, &set)?;
    Ok(())
}

fn millis(options: &Options, key: &str, otherwise: u64) -> Result<Duration> {
    Ok(Duration::from_millis(options.number(key, otherwise)?))
}

fn burn(time: Duration) {
    let start = Instant::now();
    while start.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// `spin --threads N --ms T [--pin apart|together]`: every thread is busy for T of wall time.
pub fn spin(options: &Options) -> Result<Value> {
    let time = millis(options, "ms", 1000)?;
    let pin = match options.text("pin") {
        None => Pin::Free,
        Some("apart") => Pin::Apart,
        Some("together") => Pin::Together,
        Some(other) => bail!("--pin {other:?}?"),
    };
    in_threads(options.number("threads", 1)?, pin, move |_| {
        burn(time);
        Ok(Value::Null)
    })
}

/// `duty --threads N --ms T --busy-us B --idle-us I`: busy and asleep in turn.
pub fn duty(options: &Options) -> Result<Value> {
    let time = millis(options, "ms", 1000)?;
    let busy = Duration::from_micros(options.number("busy-us", 1000)?);
    let idle = Duration::from_micros(options.number("idle-us", 1000)?);
    in_threads(options.number("threads", 1)?, Pin::Free, move |_| {
        let start = Instant::now();
        while start.elapsed() < time {
            burn(busy);
            thread::sleep(idle);
        }
        Ok(Value::Null)
    })
}

/// `sleepers --threads N`: threads that do nothing.
pub fn sleepers(options: &Options) -> Result<Value> {
    in_threads(options.number("threads", 1)?, Pin::Free, |_| {
        Ok(Value::Null)
    })
}

/// `record --ms T --idle-us I`: one thread that sleeps over and over and notes how long it waited
/// for the CPU each time it woke, by its own schedstat. Where it was switched in more than once
/// between two looks, only the number and the sum are known (`unsplit`).
pub fn record(options: &Options) -> Result<Value> {
    let time = millis(options, "ms", 1000)?;
    let idle = Duration::from_micros(options.number("idle-us", 1000)?);
    in_threads(1, Pin::Free, move |_| {
        let (mut waits, mut unsplit) = (Vec::new(), Vec::new());
        let start = Instant::now();
        let mut last = own::schedstat()?;
        unsplit.push(json!([last[2], last[1]]));
        while start.elapsed() < time {
            thread::sleep(idle);
            let now = own::schedstat()?;
            match now[2] - last[2] {
                0 => {}
                1 => waits.push(now[1] - last[1]),
                many => unsplit.push(json!([many, now[1] - last[1]])),
            }
            last = now;
        }
        Ok(json!({ "waits_ns": waits, "unsplit": unsplit }))
    })
}

/// `pingpong --kind pipe|futex|processes --ms T [--rounds N]`: two threads, or two processes over
/// pipes, that wake each other.
pub fn pingpong(options: &Options) -> Result<Value> {
    let time = millis(options, "ms", 1000)?;
    let rounds = options.number("rounds", u64::MAX)?;
    match options.text("kind").unwrap_or("pipe") {
        "futex" => futex_rounds(time, rounds),
        "pipe" => {
            let (first, second) = pipe_pair()?;
            let ends = [first, second].map(std::sync::Mutex::new);
            in_threads(2, Pin::Free, move |number| {
                let mut ends = ends[number].lock().map_err(|e| anyhow::anyhow!("{e}"))?;
                Ok(json!(pipe_rounds(&mut ends, number == 0, time, rounds)?))
            })
        }
        "processes" => process_rounds(time, rounds),
        other => bail!("--kind {other:?}?"),
    }
}

/// One player's ends: what it reads from, what it writes to.
struct Ends(std::fs::File, Option<std::fs::File>);

fn pipe_pair() -> Result<(Ends, Ends)> {
    let file = |fd: OwnedFd| std::fs::File::from(fd);
    let (read_a, write_a) = rustix::pipe::pipe()?;
    let (read_b, write_b) = rustix::pipe::pipe()?;
    Ok((
        Ends(file(read_a), Some(file(write_b))),
        Ends(file(read_b), Some(file(write_a))),
    ))
}

/// Plays until the time or the rounds are over (the leader's word) or the other is gone.
fn pipe_rounds(ends: &mut Ends, leader: bool, time: Duration, rounds: u64) -> Result<u64> {
    let start = Instant::now();
    let (mut done, mut byte) = (0, [0_u8]);
    if !leader && ends.0.read(&mut byte)? == 0 {
        return Ok(0);
    }
    while !leader || (done < rounds && start.elapsed() < time) {
        ends.1.as_mut().context("closed")?.write_all(&byte)?;
        if ends.0.read(&mut byte)? == 0 {
            break;
        }
        done += 1;
    }
    // Closing tells the other that the game is over.
    ends.1 = None;
    Ok(done)
}

fn futex_rounds(time: Duration, rounds: u64) -> Result<Value> {
    let turn = Arc::new((AtomicU32::new(0), AtomicBool::new(false)));
    in_threads(2, Pin::Free, move |number| {
        let (word, over) = &*turn;
        let (mine, start, mut done) = (number as u32, Instant::now(), 0_u64);
        loop {
            loop {
                let now = word.load(Ordering::SeqCst);
                if now == mine {
                    break;
                }
                // An interrupted or late wait only means another look.
                let _ = futex::wait(word, futex::Flags::PRIVATE, now, None);
            }
            let last = over.load(Ordering::SeqCst)
                || (number == 0 && (done >= rounds || start.elapsed() >= time));
            if last {
                over.store(true, Ordering::SeqCst);
            }
            word.store(1 - mine, Ordering::SeqCst);
            futex::wake(word, futex::Flags::PRIVATE, 1)?;
            if last {
                return Ok(json!(done));
            }
            done += 1;
        }
    })
}

fn process_rounds(time: Duration, rounds: u64) -> Result<Value> {
    let (mut mine, mut theirs) = pipe_pair()?;
    let (parent_ends, parent_lives) = rustix::pipe::pipe()?;
    let start = Instant::now();
    let pid = own::fork()?;
    if pid == 0 {
        own::die_with_parent()?;
        drop(parent_lives);
        drop(mine);
        let played = pipe_rounds(&mut theirs, false, time, rounds);
        // Asleep until the parent is gone, so that /proc still knows this process.
        let _ = std::fs::File::from(parent_ends).read(&mut [0]);
        std::process::exit(i32::from(played.is_err()));
    }
    drop(theirs);
    let done = pipe_rounds(&mut mine, true, time, rounds)?;
    std::mem::forget(parent_lives);
    Ok(json!({ "elapsed_ns": start.elapsed().as_nanos() as u64, "child": pid, "rounds": done }))
}
