//! Every event's line, written out, and what hostile text does to it.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::model::identity::{Attribute, Identity, Level};
use crate::model::oom::OomScope;
use crate::sinks::samples;

fn line(event: &Event) -> String {
    let mut out = Vec::new();
    JsonLines::new("node-1".into(), samples::clock())
        .write(event, &mut out)
        .unwrap();
    String::from_utf8(out).unwrap()
}

fn body_of(body: EventBody) -> String {
    let start = "\"schema_version\":1,\"time\":\"2026-01-02T03:04:06.000000007Z\",\
                 \"monotonic_ns\":1000000007,\"seq\":42,\"host.name\":\"node-1\",";
    let kind = body.kind().name();
    let line = line(&samples::event(body));
    let line = line.strip_suffix("}\n").unwrap();
    line.strip_prefix(&format!("{{\"event\":\"{kind}\",{start}"))
        .unwrap()
        .to_owned()
}

const WEB: &str = r#""container.id":"4f2a","container.name":"web","container.image.name":"nginx:1.27","container.runtime.name":"docker","process.linux.cgroup":"/docker/4f2a","#;

#[test]
fn cpu_throttle_has_its_contract() {
    let got = body_of(EventBody::CpuThrottle(Box::new(samples::throttle())));
    let rest = r#""throttle.duration_ns":83140250,"throttle.cpu":3,"throttle.level":"container","throttle.cgroup":"/docker/4f2a","throttle.source":"tracepoint","throttle.burn_ns":16859750,"throttle.threads":4,"throttle.quota.quota_us":150000,"throttle.quota.period_us":100000,"throttle.quota.cpus":1.5,"throttle.held.cgroup":"/docker/4f2a""#;
    assert_eq!(got, format!("{WEB}{rest}"));
}

#[test]
fn what_is_not_known_is_left_out() {
    let mut event = samples::throttle();
    event.container = Arc::new(samples::pod());
    event.quota_ns = None;
    event.burn_ns = None;
    event.threads = 0;
    event.level = Level::Pod;
    let got = body_of(EventBody::CpuThrottle(Box::new(event)));
    let expected = r#""container.id":"ab","k8s.pod.uid":"12","container.unresolved":"no runtime socket","process.linux.cgroup":"/kubepods/burstable/pod12/ab","throttle.duration_ns":83140250,"throttle.cpu":3,"throttle.level":"pod","throttle.cgroup":"/docker/4f2a","throttle.source":"tracepoint","throttle.threads":0,"throttle.quota.period_us":100000"#;
    assert_eq!(got, expected);
}

#[test]
fn a_period_of_zero_gives_no_cpus() {
    let mut event = samples::throttle();
    event.period_ns = 0;
    let got = body_of(EventBody::CpuThrottle(Box::new(event)));
    assert!(!got.contains("quota.cpus"), "{got}");
}

#[test]
fn oom_kill_has_its_contract() {
    let got = body_of(EventBody::OomKill(Box::new(samples::oom())));
    let rest = r#""oom.summary":"killed `java` (pid 4211, 497 MiB anonymous) because container web reached its memory limit of 512 MiB; `curl` (pid 4310) asked for the page","oom.scope":"memory_cgroup","oom.source":"tracepoint","oom.limit.cgroup":"/docker/4f2a","oom.limit.level":"container","oom.limit.bytes":536870912,"oom.limit.memory_and_swap":false,"oom.limit.evidence":"memcg_event","oom.usage_bytes":536870912,"oom.order":0,"oom.gfp_flags":3264,"oom.group":false,"oom.victim_number":1,"oom.victims":1,"oom.victim.process.pid":4211,"oom.victim.process.thread":4230,"oom.victim.process.parent_pid":4200,"oom.victim.process.command":"java","oom.victim.process.command_line":"java -jar app.jar","oom.victim.process.user.id":1000,"oom.victim.oom_score_adj":0,"oom.victim.age_ns":83500000000,"oom.victim.memory.total_vm_bytes":3145728000,"oom.victim.memory.anon_bytes":521142272,"oom.victim.memory.file_bytes":12582912,"oom.victim.memory.shmem_bytes":0,"oom.victim.memory.swap_bytes":0,"oom.victim.memory.page_tables_bytes":1572864,"oom.victim.memory.exact":true,"oom.trigger.process.pid":4310,"oom.trigger.process.command":"curl","oom.trigger.container.id":"4f2a","oom.trigger.container.name":"web","memory.current_bytes":14680064,"memory.limit_bytes":536870912,"memory.peak_bytes":536870912,"oom.verdict":"leak","oom.verdict_reason":"a leak: it grew","oom.recommendation":"take two heap profiles","oom.growth.part":"anon","oom.growth.bytes":52428800,"oom.growth.window_ns":50000000000,"oom.growth.bytes_per_second":1048576.0,"oom.history":[[20000000000,419430400],[10000000000,471859200],[1000000000,524288000]],"oom.largest_processes":[{"pid":4211,"command":"java","bytes":521142272}]"#;
    assert_eq!(got, format!("{WEB}{rest}"));
}

#[test]
fn finding_has_its_contract() {
    let got = body_of(EventBody::Finding(Box::new(samples::finding())));
    let rest = r#""finding.kind":"cpu_oversubscription","finding.phase":"start","finding.severity":"warning","finding.confidence":"high","finding.summary":"`server` (pid 7) computes with 16 threads","finding.evidence":{"threads_at_once":16,"throttled_ratio":0.5,"setting":"GOMAXPROCS"},"finding.recommendation":"set GOMAXPROCS=1""#;
    assert_eq!(got, format!("{WEB}{rest}"));
}

#[test]
fn summaries_say_what_ran_out() {
    let mut event = samples::oom();
    event.trigger = event.victim.clone();
    let pod = Arc::new(Identity {
        k8s_pod_name: Some("shop-1".into()),
        ..samples::pod()
    });
    if let Some(limit) = &mut event.limit {
        limit.cgroup = pod;
        limit.level = Level::Pod;
        limit.limit_bytes = None;
        limit.memory_and_swap = true;
    }
    assert_eq!(
        OomSummary(&event).to_string(),
        "killed `java` (pid 4211, 497 MiB anonymous) because pod shop-1 reached its limit of \
         memory and swap; it asked for the page itself"
    );
    event.scope = OomScope::Node;
    event.memory.shmem_bytes = 1 << 40;
    event.trigger.pid = 0;
    assert_eq!(
        OomSummary(&event).to_string(),
        "killed `java` (pid 4211, 1 TiB shared) because the machine ran out of memory"
    );
}

#[test]
fn container_exit_has_its_contract() {
    let got = samples::all()
        .into_iter()
        .map(|event| event.body)
        .find_map(|body| matches!(body, EventBody::ContainerExit(_)).then(|| body_of(body)));
    let rest = r#""container.lifetime_ns":50000000,"container.restart_count":2,"container.exit.code":137,"container.exit.signal":9,"container.exit.cause":"oom_killed","container.exit.oom_kill_seq":1"#;
    assert_eq!(got.unwrap(), format!("{WEB}{rest}"));
}

#[test]
fn container_named_has_its_contract() {
    let got = body_of(EventBody::ContainerNamed(samples::named()));
    let rest = r#""named.lines":3,"named.seqs":[4,5,7]"#;
    assert_eq!(got, format!("{WEB}{rest}"));
}

#[test]
fn attributes_are_told_under_their_keys() {
    let attribute = |key: &str, value: &str| Attribute {
        key: key.into(),
        value: value.into(),
        resolver: "api_server",
    };
    let attributes = vec![
        attribute("k8s.deployment.name", "web"),
        attribute("k8s.pod.label.app/\"x\"", "a\n\u{202e}b"),
    ];
    let mut event = samples::throttle();
    event.container = Arc::new(Identity {
        attributes: attributes.into(),
        ..samples::web()
    });
    let got = body_of(EventBody::CpuThrottle(Box::new(event)));
    let part = r#""k8s.deployment.name":"web","k8s.pod.label.app/\"x\"":"a\n\u202eb","#;
    assert!(got.contains(part), "{got}");
}

#[test]
fn container_stats_has_its_contract() {
    let got = body_of(EventBody::ContainerStats(Box::new(samples::stats())));
    let rest = r#""interval_ns":2000000000,"sched.context_switches.voluntary":4000,"sched.context_switches.involuntary":100,"sched.context_switches.voluntary_per_second":2000.0,"sched.context_switches.involuntary_per_second":50.0,"sched.context_switches.per_cpu_second":2733.3333333333335,"sched.context_switches.preempted_by_own":60,"sched.context_switches.preempted_by_others":30,"sched.cpu_time_ns":1500000000,"sched.threads":9,"sched.threads_running":0.75,"sched.threads_runnable":0.903,"sched.threads_ran":11,"sched.threads_running_peak":2,"sched.threads_runnable_peak":8,"sched.run_queue.wait_ns":6000000,"sched.run_queue.count":3,"sched.run_queue.wait_own_ns":3500000,"sched.run_queue.wait_others_ns":2000000,"sched.run_queue.throttled_wait_ns":300000000,"sched.run_queue.throttled_wait_ancestor_ns":100000000,"sched.run_queue.p50_ns":1998847,"sched.run_queue.p90_ns":2949119,"sched.run_queue.p99_ns":2949119,"sched.run_queue.max_ns":3014655,"sched.run_queue.buckets":[[983040,1],[1966080,1],[2883584,1]],"sched.on_cpu.p50_ns":95,"sched.on_cpu.p99_ns":95,"sched.on_cpu.max_ns":127,"sched.on_cpu.buckets":[[64,2]],"throttle.summed_ns":900000000,"throttle.frozen_ns":250000000,"throttle.intervals":2,"throttle.periods":20,"throttle.throttled_periods":5,"throttle.burst_periods":3,"throttle.burst_ns":12000000,"throttle.burn_periods":4,"throttle.burn_mean_ns":15000000,"throttle.burn_min_ns":12000000,"throttle.burn_cpus":1.75,"throttle.burn_threads":4.5,"throttle.unseen_ns":0,"throttle.p50_ns":444596223,"throttle.p99_ns":444596223,"throttle.max_ns":452984831,"throttle.buckets":[[436207616,2]],"sched.run_queue.neighbours":[{"container.name":"batch","process.linux.cgroup":"/docker/77aa","wait_ns":1800000,"cpu_time_ns":1200000000}],"memory.current_bytes":314572800,"memory.limit_bytes":536870912,"memory.growth_bytes_per_second":1024.5"#;
    assert_eq!(got, format!("{WEB}{rest}"));
}

#[test]
fn agent_has_its_contract() {
    let got = body_of(EventBody::Agent(Box::new(samples::agent())));
    let expected = r#""agent.phase":"stop","agent.attached_after_ns":180000000,"agent.capabilities":["CAP_SYS_PTRACE"],"agent.lost.ring":1,"agent.lost.slots":2,"agent.lost.clock":3,"agent.lost.undecodable":4,"agent.lost.sink":5,"agent.lost.maps":6,"agent.lost.reads":7,"agent.lost.unseen_throttle_ns":8,"agent.names.lines":9,"agent.names.unnamed":2,"agent.names.completed":1,"agent.findings.unwatched":4,"agent.findings.looks_awaited":2,"agent.cost.cpu_ratio":0.004,"agent.cost.resident_bytes":20971520,"agent.plan":{"cgroup_hierarchy":"v1:cpu","signals":{"oom_kill":{"source":"tracepoint","programs":["mark_victim"],"notes":["no fexit"]}}}"#;
    assert_eq!(got, expected);
}

#[test]
fn an_interval_of_no_length_has_no_rates() {
    let mut stats = samples::stats();
    stats.interval_ns = 0;
    let got = body_of(EventBody::ContainerStats(Box::new(stats)));
    assert!(!got.contains("per_second\":null") && !got.contains("voluntary_per_second"));
}

#[test]
fn a_path_longer_than_any_is_cut() {
    let mut event = samples::throttle();
    event.container = Arc::new(Identity {
        cgroup_path: "x".repeat(5000),
        ..Identity::default()
    });
    let got: Value = serde_json::from_str(&line(&samples::event(EventBody::CpuThrottle(
        Box::new(event),
    ))))
    .unwrap();
    assert_eq!(
        got["process.linux.cgroup"],
        format!("{}…[904 bytes more]", "x".repeat(4096))
    );
}

proptest! {
    #[test]
    fn hostile_names_come_back_as_they_were(name in any::<String>(), path in any::<String>()) {
        let mut event = samples::throttle();
        event.container = Arc::new(Identity {
            cgroup_path: path.clone(),
            container_name: Some(name.clone()),
            ..Identity::default()
        });
        let line = line(&samples::event(EventBody::CpuThrottle(Box::new(event))));
        prop_assert_eq!(line.matches('\n').count(), 1);
        let printable = line.trim_end_matches('\n');
        prop_assert!(!printable.chars().any(crate::sinks::text::is_hostile));
        let value: Value = serde_json::from_str(&line).unwrap();
        prop_assert_eq!(&value["container.name"], &Value::from(name));
        prop_assert_eq!(&value["process.linux.cgroup"], &Value::from(path));
    }
}

#[test]
fn tag_characters_become_surrogate_pairs() {
    let mut event = samples::throttle();
    event.container = Arc::new(Identity {
        cgroup_path: "a\u{e0041}ä\u{9b}".into(),
        ..Identity::default()
    });
    let got = line(&samples::event(EventBody::CpuThrottle(Box::new(event))));
    assert!(
        got.contains("\"process.linux.cgroup\":\"a\\udb40\\udc41ä\\u009b\""),
        "{got}"
    );
}

#[test]
fn the_documentation_names_every_key() {
    let page = include_str!("../../../../docs/events.md");
    for event in samples::all() {
        let line: Value = serde_json::from_str(&line(&event)).unwrap();
        for key in line.as_object().unwrap().keys() {
            let named = page.contains(&format!("`{key}`"));
            assert!(named, "docs/events.md is without `{key}`: {line}");
        }
    }
}
