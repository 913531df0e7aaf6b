//! Puts records into the agent's own ring, as fast as it takes them.
//!
//! A program that the kernel runs on request copies records from a map of its own into the ring,
//! with the helper that any program may use. Everything from there on is the real path: the ring,
//! the wake-up, the reader, decoding, the index, the line, the pipe.

use std::{
    os::fd::{AsRawFd, OwnedFd},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use limitscope_tests::{cgroup::Cgroup, referee::fdinfo};
use tracer_common::{
    header::{CgroupKey, RecordHeader},
    maps::THROTTLES_BYTES,
    records::{KIND_THROTTLE_INTERVAL, THROTTLE_SOURCE_TIMER, ThrottleInterval},
};

use crate::bpf::{self, insn};

/// Records that one run of the program puts into the ring.
const BATCH: usize = 64;
/// Bytes of a record.
const SIZE: usize = size_of::<ThrottleInterval>();

/// Records of throttled intervals, one by cgroup, as the kernel's side sends them.
#[derive(Debug)]
pub struct Injector {
    program: OwnedFd,
    _records: OwnedFd,
    /// The ring is the agent's; this keeps it open.
    _ring: OwnedFd,
    batches: usize,
    next: usize,
}

impl Injector {
    /// For the agent `pid`. `hierarchy` is the one whose ids the records carry.
    pub fn new(pid: u32, hierarchy: u32, cgroups: &[Cgroup]) -> Result<Self> {
        let ring = fdinfo::maps(pid)?
            .into_iter()
            .find(|map| map.kind == fdinfo::RING && map.max_entries == u64::from(THROTTLES_BYTES))
            .context("the agent has no ring of throttled intervals")?;
        let ring = bpf::borrow(pid, ring.fd)?;
        let mut bytes = Vec::new();
        for (number, cgroup) in cgroups.iter().enumerate() {
            put(&mut bytes, &record(number, hierarchy, cgroup)?);
        }
        let batches = cgroups.len() / BATCH;
        ensure!(batches > 0, "at least {BATCH} cgroups are needed");
        let records = bpf::array_of_one(&bytes)?;
        let program = bpf::load(
            bpf::RAW_TRACEPOINT,
            &program(&records, &ring, (batches - 1) as i32),
            None,
        )?;
        Ok(Self {
            program,
            _records: records,
            _ring: ring,
            batches,
            next: 0,
        })
    }

    /// Keeps the ring full for `time`, beginning with the moment when it is full for the first
    /// time. Returns the records that it took in all, those since that moment, and the seconds.
    pub fn keep_full(&mut self, time: Duration) -> Result<Flow> {
        let mut total = self.until_full()?;
        let begin = Instant::now();
        let mut taken = 0;
        loop {
            thread::sleep(Duration::from_micros(200));
            taken += self.until_full()?;
            let seconds = begin.elapsed().as_secs_f64();
            if seconds >= time.as_secs_f64() {
                total += taken;
                return Ok(Flow {
                    total,
                    taken,
                    seconds,
                });
            }
        }
    }

    /// Adds records until one is refused; returns how many were not.
    pub fn until_full(&mut self) -> Result<u64> {
        let mut taken = 0;
        loop {
            let refused = u64::from(bpf::run(&self.program, self.next as u64)?);
            self.next = (self.next + 1) % self.batches;
            taken += BATCH as u64 - refused;
            if refused > 0 {
                return Ok(taken);
            }
        }
    }
}

/// What went through the ring.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Records that the ring took.
    pub total: u64,
    /// Those while it was kept full: as many as were read from it.
    pub taken: u64,
    /// How long that was.
    pub seconds: f64,
}

fn record(number: usize, hierarchy: u32, cgroup: &Cgroup) -> Result<ThrottleInterval> {
    use std::os::unix::fs::MetadataExt;

    let dir = if hierarchy == 0 {
        cgroup.unified_dir().context("there is no v2 tree")?
    } else {
        cgroup.controller_dir("cpu")?.1
    };
    let key = CgroupKey::new(hierarchy, std::fs::metadata(dir)?.ino());
    Ok(ThrottleInterval {
        header: RecordHeader {
            kind: KIND_THROTTLE_INTERVAL,
            size: SIZE as u32,
            cpu: 0,
            reserved: 0,
            monotonic_ns: limitscope_tests::wait::monotonic_ns(),
        },
        quota_cgroup: key,
        held_cgroup: key,
        // Lengths differ, as they do in life: the digits are part of the work.
        duration_ns: 40_000_000 + 1_234_567 * number as u64 % 50_000_000,
        quota_ns: 50_000_000,
        period_ns: 100_000_000,
        burn_ns: 12_345_678 + number as u64,
        cpu: number as u32 % 8,
        threads: 1 + number as u32 % 4,
        source: THROTTLE_SOURCE_TIMER,
        reserved: 0,
    })
}

/// The record's bytes, member by member.
fn put(bytes: &mut Vec<u8>, record: &ThrottleInterval) {
    let key = |bytes: &mut Vec<u8>, key: &CgroupKey| {
        bytes.extend(key.hierarchy.to_ne_bytes());
        bytes.extend(key.reserved.to_ne_bytes());
        bytes.extend(key.id.to_ne_bytes());
    };
    let header = &record.header;
    for word in [header.kind, header.size, header.cpu, header.reserved] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(header.monotonic_ns.to_ne_bytes());
    key(bytes, &record.quota_cgroup);
    key(bytes, &record.held_cgroup);
    for long in [
        record.duration_ns,
        record.quota_ns,
        record.period_ns,
        record.burn_ns,
    ] {
        bytes.extend(long.to_ne_bytes());
    }
    for word in [record.cpu, record.threads, record.source, record.reserved] {
        bytes.extend(word.to_ne_bytes());
    }
}

/// `fn(batch) -> refused`: puts the records of a batch into the ring.
fn program(records: &OwnedFd, ring: &OwnedFd, last: i32) -> Vec<u64> {
    const LOOKUP: i32 = 1;
    const RINGBUF_OUTPUT: i32 = 130;
    // An address of a map: two instructions, of which the first has the descriptor.
    let map = |register, fd: &OwnedFd| [insn(0x18, register, 1, 0, fd.as_raw_fd()), 0];
    let mut code = vec![
        insn(0xb7, 0, 0, 0, BATCH as i32), // r0 = BATCH: what is returned on a bad batch
        insn(0x79, 6, 1, 0, 0),            // r6 = batch
        insn(0xb5, 6, 0, 1, last),         // if r6 <= last: over the next
        insn(0x95, 0, 0, 0, 0),            // exit
        insn(0x62, 10, 0, -4, 0),          // key = 0
        insn(0xbf, 2, 10, 0, 0),           // r2 = &key
        insn(0x07, 2, 0, 0, -4),
    ];
    code.extend(map(1, records));
    code.extend([
        insn(0x85, 0, 0, 0, LOOKUP),
        insn(0x55, 0, 0, 1, 0), // if found: over the next
        insn(0x95, 0, 0, 0, 0), // exit
        insn(0x27, 6, 0, 0, (BATCH * SIZE) as i32),
        insn(0xbf, 7, 0, 0, 0),
        insn(0x0f, 7, 6, 0, 0), // r7 = first record
        insn(0xb7, 8, 0, 0, 0), // r8 = 0: refused
    ]);
    for number in 0..BATCH {
        code.extend(map(1, ring));
        code.extend([
            insn(0xbf, 2, 7, 0, 0),
            insn(0x07, 2, 0, 0, (number * SIZE) as i32),
            insn(0xb7, 3, 0, 0, SIZE as i32),
            insn(0xb7, 4, 0, 0, 0),
            insn(0x85, 0, 0, 0, RINGBUF_OUTPUT),
            insn(0x77, 0, 0, 0, 63), // the sign of what it returned
            insn(0x0f, 8, 0, 0, 0),
        ]);
    }
    code.extend([insn(0xbf, 0, 8, 0, 0), insn(0x95, 0, 0, 0, 0)]);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_record() {
        let mut bytes = Vec::new();
        put(&mut bytes, &ThrottleInterval::default());
        assert_eq!(bytes.len(), SIZE);
    }
}
