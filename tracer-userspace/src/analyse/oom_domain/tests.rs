//! Judgements over kills that are written down here.

use super::*;
use crate::events::{Constraint, KillProcess};

fn level(id: u64, usage: u64, limit: Option<u64>, events: u64) -> KillLevel {
    KillLevel {
        cgroup: CgroupKey::new(4, id),
        usage_pages: usage,
        limit_pages: limit,
        memsw_pages: None,
        oom_events: Some(events),
    }
}

fn kill(at: u64, levels: Vec<KillLevel>) -> Kill {
    Kill {
        monotonic_ns: at,
        victim: KillProcess::default(),
        cgroup: None,
        parent_pid: 1,
        uid: 0,
        start_boottime_ns: None,
        oom_score_adj: 0,
        pages: crate::events::KillPages::default(),
        page_tables_bytes: None,
        trigger: KillProcess {
            thread: 7,
            pid: 7,
            ..KillProcess::default()
        },
        levels,
        control: None,
        sharer_of: None,
        source: "tracepoint",
    }
}

#[test]
fn the_nearest_level_at_its_limit_without_history() {
    let judged = OomJudge::default().judge(&kill(
        1,
        vec![
            level(3, 10, None, 4),
            level(2, 8192, Some(8192), 9),
            level(1, 9000, Some(9000), 9),
        ],
    ));
    let domain = judged.domain.unwrap();
    assert_eq!(
        (domain.cgroup.id, domain.levels_up, domain.evidence),
        (2, 1, "usage")
    );
}

#[test]
fn growth_tells_two_full_levels_apart() {
    let mut judge = OomJudge::default();
    judge.born(CgroupKey::new(4, 3));
    judge.born(CgroupKey::new(4, 2));
    let judged = judge.judge(&kill(
        1,
        vec![level(3, 8192, Some(8192), 0), level(2, 9000, Some(9000), 1)],
    ));
    let domain = judged.domain.unwrap();
    assert_eq!((domain.cgroup.id, domain.evidence), (2, "memcg_event"));
}

#[test]
fn a_group_kill_is_one_oom_with_the_first_victims_usage() {
    let mut judge = OomJudge::default();
    judge.born(CgroupKey::new(4, 3));
    let first = judge.judge(&kill(1, vec![level(3, 8192, Some(8192), 1)]));
    let second = judge.judge(&kill(2, vec![level(3, 6000, Some(8192), 1)]));
    let next = judge.judge(&kill(3, vec![level(3, 8192, Some(8192), 2)]));
    assert_eq!(
        [
            first.victim_number,
            second.victim_number,
            next.victim_number
        ],
        [1, 2, 1]
    );
    assert_eq!(second.domain.unwrap().usage_pages, 8192);
}

#[test]
fn no_level_at_a_limit_is_the_machine() {
    let judged =
        OomJudge::default().judge(&kill(1, vec![level(3, 10, None, 0), level(1, 50, None, 0)]));
    assert_eq!(
        judged,
        Judgement {
            domain: None,
            victim_number: 1
        }
    );
}

#[test]
fn memory_and_swap_is_a_limit_too() {
    let mut full = level(3, 100, Some(1000), 1);
    full.memsw_pages = Some((2000, 2000));
    let domain = OomJudge::default()
        .judge(&kill(1, vec![full]))
        .domain
        .unwrap();
    assert!(domain.memory_and_swap);
    assert_eq!((domain.usage_pages, domain.limit_pages), (2000, Some(2000)));
}

fn control(entered_ns: u64, domain: Option<KillLevel>) -> KillControl {
    KillControl {
        entered_ns,
        chosen_pid: 1,
        chosen_points: None,
        gfp_mask: 0,
        order: 0,
        constraint: Constraint::None,
        domain,
    }
}

#[test]
fn the_oom_killers_own_word_counts() {
    let mut told = kill(
        5,
        vec![level(3, 8192, Some(8192), 1), level(2, 9000, Some(9000), 1)],
    );
    told.control = Some(control(4, Some(level(2, 9001, Some(9000), 1))));
    let domain = OomJudge::default().judge(&told).domain.unwrap();
    assert_eq!(
        (domain.cgroup.id, domain.levels_up, domain.usage_pages),
        (2, 1, 9001)
    );
    assert_eq!(domain.evidence, "oom_control");

    told.control = Some(control(4, None));
    assert_eq!(OomJudge::default().judge(&told).domain, None);
}

#[test]
fn victims_of_one_entry_are_numbered() {
    let mut judge = OomJudge::default();
    let mut number = |at, entered| {
        let mut told = kill(at, vec![level(3, 8192, Some(8192), 1)]);
        told.control = Some(control(entered, None));
        judge.judge(&told).victim_number
    };
    assert_eq!(
        [number(5, 4), number(6, 4), number(8, 7), number(9, 7)],
        [1, 2, 1, 2]
    );
}

#[test]
fn a_process_dies_once() {
    let mut judge = OomJudge::default();
    let mut again = |pid, start| {
        let mut killed = kill(9, Vec::new());
        killed.victim.pid = pid;
        killed.start_boottime_ns = start;
        judge.is_repeated(&killed)
    };
    assert!(!again(5, Some(70)));
    assert!(again(5, Some(70)));
    assert!(!again(5, Some(71)), "another process with this id");
    assert!(!again(6, None) && !again(6, None), "not to be told apart");
}
