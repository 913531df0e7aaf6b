//! What people see, written out.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::model::event::{AgentPhase, Lost};
use crate::model::finding::FindingPhase;
use crate::model::identity::Level;
use crate::model::stats::{IntervalHistograms, ThrottleStats};
use crate::sinks::samples;
use crate::sinks::text::is_hostile;

fn shown(body: EventBody) -> String {
    let mut out = Vec::new();
    Pretty::new(samples::clock(), false)
        .write(&samples::event(body), &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_oom_kill_is_a_block() {
    let got = shown(EventBody::OomKill(Box::new(samples::oom())));
    let expected = "\
03:04:06.000  OOM kill  web                       nginx:1.27, docker
              killed `java` (pid 4211, 497 MiB anonymous) because container web reached its memory limit of 512 MiB; `curl` (pid 4310) asked for the page
              victim       `java` (pid 4211), user 1000, 83.5 s old, oom_score_adj 0
              command      java -jar app.jar
              anonymous      497 MiB   97.4 %
              files           12 MiB    2.4 %
              shared             0 B    0.0 %
              swapped            0 B    0.0 %
              page tables   1.50 MiB    0.3 %
              together       510 MiB; address space 2.93 GiB
              limit          512 MiB, container /docker/4f2a; used 512 MiB (100 %)
              asked by     `curl` (pid 4310) in web
              cause        a leak: it grew
              before       ▆▇█  up to 500 MiB, from 20 s before to 1 s before
              largest        497 MiB  `java` (pid 4211)
              do           take two heap profiles
              afterwards   the container has 14 MiB, 512 MiB at its peak
";
    assert_eq!(got, expected);
}

#[test]
fn a_late_name_says_what_it_completes() {
    let got = shown(EventBody::ContainerNamed(samples::named()));
    let expected = "\
03:04:06.000  named     web                       is whom 3 lines before had no name for
";
    assert_eq!(got, expected);
}

#[test]
fn a_finding_says_what_to_do() {
    let mut event = samples::finding();
    let start = shown(EventBody::Finding(Box::new(event.clone())));
    event.phase = FindingPhase::End;
    event.lasted_ns = Some(90_000_000_000);
    let end = shown(EventBody::Finding(Box::new(event)));
    let expected = "\
03:04:06.000  finding   web                       cpu_oversubscription (warning, confidence high)
              `server` (pid 7) computes with 16 threads
              do  set GOMAXPROCS=1
03:04:06.000  finding   web                       cpu_oversubscription ended after 90 s
";
    assert_eq!(start + &end, expected);
}

#[test]
fn a_throttled_interval_is_a_line() {
    let mut event = samples::throttle();
    let own = shown(EventBody::CpuThrottle(Box::new(event.clone())));
    event.container = Arc::new(samples::pod());
    event.level = Level::Slice;
    event.threads = 1;
    event.burn_ns = None;
    event.quota_ns = None;
    let parents = shown(EventBody::CpuThrottle(Box::new(event)));
    let expected = "\
03:04:06.000  throttle  web                       83.1 ms on CPU 3   quota of 1.50 CPUs (150 ms in 100 ms) used up after 16.9 ms, 4 threads held up
03:04:06.000  throttle  12/ab                     83.1 ms on CPU 3   quota, since removed, of slice /docker/4f2a used up, 1 thread held up
";
    assert_eq!(own + &parents, expected);
}

#[test]
fn stats_are_a_line() {
    let mut stats = samples::stats();
    let full = shown(EventBody::ContainerStats(Box::new(stats.clone())));
    stats.throttle = ThrottleStats::default();
    stats.histograms = IntervalHistograms::default();
    stats.memory = None;
    let quiet = shown(EventBody::ContainerStats(Box::new(stats)));
    let expected = "\
03:04:06.000  stats     web                       cpu  0.750  switches     2000/s vol       50/s invol  wait p50 2.00 ms p99 2.95 ms  memory  300 MiB of 512 MiB (59 %) +1.00 KiB/s  throttled 900 ms summed over CPUs, frozen 250 ms, 5 of 20 periods, quota gone after 15 ms on 1.8 CPUs
03:04:06.000  stats     web                       cpu  0.750  switches     2000/s vol       50/s invol  wait p50       - p99       -
";
    assert_eq!(full + &quiet, expected);
}

#[test]
fn lives_are_lines() {
    let life = |lifetime_ns, container| Lifecycle {
        container: Arc::new(container),
        lifetime_ns,
        restart_count: None,
        exit: None,
    };
    let start = shown(EventBody::ContainerStart(life(None, samples::web())));
    let exit = shown(EventBody::ContainerExit(life(
        Some(50_000_000),
        samples::pod(),
    )));
    let expected = "\
03:04:06.000  start     web                       nginx:1.27, docker, /docker/4f2a
03:04:06.000  exit      12/ab                     after 50 ms, /kubepods/burstable/pod12/ab, no name: no runtime socket
";
    assert_eq!(start + &exit, expected);
}

#[test]
fn the_agent_tells_its_plan_and_its_losses() {
    let mut agent = samples::agent();
    let stop = shown(EventBody::Agent(Box::new(agent.clone())));
    agent.phase = AgentPhase::Start;
    agent.cost = None;
    agent.lost = Lost::default();
    let start = shown(EventBody::Agent(Box::new(agent)));
    let expected = "\
03:04:06.000  agent     start, attached after 180 ms, nothing lost, 2 containers not looked into yet
              oom_kill          by tracepoint
                                no fexit
              cgroups           v1:cpu
              capabilities      CAP_SYS_PTRACE
03:04:06.000  agent     stop, 0.40 % of a core, 20 MiB resident, lost: 1 records in the ring, 2 cgroups without slot, 3 values of a clock that ran back, 4 records undecodable, 5 events not written, 6 entries without room in a map, 7 failed reads, 8 ns throttled unseen, 2 containers not looked into yet
";
    assert_eq!(start + &stop, expected);
}

#[test]
fn colours_are_only_added() {
    for event in samples::all() {
        let (mut plain, mut coloured) = (Vec::new(), Vec::new());
        Pretty::new(samples::clock(), false)
            .write(&event, &mut plain)
            .unwrap();
        Pretty::new(samples::clock(), true)
            .write(&event, &mut coloured)
            .unwrap();
        let coloured = String::from_utf8(coloured).unwrap();
        assert!(coloured.contains("\x1b["));
        // Every sequence is `ESC [ digits and semicolons m`.
        let mut stripped = String::new();
        for (number, piece) in coloured.split("\x1b[").enumerate() {
            let text = if number == 0 {
                piece
            } else {
                piece.split_once('m').unwrap().1
            };
            stripped.push_str(text);
        }
        assert_eq!(stripped.as_bytes(), plain);
    }
}

proptest! {
    #[test]
    fn hostile_names_never_reach_the_terminal(name in any::<String>()) {
        let mut oom = samples::oom();
        let mut identity = samples::web();
        for text in [&mut identity.container_name, &mut identity.image_name] {
            *text = Some(name.clone());
        }
        identity.cgroup_path.clone_from(&name);
        identity.unresolved = Some(name.clone());
        let identity = Arc::new(identity);
        oom.container = Arc::clone(&identity);
        oom.trigger_container = Arc::clone(&identity);
        if let Some(limit) = &mut oom.limit {
            limit.cgroup = Arc::clone(&identity);
        }
        oom.victim.command.clone_from(&name);
        oom.trigger.command.clone_from(&name);
        oom.victim_command_line = Some(name.clone());
        if let Some(context) = &mut oom.context {
            context.verdict.explanation.clone_from(&name);
            context.verdict.recommendation.clone_from(&name);
            context.largest[0].command.clone_from(&name);
        }
        let mut finding = samples::finding();
        finding.container = Arc::clone(&identity);
        finding.finding.summary.clone_from(&name);
        finding.finding.recommendation = name;
        let mut throttle = samples::throttle();
        throttle.quota_cgroup = Arc::clone(&identity);
        let bodies = [
            EventBody::OomKill(Box::new(oom)),
            EventBody::CpuThrottle(Box::new(throttle)),
            EventBody::Finding(Box::new(finding)),
            EventBody::ContainerExit(Lifecycle { container: identity, lifetime_ns: None, restart_count: None, exit: None }),
        ];
        for body in bodies {
            let lines = match body {
                EventBody::OomKill(_) => 17,
                EventBody::Finding(_) => 3,
                _ => 1,
            };
            let text = shown(body);
            prop_assert_eq!(text.lines().count(), lines);
            prop_assert!(!text.replace('\n', "").chars().any(is_hostile));
        }
    }
}
