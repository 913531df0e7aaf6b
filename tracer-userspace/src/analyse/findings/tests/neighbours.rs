//! Whom a container waits for, and what to do about it.

use super::*;
use crate::model::{identity::Level, stats::Neighbour};

/// Ran `ran` ms of a second, waited `own` ms for its own threads and `others` ms for `neighbours`:
/// names, how long, and what they used, in ms.
fn waits(ran: u64, own: u64, others: u64, neighbours: &[(Identity, u64, u64)]) -> Case {
    let mut case = Case::cpu(0.0, 1.0, 0, 0.0);
    case.limit = None;
    case.stats.sched = SchedStats {
        cpu_time_ns: ran * 1_000_000,
        wait_ns: (own + others) * 1_000_000,
        wait_own_ns: own * 1_000_000,
        wait_others_ns: others * 1_000_000,
        ..SchedStats::default()
    };
    let neighbours = neighbours.iter().map(|(who, wait, used)| Neighbour {
        container: Arc::new(who.clone()),
        wait_ns: wait * 1_000_000,
        cpu_time_ns: Some(used * 1_000_000),
    });
    case.stats.neighbours = neighbours.collect();
    case
}

fn docker(name: &str) -> Identity {
    Identity {
        cgroup_path: format!("/docker/{name}"),
        level: Level::Container,
        container_id: Some("4f2a".to_owned()),
        container_name: Some(name.to_owned()),
        runtime_name: Some("docker"),
        ..Identity::default()
    }
}

#[test]
fn a_hog_is_named_with_its_share_and_its_cpu_time() {
    // Two CPUs: the hog has one and three quarters.
    let case = waits(
        500,
        0,
        400,
        &[(docker("batch"), 360, 1400), (docker("x"), 40, 50)],
    );
    let found = case.found();
    assert_eq!(found.len(), 1, "{found:?}");
    let found = &found[0];
    assert_eq!(found.kind, FindingKind::NoisyNeighbour);
    assert_eq!(found.severity, Severity::Warning);
    assert_eq!(found.confidence, Confidence::High);
    assert_eq!(
        found.summary,
        "for 44 % of the time in which its threads ran or wanted to, they waited while a CPU ran \
         others; 90 % of that wait is for batch, which used 1.4 CPUs"
    );
    assert_eq!(count(found, "neighbour_wait_ns"), 360_000_000);
    assert_eq!(count(found, "neighbour_cpu_time_ns"), 1_400_000_000);
    assert_eq!(
        found.recommendation,
        "give it ten times the weight of its neighbours: cpu.weight 1000 (cgroup v1: \
         cpu.shares=10240); or limit the neighbour: docker update --cpus 0.2 batch"
    );
    let worse = waits(300, 0, 700, &[(docker("batch"), 700, 1700)]).found();
    assert_eq!(worse[0].severity, Severity::Critical);
}

#[test]
fn own_threads_and_small_waits_are_no_neighbours() {
    let batch = || [(docker("batch"), 100, 1000)];
    assert_eq!(waits(1000, 3000, 100, &batch()).kinds(), [], "its own");
    assert_eq!(waits(900, 0, 100, &batch()).kinds(), [], "a tenth");
    // Nearly idle: all that it wants is little.
    assert_eq!(waits(10, 0, 50, &[(docker("batch"), 50, 1900)]).kinds(), []);
    assert_eq!(waits(0, 0, 0, &[]).kinds(), []);
}

#[test]
fn a_full_machine_has_no_single_one() {
    let names = ["a", "b", "c", "d"].map(|name| (docker(name), 150, 350));
    let found = waits(400, 0, 600, &names).found();
    assert_eq!(found[0].confidence, Confidence::Medium);
    assert!(
        found[0].recommendation.starts_with("no single neighbour"),
        "{}",
        found[0].recommendation
    );
}

#[test]
fn what_is_recommended_is_for_the_one_that_is_meant() {
    let text = |who: Identity| {
        let case = waits(500, 0, 500, &[(who, 500, 1000)]);
        case.found().remove(0).recommendation
    };
    let pod = Identity {
        k8s_pod_uid: Some("12".to_owned()),
        ..docker("batch")
    };
    assert!(text(pod).contains("resources.limits.cpu: 200m"));
    let unit = Identity {
        container_name: Some("backup.service".to_owned()),
        runtime_name: Some("systemd"),
        ..docker("x")
    };
    assert!(text(unit).contains("systemctl set-property backup.service CPUQuota=20%"));
    let plain = Identity {
        cgroup_path: "/x".to_owned(),
        ..Identity::default()
    };
    assert!(text(plain).contains("cpu.max \"20000 100000\""));
    // A name that would run a command is not handed on as one.
    let hostile = text(docker("$(reboot)"));
    assert!(
        hostile.contains("docker update --cpus 0.2 4f2a"),
        "{hostile}"
    );
    let root = Identity {
        cgroup_path: "/".to_owned(),
        level: Level::Root,
        ..Identity::default()
    };
    assert!(!text(root).contains("limit the neighbour"));
    // And for a container of Kubernetes, what it should request.
    let mut case = waits(500, 0, 450, &[(docker("batch"), 450, 1000)]);
    case.stats.container = Arc::new(Identity {
        k8s_pod_uid: Some("13".to_owned()),
        ..docker("web")
    });
    let text = case.found().remove(0).recommendation;
    assert!(
        text.starts_with("request what it wants: resources.requests.cpu: 1000m; or"),
        "{text}"
    );
    case.stats.container = Arc::new(docker("web"));
    let text = case.found().remove(0).recommendation;
    assert!(
        text.contains("docker update --cpu-shares 10240 web (1024"),
        "{text}"
    );
}

#[test]
fn what_hovers_goes_on_and_begins_nothing() {
    let batch = |ms| [(docker("batch"), ms, 1000)];
    let between = waits(800, 0, 150, &batch(150));
    let verdict = noisy_neighbour::judge(&between.observation(), &Thresholds::default());
    assert_eq!(verdict, Verdict::Between);
    let observation = between.observation();
    assert!(noisy_neighbour::may_hold(
        &observation,
        &Thresholds::default()
    ));
}
