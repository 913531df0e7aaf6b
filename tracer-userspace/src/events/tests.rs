//! Good, truncated and hostile bytes.

use proptest::prelude::*;
use tracer_common::{
    header::{CgroupKey, RecordHeader},
    records::{CGROUP_MKDIR, CGROUP_PATH_MAX, CgroupLifecycle, THROTTLE_SOURCE_TIMER},
};

use super::*;

fn bytes_of<T: Copy>(record: &T) -> Vec<u8> {
    // SAFETY: the record types have no padding (the asserts on their sizes).
    unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(record).cast::<u8>(), size_of::<T>()).to_vec()
    }
}

fn interval() -> ThrottleInterval {
    ThrottleInterval {
        header: RecordHeader {
            kind: KIND_THROTTLE_INTERVAL,
            size: size_of::<ThrottleInterval>() as u32,
            cpu: 1,
            reserved: 0,
            monotonic_ns: 77,
        },
        quota_cgroup: CgroupKey::new(1, 5),
        held_cgroup: CgroupKey::new(1, 6),
        duration_ns: 90_000_000,
        quota_ns: 10_000_000,
        period_ns: 100_000_000,
        burn_ns: 9_000_000,
        cpu: 0,
        threads: 3,
        source: THROTTLE_SOURCE_TIMER,
        reserved: 0,
    }
}

fn lifecycle(path: &[u8]) -> Vec<u8> {
    let size = size_of::<CgroupLifecycle>() - CGROUP_PATH_MAX + path.len();
    let mut record = CgroupLifecycle {
        header: RecordHeader {
            kind: KIND_CGROUP_LIFECYCLE,
            size: size as u32,
            ..RecordHeader::default()
        },
        cgroup: CgroupKey::new(4, 9),
        parent_id: 8,
        operation: CGROUP_MKDIR,
        level: 2,
        slot: 12,
        pid: 0,
        path_len: path.len() as u32,
        reserved: 0,
        path: [0; CGROUP_PATH_MAX],
    };
    record.path[..path.len()].copy_from_slice(path);
    let mut bytes = bytes_of(&record);
    bytes.truncate(size);
    bytes
}

#[test]
fn an_interval_is_read_as_it_was_written() {
    let Ok(Record::Throttle(got)) = decode(&bytes_of(&interval())) else {
        panic!("no interval");
    };
    assert_eq!((got.monotonic_ns, got.cpu, got.threads), (77, 0, 3));
    assert_eq!(got.quota_cgroup, CgroupKey::new(1, 5));
    assert_eq!(got.held_cgroup, Some(CgroupKey::new(1, 6)));
    assert_eq!(
        (got.quota_ns, got.burn_ns),
        (Some(10_000_000), Some(9_000_000))
    );
}

#[test]
fn no_quota_and_no_period_are_none() {
    let mut record = interval();
    record.quota_ns = u64::MAX;
    record.burn_ns = u64::MAX;
    record.held_cgroup = CgroupKey::new(1, 0);
    let Ok(Record::Throttle(got)) = decode(&bytes_of(&record)) else {
        panic!("no interval");
    };
    assert_eq!(
        (got.quota_ns, got.burn_ns, got.held_cgroup),
        (None, None, None)
    );
}

#[test]
fn a_path_is_only_as_long_as_it_is_used() {
    for path in [&b""[..], b"/docker/abc", &[0xff; CGROUP_PATH_MAX - 2]] {
        let Ok(Record::Cgroup(got)) = decode(&lifecycle(path)) else {
            panic!("no cgroup");
        };
        assert_eq!(got.path, path);
        assert_eq!(
            (got.key, got.parent_id, got.slot),
            (CgroupKey::new(4, 9), 8, Some(12))
        );
    }
}

#[test]
fn a_path_that_the_kernel_cut_says_so() {
    let Ok(Record::Cgroup(got)) = decode(&lifecycle(&[b'a'; CGROUP_PATH_MAX - 1])) else {
        panic!("no cgroup");
    };
    assert!(got.path.ends_with("a…(cgroup 9)".as_bytes()));
}

#[test]
fn every_truncation_is_an_error() {
    for whole in [
        bytes_of(&interval()),
        lifecycle(b"/a/b"),
        bytes_of(&OomKill {
            header: RecordHeader {
                kind: KIND_OOM_KILL,
                size: size_of::<OomKill>() as u32,
                ..RecordHeader::default()
            },
            ..OomKill::default()
        }),
    ] {
        assert!(decode(&whole).is_ok());
        for length in 0..whole.len() {
            assert!(
                decode(&whole[..length]).is_err(),
                "{length} of {}",
                whole.len()
            );
        }
    }
}

#[test]
fn a_path_longer_than_its_record_is_refused() {
    let mut bytes = lifecycle(b"/a");
    let offset = 24 + 16 + 8 + 4 * 4;
    bytes[offset..offset + 4].copy_from_slice(&5000u32.to_ne_bytes());
    assert!(matches!(
        decode(&bytes),
        Err(DecodeError::Impossible {
            member: "path_len",
            ..
        })
    ));
}

#[test]
fn an_unknown_kind_is_named() {
    let mut bytes = bytes_of(&interval());
    bytes[..4].copy_from_slice(&99u32.to_ne_bytes());
    assert_eq!(decode(&bytes), Err(DecodeError::UnknownKind(99)));
}

proptest! {
    #[test]
    fn garbage_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..1400), kind in 0u32..6) {
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&kind.to_ne_bytes());
        }
        if bytes.len() >= 8 {
            let size = bytes.len() as u32;
            bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        }
        let _ = decode(&bytes);
    }
}
