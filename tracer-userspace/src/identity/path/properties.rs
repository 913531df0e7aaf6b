//! What holds for every path, hostile ones included.

use proptest::prelude::*;

use super::tests::{ID, ID2, UID};
use super::{PATH_MAX, parse};
use crate::model::identity::Level::Container;

/// Components of real paths, for paths that make some sense.
fn component() -> impl Strategy<Value = Vec<u8>> {
    let known: Vec<Vec<u8>> = [
        "docker",
        "kubepods",
        "kubepods.slice",
        "burstable",
        "besteffort",
        "kubelet",
        "default",
        "libpod_parent",
        "lxc",
        "lxc.payload.a",
        "ecs",
        "ecstasks.slice",
        "ecstasks-1.slice",
        "system.slice",
        "machine.slice",
        "user@7.service",
        "a.service",
        "init.scope",
        "",
        "..",
        "-",
        ":",
        "::",
        ".scope",
        ".slice",
        "pod",
        "kubepods-pod.slice",
        "libpod-conmon-x.scope",
    ]
    .map(|name| name.as_bytes().to_vec())
    .into_iter()
    .chain([
        ID.into(),
        format!("docker-{ID}.scope").into(),
        format!("cri-containerd-{ID2}.scope").into(),
        format!("pod{UID}").into(),
        format!("kubepods-pod{}.slice", UID.replace('-', "_")).into(),
        format!("x:crio:{ID}").into(),
        format!("machine-libpod_pod_{ID}.slice").into(),
    ])
    .collect();
    prop_oneof![
        4 => prop::sample::select(known),
        1 => prop::collection::vec(any::<u8>(), 0..80),
    ]
}

proptest! {
    /// No bytes break it, and what comes out is bounded by what went in.
    #[test]
    fn any_bytes(path in prop::collection::vec(any::<u8>(), 0..2 * PATH_MAX)) {
        check_invariants(&path)?;
    }

    /// The same for paths that look like real ones.
    #[test]
    fn any_layout(components in prop::collection::vec(component(), 0..12)) {
        check_invariants(&components.join(&b'/'))?;
    }

    /// A cgroup below a container, made by whatever runs in it, belongs to the container.
    #[test]
    fn nested_belongs_to_the_container(components in prop::collection::vec(component(), 0..8)) {
        let path = [b"/".as_slice(), &components.join(&b'/')].concat();
        let outer = parse(&path);
        if outer.level == Container {
            let below = [path.as_slice(), b"/plain"].concat();
            let nested = parse(&below);
            prop_assert_eq!(nested.owner, outer.owner);
            prop_assert_eq!(nested.container_id, outer.container_id);
        }
    }
}

fn check_invariants(path: &[u8]) -> Result<(), TestCaseError> {
    let found = parse(path);
    prop_assert!(path.starts_with(found.owner));
    prop_assert!(found.owner.len() <= PATH_MAX);
    prop_assert!(!found.owner.ends_with(b"/"));
    prop_assert!(
        found
            .container_id
            .is_none_or(|id| !id.is_empty() && !id.contains('/'))
    );
    prop_assert_eq!(found.container_id.is_some(), found.level == Container);
    prop_assert!(
        found
            .k8s_pod_uid
            .as_ref()
            .is_none_or(|uid| (1..=64).contains(&uid.len()))
    );
    // U+FFFD has three bytes where one was.
    prop_assert!(
        found
            .container_name
            .as_ref()
            .is_none_or(|name| name.len() <= 3 * PATH_MAX)
    );
    // The owner owns itself.
    let owner = parse(found.owner);
    prop_assert_eq!(&owner, &found);
    Ok(())
}
