//! It ends, is started again, and ends again: the lives of one container that were short, in a row.
//!
//! Unlike the other rules this one looks at ends and not at intervals, so it keeps its own beginning
//! and end.

use std::collections::VecDeque;

use super::{Thresholds, words};
use crate::model::{
    event::Lifecycle,
    exit::{Exit, ExitCause},
    finding::{Confidence, Evidence, Finding, FindingEvent, FindingKind, FindingPhase, Severity},
    identity::{Identity, SharedIdentity},
};

/// Ends that are told.
const KEPT: usize = 5;

/// What stays the same when a container is restarted: its id, or in Kubernetes, where each run has
/// an id of its own, its pod and its name in it.
pub fn subject(who: &Identity) -> Option<String> {
    let pod = who.k8s_pod_uid.clone().or_else(|| {
        let name = who.k8s_pod_name.as_deref()?;
        Some(format!("{}/{name}", who.k8s_namespace.as_deref()?))
    });
    match (pod, &who.k8s_container_name) {
        (Some(pod), Some(name)) => Some(format!("{pod}/{name}")),
        _ => who.container_id.clone(),
    }
}

/// The short lives of one container.
#[derive(Clone, Debug, Default)]
pub struct Restarts {
    /// As it was last known.
    container: SharedIdentity,
    /// The last ends of the row, oldest first.
    ends: VecDeque<End>,
    /// All of the row.
    in_row: u64,
    /// When the first life of the row began, in nanoseconds of the monotonic clock.
    since_ns: u64,
    /// When the life that goes on began.
    runs_since_ns: Option<u64>,
    /// What holds, and since when.
    active: Option<(u64, Finding)>,
}

/// The end of a short life.
#[derive(Clone, Debug)]
struct End {
    at_ns: u64,
    lifetime_ns: u64,
    exit: Option<Exit>,
    restart_count: Option<u32>,
    /// Whether the runtime restarts it after this end; `None` where that is not told with the end.
    is_restarted: Option<bool>,
}

impl Restarts {
    /// A life begins.
    pub fn started(&mut self, at_ns: u64) {
        self.runs_since_ns.get_or_insert(at_ns);
    }

    /// A life is over.
    pub fn ended(
        &mut self,
        life: &Lifecycle,
        at_ns: u64,
        thresholds: &Thresholds,
    ) -> Vec<FindingEvent> {
        self.container = life.container.clone();
        let began_ns = self.runs_since_ns.take();
        let seen = began_ns.map(|began| at_ns.saturating_sub(began));
        let stable = thresholds.restart_stable_ns();
        let mut events = Vec::new();
        // Of one whose start was not seen nobody knows whether it was short.
        let lifetime = life.lifetime_ns.or(seen).filter(|ns| *ns < stable);
        let Some(lifetime_ns) = lifetime else {
            events.extend(self.over(at_ns));
            return events;
        };
        let began_ns = at_ns.saturating_sub(lifetime_ns);
        let by_itself = self.ends.back().is_none_or(|last| {
            began_ns.saturating_sub(last.at_ns) < stable && !self.is_by_hand(last, life)
        });
        if !by_itself {
            events.extend(self.over(at_ns));
        }
        let end = self.end(life, at_ns, lifetime_ns);
        if self.ends.is_empty() {
            self.since_ns = began_ns;
        }
        if self.ends.len() == KEPT {
            self.ends.pop_front();
        }
        self.ends.push_back(end);
        self.in_row += 1;
        if (self.restarts() as f64) < thresholds.restart_loop_restarts {
            return events;
        }
        let finding = self.finding(thresholds);
        if let Some((_, last)) = &mut self.active {
            *last = finding;
        } else {
            events.push(self.event(FindingPhase::Start, None, finding.clone()));
            self.active = Some((at_ns, finding));
        }
        events
    }

    /// Whether its last life goes on for long enough, or it does not come back.
    pub fn is_over(&self, now_ns: u64, thresholds: &Thresholds) -> bool {
        let ended_ns = self.ends.back().map_or(0, |end| end.at_ns);
        let since = self.runs_since_ns.unwrap_or(ended_ns);
        now_ns.saturating_sub(since) >= thresholds.restart_stable_ns()
    }

    /// The row is over.
    pub fn over(&mut self, now_ns: u64) -> Option<FindingEvent> {
        self.ends.clear();
        self.in_row = 0;
        let (since, finding) = self.active.take()?;
        let lasted = now_ns.saturating_sub(since);
        Some(self.event(FindingPhase::End, Some(lasted), finding))
    }

    fn end(&self, life: &Lifecycle, at_ns: u64, lifetime_ns: u64) -> End {
        let follows = |count: u32| u64::from(count) > self.restarts_so_far();
        End {
            at_ns,
            lifetime_ns,
            exit: life.exit.clone(),
            restart_count: life.restart_count,
            is_restarted: told_count(life).map(follows),
        }
    }

    /// How often the runtime has restarted it up to now: by the last count that is known, which holds
    /// the restart after its end, and one for each end since.
    fn restarts_so_far(&self) -> u64 {
        let mut since = self.ends.iter().rev().zip(0..);
        let known = since.find_map(|(end, ends)| Some(u64::from(end.restart_count?) + ends));
        known.unwrap_or(self.in_row)
    }

    /// Whether somebody began the life that ends now: the runtime did not restart it after the last
    /// end, and counts from 0 again. A last count that comes late holds a restart too many, and the
    /// next end has one more.
    fn is_by_hand(&self, last: &End, life: &Lifecycle) -> bool {
        let count = told_count(life);
        let counts = count.zip(last.restart_count);
        let given_up = last.is_restarted == Some(false)
            && counts.is_none_or(|(now, before)| before == 0 || now <= before);
        given_up || count.is_some_and(|count| u64::from(count) < self.restarts_so_far())
    }

    /// Each end but the last was followed by a restart; the last one where the runtime says so.
    fn restarts(&self) -> u64 {
        let last = self.ends.back().and_then(|end| end.is_restarted);
        self.in_row.saturating_sub(1) + u64::from(last == Some(true))
    }

    fn event(&self, phase: FindingPhase, lasted_ns: Option<u64>, finding: Finding) -> FindingEvent {
        FindingEvent {
            container: self.container.clone(),
            phase,
            lasted_ns,
            finding,
        }
    }

    fn finding(&self, thresholds: &Thresholds) -> Finding {
        let last = self.ends.back();
        let exit = last.and_then(|end| end.exit.as_ref());
        let within_ns = last.map_or(0, |end| end.at_ns.saturating_sub(self.since_ns));
        let completed = |end: &End| {
            let exit = end.exit.as_ref();
            exit.is_some_and(|exit| exit.cause == ExitCause::Completed)
        };
        let mut evidence = vec![
            ("restarts", Evidence::Count(self.restarts())),
            ("ends", Evidence::Count(self.in_row)),
            ("within_ns", Evidence::Count(within_ns)),
        ];
        if let Some(count) = last.and_then(|end| end.restart_count) {
            evidence.push(("restart_count", Evidence::Count(count.into())));
        }
        let last_ends = self.ends.iter().map(End::evidence).collect();
        evidence.push(("last_ends", Evidence::List(last_ends)));
        Finding {
            kind: FindingKind::RestartLoop,
            severity: if self.ends.iter().all(completed) {
                Severity::Warning
            } else {
                Severity::Critical
            },
            confidence: if self.ends.iter().all(|end| end.exit.is_some()) {
                Confidence::High
            } else {
                Confidence::Medium
            },
            summary: format!(
                "it was restarted {} times within {} and never ran for {}; its last end: {}",
                self.restarts(),
                words::seconds(within_ns as f64 / 1e9),
                words::seconds(thresholds.restart_stable_seconds),
                exit.map_or_else(|| "of unknown cause".to_owned(), how),
            ),
            evidence,
            recommendation: recommendation(&self.container, exit),
        }
    }
}

/// The count of a runtime that counts the restart that follows an end with the end, and begins anew
/// when somebody starts it by hand, as Docker and Podman do. Kubernetes tells how many came before.
fn told_count(life: &Lifecycle) -> Option<u32> {
    let told = life.container.k8s_container_name.is_none();
    life.restart_count.filter(|_| told)
}

impl End {
    fn evidence(&self) -> Vec<(&'static str, Evidence)> {
        let mut facts = vec![
            ("monotonic_ns", Evidence::Count(self.at_ns)),
            ("lifetime_ns", Evidence::Count(self.lifetime_ns)),
        ];
        let Some(exit) = &self.exit else {
            return facts;
        };
        facts.push(("cause", Evidence::Text(exit.cause.name().to_owned())));
        let code = u64::try_from(exit.code);
        facts.push((
            "exit_code",
            code.map_or(Evidence::Number(exit.code.into()), Evidence::Count),
        ));
        if let Some(seq) = exit.oom_kill_seq {
            facts.push(("oom_kill_seq", Evidence::Count(seq)));
        }
        if let Some(killer) = &exit.killer {
            facts.push(("killer", Evidence::Text(killer.command.clone())));
        }
        facts
    }
}

/// How it ended, in words.
fn how(exit: &Exit) -> String {
    let (cause, code) = (exit.cause.name(), exit.code);
    match exit.signal {
        Some(signal) => format!("{cause} (exit code {code}, signal {signal})"),
        None => format!("{cause} (exit code {code})"),
    }
}

/// What to do, ready to be pasted.
fn recommendation(who: &Identity, exit: Option<&Exit>) -> String {
    let log = log_command(who);
    match exit.map(|exit| exit.cause) {
        Some(ExitCause::OomKilled) => {
            let line = exit.and_then(|exit| exit.oom_kill_seq);
            let line = line.map_or_else(String::new, |seq| format!(" (seq {seq})"));
            format!(
                "see its oom_kill line{line}: whose limit it was, leak or spike, and what to set"
            )
        }
        Some(ExitCause::Completed) => {
            "it does its work and ends: let it stay in the foreground, or \
             do not have it restarted (docker update --restart=no; Kubernetes: a Job, or \
             restartPolicy: OnFailure)"
                .to_owned()
        }
        Some(ExitCause::CommandNotFound | ExitCause::NotExecutable) => format!(
            "its command is missing from the image or cannot be executed: compare command, PATH and \
             architecture with the image; {log}"
        ),
        Some(ExitCause::Killed | ExitCause::Stopped) => format!(
            "somebody ends it: a liveness probe that fails (kubectl describe pod), an orchestrator, \
             a user-space OOM killer; {log}"
        ),
        Some(ExitCause::Error | ExitCause::Signal) | None => {
            format!("read what it said last: {log}")
        }
    }
}

/// The command that shows what it said. Names from outside are pasted only where they are plain.
fn log_command(who: &Identity) -> String {
    let kubernetes = [
        &who.k8s_namespace,
        &who.k8s_pod_name,
        &who.k8s_container_name,
    ];
    if let [Some(namespace), Some(pod), Some(name)] = kubernetes
        && [namespace, pod, name]
            .iter()
            .all(|word| words::is_plain(word))
    {
        return format!("kubectl logs --previous -n {namespace} {pod} -c {name}");
    }
    let words::Pasteable(named) = words::Pasteable::of(who);
    match (who.runtime_name, named) {
        (Some(runtime @ ("docker" | "podman")), Some(named)) => {
            format!("{runtime} logs --tail 50 {named}")
        }
        _ => "its log".to_owned(),
    }
}
