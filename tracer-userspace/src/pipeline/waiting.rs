//! Events that wait a moment for a name.
//!
//! A container's name may be on its way from its runtime when the event is ready. It waits at most
//! [`PATIENCE_NS`]; then it goes out with what is known.

use crate::model::{
    event::{EventBody, Lifecycle},
    identity::{Identity, SharedIdentity},
};

/// Longest time that an event waits, in nanoseconds.
pub const PATIENCE_NS: u64 = 50_000_000;
/// Most events that wait; further ones go out at once.
const MOST: usize = 4096;

/// An event that waits.
struct Waiting {
    until_ns: u64,
    monotonic_ns: u64,
    body: EventBody,
}

/// The waiting events, in order.
#[derive(Default)]
pub struct WaitingRoom {
    waiting: Vec<Waiting>,
}

impl WaitingRoom {
    /// Takes an event in, if there is room and a reason to wait; gives it back otherwise.
    pub fn admit(
        &mut self,
        now_ns: u64,
        monotonic_ns: u64,
        body: EventBody,
        name_may_come: bool,
    ) -> Option<EventBody> {
        let nameless = container(&body).is_some_and(|who| is_nameless(who));
        if !nameless || !name_may_come || self.waiting.len() >= MOST {
            return Some(body);
        }
        self.waiting.push(Waiting {
            until_ns: now_ns + PATIENCE_NS,
            monotonic_ns,
            body,
        });
        None
    }

    /// The time until which the first one waits.
    pub fn next_deadline_ns(&self) -> Option<u64> {
        self.waiting.first().map(|waiting| waiting.until_ns)
    }

    /// A container has its final names for now: its events go out, with them.
    pub fn named(&mut self, identity: &SharedIdentity) -> Vec<(u64, EventBody)> {
        let id = identity.container_id.as_deref();
        let ours = |waiting: &Waiting| {
            container(&waiting.body).is_some_and(|who| who.container_id.as_deref() == id)
        };
        self.take(ours)
            .into_iter()
            .map(|(at, mut body)| {
                rename(&mut body, identity);
                (at, body)
            })
            .collect()
    }

    /// Those that have waited long enough, or all of them.
    pub fn expired(&mut self, now_ns: Option<u64>) -> Vec<(u64, EventBody)> {
        self.take(|waiting| now_ns.is_none_or(|now| waiting.until_ns <= now))
    }

    fn take(&mut self, which: impl Fn(&Waiting) -> bool) -> Vec<(u64, EventBody)> {
        self.waiting
            .extract_if(.., |waiting| which(waiting))
            .map(|waiting| (waiting.monotonic_ns, waiting.body))
            .collect()
    }
}

/// Whether it is a container whose name is not known.
pub const fn is_nameless(who: &Identity) -> bool {
    who.container_id.is_some() && who.container_name.is_none()
}

/// Whom an event is about.
pub const fn container(body: &EventBody) -> Option<&SharedIdentity> {
    match body {
        EventBody::OomKill(event) => Some(&event.container),
        EventBody::CpuThrottle(event) => Some(&event.container),
        EventBody::ContainerStart(event) | EventBody::ContainerExit(event) => {
            Some(&event.container)
        }
        EventBody::ContainerNamed(event) => Some(&event.container),
        EventBody::ContainerStats(event) => Some(&event.container),
        EventBody::Finding(event) => Some(&event.container),
        EventBody::Agent(_) => None,
    }
}

/// Has other names for the container that an event is about.
pub fn rename(body: &mut EventBody, identity: &SharedIdentity) {
    match body {
        EventBody::OomKill(event) => event.rename(identity),
        EventBody::CpuThrottle(event) => {
            if event.quota_cgroup.container_id == event.container.container_id {
                event.quota_cgroup = identity.at(&event.quota_cgroup);
            }
            event.container = identity.clone();
        }
        EventBody::ContainerStart(Lifecycle { container, .. })
        | EventBody::ContainerExit(Lifecycle { container, .. }) => *container = identity.clone(),
        EventBody::ContainerNamed(event) => event.container = identity.clone(),
        EventBody::ContainerStats(event) => event.container = identity.clone(),
        EventBody::Finding(event) => event.container = identity.clone(),
        EventBody::Agent(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn start(id: Option<&str>, name: Option<&str>) -> EventBody {
        EventBody::ContainerStart(Lifecycle {
            container: Arc::new(Identity {
                container_id: id.map(str::to_owned),
                container_name: name.map(str::to_owned),
                ..Identity::default()
            }),
            lifetime_ns: None,
            restart_count: None,
            exit: None,
        })
    }

    #[test]
    fn only_a_nameless_container_waits_and_only_for_a_name_that_may_come() {
        let mut room = WaitingRoom::default();
        assert!(room.admit(0, 0, start(None, None), true).is_some());
        assert!(
            room.admit(0, 0, start(Some("a"), Some("web")), true)
                .is_some()
        );
        assert!(room.admit(0, 0, start(Some("a"), None), false).is_some());
        assert!(room.admit(0, 0, start(Some("a"), None), true).is_none());
    }

    #[test]
    fn a_name_lets_its_own_container_out() {
        let mut room = WaitingRoom::default();
        assert!(room.admit(0, 5, start(Some("a"), None), true).is_none());
        assert!(room.admit(0, 6, start(Some("b"), None), true).is_none());
        let named = Arc::new(Identity {
            container_id: Some("a".to_owned()),
            container_name: Some("web".to_owned()),
            ..Identity::default()
        });
        let out = room.named(&named);
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].0, 5);
        assert_eq!(
            container(&out[0].1).unwrap().container_name.as_deref(),
            Some("web")
        );
        assert_eq!(room.next_deadline_ns(), Some(PATIENCE_NS));
        assert!(room.expired(Some(PATIENCE_NS - 1)).is_empty());
        assert_eq!(room.expired(Some(PATIENCE_NS)).len(), 1);
    }
}
