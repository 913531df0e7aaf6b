//! Its threads could run, and a CPU ran somebody else's instead: for a good part of the time, and
//! one that can be named.

use super::{Observation, Thresholds, Verdict, words};
use crate::model::{
    finding::{Confidence, Evidence, Finding, FindingKind, Severity},
    identity::{Identity, Level},
    stats::Neighbour,
};

/// Up to this part of the thresholds, what is begun goes on.
const END_BELOW: f64 = 0.5;
/// From this share on of the time in which its threads ran or wanted to, it is critical: less than
/// half of what it wants is left.
const CRITICAL: f64 = 0.5;
/// From this share on of the wait for others one of them is the cause, and not that they are many.
const MOST: f64 = 0.5;

/// What is waited for others, in two views.
struct Waited {
    /// Share of the time in which its threads ran or wanted to; what its own limit took is in
    /// neither.
    share: f64,
    /// Threads that waited for others at a time, on average.
    threads: f64,
}

impl Waited {
    fn of(observation: &Observation<'_>) -> Self {
        let sched = &observation.stats.sched;
        let wanted = sched.cpu_time_ns.saturating_add(sched.wait_ns);
        Self {
            share: sched.wait_others_ns as f64 / wanted.max(1) as f64,
            threads: sched.wait_others_ns as f64 / observation.stats.interval_ns.max(1) as f64,
        }
    }

    fn reaches(&self, thresholds: &Thresholds, part: f64) -> bool {
        self.share >= thresholds.neighbour_wait_ratio * part
            && self.threads >= thresholds.neighbour_wait_threads * part
    }
}

/// Whether this could be a finding, by numbers that are at hand without a look at limits: containers
/// without any are judged by this rule alone.
pub fn may_hold(observation: &Observation<'_>, thresholds: &Thresholds) -> bool {
    Waited::of(observation).reaches(thresholds, END_BELOW)
}

/// Judges an interval.
pub fn judge(observation: &Observation<'_>, thresholds: &Thresholds) -> Verdict {
    let waited = Waited::of(observation);
    // The worst comes first.
    match observation.stats.neighbours.first() {
        Some(worst) if waited.reaches(thresholds, 1.0) => {
            Verdict::Holds(Box::new(finding(observation, thresholds, &waited, worst)))
        }
        _ if waited.reaches(thresholds, END_BELOW) => Verdict::Between,
        _ => Verdict::Clear,
    }
}

fn finding(
    observation: &Observation<'_>,
    thresholds: &Thresholds,
    waited: &Waited,
    worst: &Neighbour,
) -> Finding {
    let stats = observation.stats;
    let sched = &stats.sched;
    let interval = stats.interval_ns.max(1) as f64;
    let part = (worst.wait_ns as f64 / sched.wait_others_ns.max(1) as f64).min(1.0);
    let used = worst.cpu_time_ns.map(|ns| ns as f64 / interval);
    let who = &worst.container;
    let with = used.map_or_else(String::new, |used| {
        format!(", which used {}", words::in_cpus(used))
    });
    let mut evidence = vec![
        ("wait_others_ns", Evidence::Count(sched.wait_others_ns)),
        ("wait_others_ratio", Evidence::Number(waited.share)),
        ("wait_own_ns", Evidence::Count(sched.wait_own_ns)),
        ("wait_ns", Evidence::Count(sched.wait_ns)),
        ("threads_waiting", Evidence::Number(waited.threads)),
        ("cpus_used", Evidence::Number(observation.cpus_used())),
        ("neighbour", Evidence::Text(name(who).to_owned())),
        ("neighbour_cgroup", Evidence::Text(who.cgroup_path.clone())),
        ("neighbour_wait_ns", Evidence::Count(worst.wait_ns)),
        ("neighbour_wait_ratio", Evidence::Number(part)),
    ];
    if let (Some(ns), Some(used)) = (worst.cpu_time_ns, used) {
        evidence.push(("neighbour_cpu_time_ns", Evidence::Count(ns)));
        evidence.push(("neighbour_cpus_used", Evidence::Number(used)));
    }
    if let Some(p99) = stats.histograms.run_queue_wait.quantile(0.99) {
        evidence.push(("run_queue_p99_ns", Evidence::Count(p99)));
    }
    Finding {
        kind: FindingKind::NoisyNeighbour,
        severity: if waited.share >= CRITICAL {
            Severity::Critical
        } else {
            Severity::Warning
        },
        // Of several small ones none is the cause.
        confidence: if part >= MOST {
            Confidence::High
        } else {
            Confidence::Medium
        },
        summary: format!(
            "for {} of the time in which its threads ran or wanted to, they waited while a CPU ran \
             others; {} of that wait is for {}{with}",
            words::percent(waited.share),
            words::percent(part),
            name(who),
        ),
        evidence,
        recommendation: recommendation(observation, thresholds, waited, worst),
    }
}

/// The neighbour's name; the root cgroup has none.
fn name(who: &Identity) -> &str {
    if who.level == Level::Root {
        "the root cgroup: what is in no other, and the kernel's threads"
    } else {
        who.display_name()
    }
}

/// What to set, ready to be pasted.
fn recommendation(
    observation: &Observation<'_>,
    thresholds: &Thresholds,
    waited: &Waited,
    worst: &Neighbour,
) -> String {
    let first = precedence(observation, waited);
    let part = worst.wait_ns as f64 / observation.stats.sched.wait_others_ns.max(1) as f64;
    if part < MOST {
        return format!(
            "no single neighbour is it: the machine has too little CPU time for all of them. \
             {first}; or move it, or some of them, to another machine"
        );
    }
    // What is waited for the neighbour goes with what the neighbour runs. As much has to go as
    // brings the whole wait to where the finding ends.
    let (wanted, waits) = (observation.cpus_used() + waited.threads, waited.threads);
    let too_much = waits - thresholds.neighbour_wait_ratio * END_BELOW * wanted;
    let keeps = (1.0 - too_much / (waits * part).max(f64::MIN_POSITIVE)).max(0.1);
    let interval = observation.stats.interval_ns.max(1) as f64;
    let limit = worst.cpu_time_ns.and_then(|ns| {
        let tenths = (ns as f64 / interval * keeps * 10.0).floor().max(1.0);
        limit_of(&worst.container, tenths / 10.0)
    });
    match limit {
        Some(limit) => format!("{first}; or limit the neighbour: {limit}"),
        None => first,
    }
}

/// How to see to it that the container gets what it wants before others do. Ten times the weight
/// leaves a waiting thread a tenth of the wait, and takes from others only what is used.
fn precedence(observation: &Observation<'_>, waited: &Waited) -> String {
    let who = &observation.stats.container;
    let wanted = observation.cpus_used() + waited.threads;
    if who.k8s_pod_uid.is_some() {
        let milli = (wanted * 10.0).ceil().max(1.0) * 100.0;
        return format!("request what it wants: resources.requests.cpu: {milli:.0}m");
    }
    let words::Pasteable(named) = words::Pasteable::of(who);
    let how = match (who.runtime_name, named) {
        (Some(runtime @ ("docker" | "podman")), Some(named)) => {
            format!("{runtime} update --cpu-shares 10240 {named} (1024 is usual)")
        }
        (Some("systemd"), Some(named)) => {
            format!("systemctl set-property {named} CPUWeight=1000 (100 is usual)")
        }
        _ => "cpu.weight 1000 (cgroup v1: cpu.shares=10240)".to_owned(),
    };
    format!("give it ten times the weight of its neighbours: {how}")
}

/// How a neighbour is limited to so many CPUs; `None` where it cannot be.
fn limit_of(who: &Identity, cpus: f64) -> Option<String> {
    let number = words::cpus(cpus);
    if who.level == Level::Root || who.cgroup_path.is_empty() {
        return None;
    }
    if who.k8s_pod_uid.is_some() {
        return Some(format!("resources.limits.cpu: {:.0}m", cpus * 1000.0));
    }
    let words::Pasteable(named) = words::Pasteable::of(who);
    Some(match (who.runtime_name, named) {
        (Some(runtime @ ("docker" | "podman")), Some(named)) => {
            format!("{runtime} update --cpus {number} {named}")
        }
        (Some("systemd"), Some(named)) => {
            format!(
                "systemctl set-property {named} CPUQuota={:.0}%",
                cpus * 100.0
            )
        }
        _ => format!(
            "cpu.max \"{quota:.0} 100000\" (cgroup v1: cpu.cfs_quota_us={quota:.0})",
            quota = cpus * 100_000.0
        ),
    })
}
