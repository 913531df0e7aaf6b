//! What holds for the index whatever comes in, in whatever order.

use proptest::prelude::*;

use super::tests::{ID, docker, index, names};
use crate::model::identity::CgroupKey;

#[derive(Clone, Debug)]
enum Step {
    Insert(CgroupKey, u64, usize),
    Remove(CgroupKey),
    Name(bool),
    Expire,
}

fn step() -> impl Strategy<Value = Step> {
    let key = (0_u32..3, 1_u64..12).prop_map(|(hierarchy, id)| CgroupKey::new(hierarchy, id));
    prop_oneof![
        4 => (key.clone(), 0_u64..12, 0_usize..7).prop_map(|(key, parent, path)| Step::Insert(key, parent, path)),
        3 => key.prop_map(Step::Remove),
        1 => any::<bool>().prop_map(Step::Name),
        1 => Just(Step::Expire),
    ]
}

proptest! {
    /// Whatever order things come in: nothing panics, and nothing is left once all is removed.
    #[test]
    fn leaves_nothing_behind(steps in prop::collection::vec(step(), 0..120)) {
        let mut index = index();
        let paths: [&[u8]; 7] = [
            b"/", b"/docker", &docker(""), &docker("/a"), &docker("/a/b"), b"/system.slice/a.service/x", b"/z",
        ];
        let mut now = 1;
        for step in steps {
            now += 100;
            match step {
                Step::Insert(key, parent, path) => {
                    index.insert(key, parent, paths[path], Some(now));
                }
                Step::Remove(key) => {
                    index.removed(key, now);
                }
                Step::Name(one) => {
                    index.apply_names(ID, names(if one { "one" } else { "two" }));
                }
                Step::Expire => {
                    index.expire(now);
                }
            }
            for (&key, cgroup) in &index.cgroups {
                let owner = index.owner(key);
                prop_assert_eq!(owner.hierarchy, key.hierarchy);
                prop_assert!(index.identity(key).is_some());
                prop_assert!(cgroup.owner_id != 0 || index.orphans.contains(&key));
            }
            let live = index.cgroups.values().filter(|one| one.removed_ns.is_none()).count();
            prop_assert_eq!(live, index.live());
        }
        let keys: Vec<CgroupKey> = index.cgroups.keys().copied().collect();
        for key in keys {
            index.removed(key, now);
        }
        index.expire(now + 1_000);
        prop_assert!(index.cgroups.is_empty());
        prop_assert!(index.by_path.is_empty());
        prop_assert!(index.nested.is_empty());
        prop_assert!(index.orphans.is_empty());
        prop_assert!(index.removed_unseen.is_empty());
        for path in paths {
            prop_assert!(index.paths.find(path).is_none());
        }
        prop_assert!(index.containers.unnamed_paths().is_empty());
    }
}
