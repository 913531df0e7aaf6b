//! Whose directories are taken for whose.

use super::*;

#[test]
fn only_names_of_demos_are_ours() {
    for yes in [
        "limitscope-demo-1",
        "limitscope-demo-4711",
        "limitscope-demo-1-2",
    ] {
        assert!(is_ours(yes.as_ref()), "{yes}");
    }
    for no in [
        "limitscope-demo-",
        "limitscope-demo-a",
        "limitscope-demo-1a",
        "limitscope-test-1",
        "docker",
        "xlimitscope-demo-1",
    ] {
        assert!(!is_ours(no.as_ref()), "{no}");
    }
}

#[test]
fn a_lock_has_one_holder() {
    let dir = tempfile::tempdir().unwrap();
    let first = lock(dir.path()).unwrap();
    assert!(first.is_some());
    assert!(lock(dir.path()).unwrap().is_none());
    drop(first);
    assert!(lock(dir.path()).unwrap().is_some());
    assert!(lock(&dir.path().join("gone")).is_err());
}

#[test]
fn leftovers_that_nobody_holds_go_and_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let places = [Place {
        version: CgroupVersion::V1,
        controllers: vec!["cpu"],
        mount: dir.path().to_owned(),
    }];
    for name in ["limitscope-demo-1/burning", "limitscope-demo-2", "other"] {
        fs::create_dir_all(dir.path().join(name)).unwrap();
    }
    let _held = lock(&dir.path().join("limitscope-demo-2"))
        .unwrap()
        .unwrap();
    assert_eq!(remove_leftovers(&places), 1);
    assert!(!dir.path().join("limitscope-demo-1").exists());
    assert!(dir.path().join("limitscope-demo-2").exists());
    assert!(dir.path().join("other").exists());
}

#[test]
fn what_is_made_is_gone_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let places = [Place {
        version: CgroupVersion::V1,
        controllers: vec!["cpu", "memory"],
        mount: dir.path().to_owned(),
    }];
    let sandbox = Sandbox::make(&places).unwrap();
    let group = sandbox.group("quiet").unwrap();
    assert!(group.is_at(&group.path) && group.is_at(&format!("/outer{}", group.path)));
    assert!(!group.is_at("/quiet"));
    let (version, inside) = group.with_controller("memory").unwrap();
    assert_eq!(version, CgroupVersion::V1);
    assert!(inside.is_dir());
    assert!(group.with_controller("io").is_err());
    drop(sandbox);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}
