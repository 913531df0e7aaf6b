//! The index: owners, tombstones, names, and one start per container.

use std::collections::HashSet;
use std::sync::Arc;

use super::{CgroupIndex, Change, ChangeKind, IndexConfig};
use crate::identity::names::{NameMessage, Names, Source, SourceState};
use crate::model::identity::{CgroupKey, Identity, Level};

const CPU: u32 = 1;
const MEMORY: u32 = 4;
const UNIFIED: u32 = 0;
pub(super) const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";
const UID: &str = "0d9c3a4e-51f7-4a8b-9a50-6f1d2b7c8e90";

pub(super) fn index() -> CgroupIndex {
    CgroupIndex::new(IndexConfig {
        slot_hierarchy: CPU,
        keep_removed_ns: 1_000,
        max_removed: 4,
        max_cgroups: 100,
        max_idle_names: 3,
    })
}

fn cpu(id: u64) -> CgroupKey {
    CgroupKey::new(CPU, id)
}

pub(super) fn docker(rest: &str) -> Vec<u8> {
    format!("/docker/{ID}{rest}").into_bytes()
}

pub(super) fn names(name: &str) -> Names {
    Names {
        container_name: Some(name.to_owned()),
        image_name: Some("bb:1".to_owned()),
        runtime_name: Some("docker"),
        ..Names::default()
    }
}

pub(super) fn source(resolver: &'static str, runtimes: &'static [&'static str]) -> Arc<Source> {
    Arc::new(Source {
        resolver,
        runtimes,
        pods_only: false,
        place: format!("/run/{resolver}.sock"),
        tells_exits: true,
    })
}

/// Names of all known keys must be these.
fn name_of(index: &CgroupIndex, key: CgroupKey) -> Option<String> {
    index.identity(key).unwrap().container_name.clone()
}

fn unresolved(index: &CgroupIndex, key: CgroupKey) -> Option<String> {
    index.identity(key).unwrap().unresolved.clone()
}

#[test]
fn starts_once_whatever_the_hierarchies() {
    let mut index = index();
    let unified = CgroupKey::new(UNIFIED, 44);
    let memory = CgroupKey::new(MEMORY, 44);
    assert_eq!(index.insert(memory, 0, &docker(""), Some(10)), None);
    let born = Some(11);
    let started = index.insert(cpu(31), 0, &docker(""), born).unwrap();
    assert_eq!(started.kind, ChangeKind::Started { born_ns: born });
    assert_eq!(started.key, cpu(31));
    assert_eq!(started.identity.container_id.as_deref(), Some(ID));
    assert_eq!(index.insert(unified, 0, &docker(""), Some(12)), None);
    // A walk that crosses the birth tells it again.
    assert_eq!(index.insert(cpu(31), 0, &docker(""), None), None);
    assert_eq!(index.live(), 3);

    assert_eq!(index.apply_names(ID, names("web")).len(), 1);
    for key in [unified, memory, cpu(31)] {
        assert_eq!(name_of(&index, key).as_deref(), Some("web"));
    }
    assert_eq!(index.counterpart(cpu(31), MEMORY), Some(memory));
    assert_eq!(index.counterpart(memory, CPU), Some(cpu(31)));
    assert_eq!(index.counterpart(cpu(31), 9), None);

    assert_eq!(index.removed(memory, 60), None);
    let removed = index.removed(cpu(31), 61).unwrap();
    let lifetime_ns = Some(50);
    assert_eq!(removed.kind, ChangeKind::Removed { lifetime_ns });
    assert_eq!(removed.identity.container_name.as_deref(), Some("web"));
    assert_eq!(index.removed(cpu(31), 62), None);
    assert_eq!(index.live(), 1);
}

#[test]
fn a_container_with_other_paths_elsewhere_is_found_by_its_id() {
    let mut index = index();
    let memory = CgroupKey::new(MEMORY, 7);
    let scope = format!("/system.slice/docker-{ID}.scope");
    index.insert(cpu(31), 0, &docker(""), None);
    index.insert(memory, 0, scope.as_bytes(), None);
    assert_eq!(index.counterpart(cpu(31), MEMORY), Some(memory));
}

#[test]
fn nested_cgroups_belong_to_their_container() {
    let mut index = index();
    index.insert(cpu(1), 0, b"/", None);
    index.insert(cpu(2), 1, b"/docker", None);
    index.insert(cpu(3), 2, &docker(""), Some(5));
    // Nested ones start nothing.
    assert_eq!(index.insert(cpu(4), 3, &docker("/init"), Some(6)), None);
    assert_eq!(index.insert(cpu(5), 4, &docker("/init/a"), Some(6)), None);
    // Another hierarchy's cgroup with the parent's id is no parent.
    let memory = CgroupKey::new(MEMORY, 6);
    index.insert(memory, 3, &docker("/init"), None);
    assert_eq!(index.owner(memory), memory);

    for id in [3, 4, 5] {
        assert_eq!(index.owner(cpu(id)), cpu(3));
    }
    assert_eq!(index.owner(cpu(2)), cpu(2));
    assert_eq!(index.owner(cpu(99)), cpu(99));
    assert_eq!(index.parent(cpu(5)), Some(cpu(4)));
    assert_eq!(index.parent(cpu(1)), None);
    let members: HashSet<CgroupKey> = index.members(cpu(3)).collect();
    assert_eq!(members, HashSet::from([cpu(3), cpu(4), cpu(5)]));

    let inner = index.identity(cpu(5)).unwrap();
    assert_eq!(inner.level, Level::Container);
    assert_eq!(inner.container_id.as_deref(), Some(ID));
    assert!(inner.cgroup_path.ends_with("/init/a"));
    let owners: HashSet<u64> = index.live_owners().map(|(key, _)| key.id).collect();
    assert_eq!(owners, HashSet::from([1, 2, 3]));
}

#[test]
fn a_nested_cgroup_seen_first_is_adopted() {
    let mut index = index();
    index.insert(cpu(5), 4, &docker("/init/a"), Some(6));
    assert_eq!(index.owner(cpu(5)), cpu(5));
    index.insert(cpu(3), 2, &docker(""), None);
    assert_eq!(index.owner(cpu(5)), cpu(3));
    assert_eq!(index.members(cpu(3)).count(), 2);
    // The one between them, now by the path as its parent was told wrongly.
    index.insert(cpu(4), 77, &docker("/init"), None);
    assert_eq!(index.owner(cpu(4)), cpu(3));
}

#[test]
fn removed_ones_stay_for_a_time() {
    let mut index = index();
    index.insert(cpu(3), 0, &docker(""), Some(5));
    index.insert(cpu(4), 3, &docker("/in"), Some(5));
    index.removed(cpu(4), 100);
    index.removed(cpu(3), 110);
    assert!(index.expire(1_099).is_empty());
    assert!(index.identity(cpu(4)).is_some());
    assert!(!index.is_live(cpu(3)));
    assert_eq!(index.by_path(CPU, &docker("")), Some(cpu(3)));
    // Restarted: the same path and container with a new id.
    assert!(index.insert(cpu(9), 0, &docker(""), Some(120)).is_some());
    assert_eq!(index.by_path(CPU, &docker("")), Some(cpu(9)));

    let forgotten = index.expire(1_110);
    let kinds: Vec<ChangeKind> = forgotten.iter().map(|change| change.kind).collect();
    assert_eq!(kinds, [ChangeKind::Forgotten]);
    assert_eq!(forgotten[0].key, cpu(3));
    assert_eq!(index.identity(cpu(3)), None);
    assert_eq!(index.identity(cpu(4)), None);
    assert_eq!(index.by_path(CPU, &docker("")), Some(cpu(9)));
    assert_eq!(index.members(cpu(3)).count(), 1);
}

#[test]
fn removed_ones_are_bounded_in_number() {
    let mut index = index();
    for id in 1..=10 {
        index.insert(cpu(id), 0, format!("/job/{id}").as_bytes(), Some(id));
        index.removed(cpu(id), id);
    }
    let forgotten: Vec<u64> = index.expire(10).iter().map(|one| one.key.id).collect();
    assert_eq!(forgotten, [1, 2, 3, 4, 5, 6]);
    // Those that nobody knew are bounded as well.
    for id in 100..200 {
        index.removed(cpu(id), 20);
    }
    index.expire(20);
    assert_eq!(index.removed.len(), 4);
    assert_eq!(index.removed_unseen.len(), 4);
}

#[test]
fn live_ones_are_bounded_in_number() {
    let mut index = index();
    for id in 1..=103 {
        index.insert(cpu(id), 0, format!("/job/{id}").as_bytes(), None);
    }
    assert_eq!((index.live(), index.refused()), (100, 3));
    assert_eq!(index.identity(cpu(103)), None);
    index.removed(cpu(1), 5);
    assert!(index.insert(cpu(103), 0, b"/job/103", None).is_some());
}

#[test]
fn a_walk_that_is_late_brings_nothing_back_to_life() {
    let mut index = index();
    assert_eq!(index.removed(cpu(3), 50), None);
    assert_eq!(index.insert(cpu(3), 0, &docker(""), None), None);
    assert!(!index.is_live(cpu(3)));
    assert_eq!(index.live(), 0);
    let identity = index.identity(cpu(3)).unwrap();
    assert_eq!(identity.container_id.as_deref(), Some(ID));
    index.expire(1_050);
    assert_eq!(index.identity(cpu(3)), None);
}

#[test]
fn a_walk_finds_what_a_lost_record_left_behind() {
    let mut index = index();
    index.insert(cpu(1), 0, b"/a", None);
    index.insert(cpu(2), 0, b"/b", Some(10));
    index.insert(cpu(3), 0, b"/c", Some(200));
    index.insert(CgroupKey::new(MEMORY, 2), 0, b"/b", Some(10));
    let seen = HashSet::from([1]);
    let gone = index.removed_unless_seen(CPU, &seen, 100, 300);
    let gone: Vec<CgroupKey> = gone.iter().map(|change| change.key).collect();
    assert_eq!(gone, [cpu(2)]);
    assert!(index.is_live(cpu(1)) && index.is_live(cpu(3)));
    assert!(index.is_live(CgroupKey::new(MEMORY, 2)));
}

#[test]
fn who_was_nameless_is_known_later() {
    let mut index = index();
    let first = index
        .insert(cpu(3), 0, &docker(""), Some(1))
        .unwrap()
        .identity;
    index.insert(cpu(4), 3, &docker("/in"), Some(2));
    let nested = index.identity(cpu(4)).unwrap();
    index.apply_names(ID, names("web"));
    for who in [first, nested] {
        assert_eq!(who.container_name, None);
        let now = index.as_known_now(&who).unwrap();
        assert_eq!(now.container_name.as_deref(), Some("web"));
        assert_eq!(now.cgroup_path, who.cgroup_path);
    }
    assert_eq!(index.as_known_now(&Identity::default()), None);
}

#[test]
fn names_may_come_before_the_cgroup() {
    let mut index = index();
    assert!(index.apply_names(ID, names("web")).is_empty());
    let started = index.insert(cpu(3), 0, &docker(""), Some(1)).unwrap();
    assert_eq!(started.identity.container_name.as_deref(), Some("web"));
    assert_eq!(started.identity.image_name.as_deref(), Some("bb:1"));
    assert_eq!(started.identity.unresolved, None);
    // A new name reaches nested cgroups, which report nothing.
    index.insert(cpu(4), 3, &docker("/in"), Some(2));
    let renamed = index.apply_names(ID, names("db"));
    let kinds: Vec<_> = renamed.iter().map(|one| (one.key, one.kind)).collect();
    assert_eq!(kinds, [(cpu(3), ChangeKind::Renamed)]);
    assert_eq!(name_of(&index, cpu(4)).as_deref(), Some("db"));
    assert!(index.apply_names(ID, names("db")).is_empty());
    // They are kept for those who stopped and start again, as long as there is room.
    index.removed(cpu(4), 3);
    index.removed(cpu(3), 3);
    index.expire(2_000);
    index.insert(cpu(5), 0, &docker(""), None);
    assert_eq!(name_of(&index, cpu(5)).as_deref(), Some("db"));
    index.removed(cpu(5), 2_000);
    index.expire(4_000);
    for other in ["a", "b", "c"] {
        index.apply_names(other, names(other));
    }
    index.insert(cpu(6), 0, &docker(""), None);
    assert_eq!(name_of(&index, cpu(6)), None);
}

#[test]
fn says_why_there_is_no_name() {
    let mut index = index();
    index.insert(cpu(3), 0, &docker(""), None);
    let crio = format!("/kubepods/pod{UID}/crio-{ID}");
    index.insert(cpu(4), 0, crio.replace("3f1c", "4f1c").as_bytes(), None);
    index.insert(cpu(5), 0, b"/limitscope-demo/leak", None);
    index.insert(cpu(6), 0, b"/lxc.payload.web", None);
    assert_eq!(
        unresolved(&index, cpu(3)).as_deref(),
        Some("no runtime is asked for names")
    );
    let reason = "docker socket /run/docker.sock: connection refused";
    let down = NameMessage::State {
        source: source("docker", &["docker"]),
        state: SourceState::Unavailable(reason.to_owned()),
    };
    assert_eq!(index.apply(down.clone()).len(), 2);
    assert!(index.apply(down).is_empty());
    assert_eq!(unresolved(&index, cpu(3)).as_deref(), Some(reason));
    assert_eq!(
        unresolved(&index, cpu(4)).as_deref(),
        Some("runtime is cri-o; only names of docker are read")
    );
    assert_eq!(unresolved(&index, cpu(5)), None);
    assert_eq!(unresolved(&index, cpu(6)), None);

    let up = NameMessage::State {
        source: source("docker", &["docker"]),
        state: SourceState::Connected,
    };
    assert_eq!(index.apply(up).len(), 1);
    assert_eq!(
        unresolved(&index, cpu(3)).as_deref(),
        Some("docker has not named it yet")
    );
    let unknown = NameMessage::Unknown {
        source: source("docker", &["docker"]),
        container_id: ID.to_owned(),
        reason: "docker does not know this container".to_owned(),
    };
    let changes: Vec<Change> = index.apply(unknown.clone());
    assert_eq!(
        changes[0].identity.unresolved.as_deref(),
        Some("docker does not know this container")
    );
    // Once named it stays so, also when its runtime has forgotten it.
    index.apply_names(ID, names("web"));
    assert!(index.apply(unknown).is_empty());
    assert_eq!(unresolved(&index, cpu(3)), None);
}

#[test]
fn containers_name_their_pod() {
    let mut index = index();
    let pod = format!("/kubepods/burstable/pod{UID}");
    index.insert(cpu(2), 1, pod.as_bytes(), None);
    index.insert(cpu(3), 2, format!("{pod}/{ID}").as_bytes(), None);
    let of_pod = Names {
        k8s_pod_name: Some("web-0".to_owned()),
        k8s_namespace: Some("shop".to_owned()),
        k8s_container_name: Some("app".to_owned()),
        ..names("k8s_app_web-0_shop")
    };
    assert_eq!(index.apply_names(ID, of_pod).len(), 2);
    let pod = index.identity(cpu(2)).unwrap();
    assert_eq!(pod.level, Level::Pod);
    assert_eq!(pod.k8s_pod_name.as_deref(), Some("web-0"));
    assert_eq!(pod.k8s_namespace.as_deref(), Some("shop"));
    assert_eq!(pod.k8s_pod_uid.as_deref(), Some(UID));
    assert_eq!(pod.k8s_container_name, None);
    let container = index.identity(cpu(3)).unwrap();
    assert_eq!(container.k8s_container_name.as_deref(), Some("app"));
    assert_eq!(container.runtime_name, Some("docker"));
}

#[test]
fn a_rename_moves_it_and_a_cut_path_does_not() {
    let mut index = index();
    index.insert(cpu(3), 0, b"/a", Some(1));
    let renamed = index.insert(cpu(3), 0, b"/b", None).unwrap();
    assert_eq!(renamed.kind, ChangeKind::Renamed);
    assert_eq!(index.by_path(CPU, b"/b/"), Some(cpu(3)));
    assert_eq!(index.by_path(CPU, b"/a"), None);

    let long = [b"/".as_slice(), &[b'x'; 2_000]].concat();
    index.insert(cpu(4), 0, &long, None);
    assert_eq!(index.insert(cpu(4), 0, &long[..1_023], Some(9)), None);
    assert_eq!(index.by_path(CPU, &long), Some(cpu(4)));
}

#[test]
fn hostile_paths_are_bounded_and_replaced() {
    let mut index = index();
    index.insert(cpu(3), 0, b"/bad\xff\x1b[31m\"name", None);
    let identity = index.identity(cpu(3)).unwrap();
    assert_eq!(identity.cgroup_path, "/bad\u{fffd}\u{1b}[31m\"name");
    index.insert(cpu(4), 0, &vec![b'y'; 1 << 20], None);
    let identity = index.identity(cpu(4)).unwrap();
    assert!(identity.cgroup_path.len() <= 4_097);
}
