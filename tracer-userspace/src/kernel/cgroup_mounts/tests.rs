//! Layouts as they are met: pure v2, hybrid, v1 alone, in containers.

use super::*;
use crate::kernel::mount_table::mounts;

/// A layout; the directories' devices, inodes and `cgroup.controllers` by path.
fn layout(
    mountinfo: &str,
    self_cgroup: &str,
    directories: &[(&str, u32, u64, Option<&str>)],
    cgroup_root: Option<&str>,
) -> CgroupLayout {
    let look = |path: &Path| {
        directories
            .iter()
            .find(|(at, ..)| Path::new(at) == path)
            .map(|(_, minor, inode, controllers)| Look {
                device: (0, *minor),
                inode: *inode,
                controllers: controllers.map(str::to_owned),
            })
    };
    CgroupLayout::build(
        &mounts(mountinfo.as_bytes()),
        self_cgroup.as_bytes(),
        cgroup_root.map(Path::new),
        &look,
    )
}

fn mounted(hierarchy: Option<&Hierarchy>) -> (u32, String, &str, bool) {
    let hierarchy = hierarchy.unwrap();
    let mount = hierarchy.mount.as_ref().unwrap();
    (
        hierarchy.id,
        hierarchy.label(),
        mount.path.to_str().unwrap(),
        mount.whole,
    )
}

const ALL: Option<&str> = Some("cpuset cpu io memory hugetlb pids rdma misc\n");

#[test]
fn pure_v2() {
    let layout = layout(
        "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
        "0::/user.slice/session-1.scope\n",
        &[("/sys/fs/cgroup", 30, 1, ALL)],
        None,
    );
    let whole = (0, "v2".to_owned(), "/sys/fs/cgroup", true);
    assert_eq!(mounted(layout.slots()), whole);
    assert_eq!(mounted(layout.with_controller("memory")), whole);
    assert_eq!(mounted(layout.with_controller("cpu")), whole);
    assert_eq!(
        layout.with_controller("net_cls"),
        None,
        "the root has it not"
    );
}

#[test]
fn hybrid_with_the_controllers_on_v1() {
    let layout = layout(
        "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n\
         33 31 0:30 / /sys/fs/cgroup/cpuacct rw - cgroup cgroup rw,cpuacct\n\
         35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        "9:name=systemd:/\n4:memory:/x\n2:cpuacct:/\n1:cpu:/\n0::/\n",
        &[
            ("/sys/fs/cgroup/cpu", 29, 1, None),
            ("/sys/fs/cgroup/cpuacct", 30, 1, None),
            ("/sys/fs/cgroup/memory", 32, 1, None),
            ("/sys/fs/cgroup/systemd", 37, 1, None),
            ("/sys/fs/cgroup/unified", 38, 1, Some("hugetlb\n")),
        ],
        None,
    );
    assert_eq!(
        mounted(layout.slots()),
        (1, "v1:cpu".to_owned(), "/sys/fs/cgroup/cpu", true)
    );
    assert_eq!(mounted(layout.with_controller("memory")).0, 4);
    assert_eq!(mounted(layout.with_controller("hugetlb")).0, 0);
    assert_eq!(
        mounted(layout.unified()),
        (0, "v2".to_owned(), "/sys/fs/cgroup/unified", true)
    );
    assert_eq!(layout.hierarchies[4].label(), "v1:systemd");
}

#[test]
fn hybrid_with_the_cpu_controller_on_v2() {
    let layout = layout(
        "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
        "4:memory:/x\n0::/\n",
        &[
            ("/sys/fs/cgroup/memory", 32, 1, None),
            ("/sys/fs/cgroup/unified", 38, 1, Some("cpu io\n")),
        ],
        None,
    );
    assert_eq!(mounted(layout.slots()).0, 0);
    assert_eq!(mounted(layout.with_controller("memory")).0, 4);
}

#[test]
fn v1_alone_with_controllers_together() {
    let layout = layout(
        "30 25 0:26 / /sys/fs/cgroup/systemd rw shared:8 - cgroup cgroup \
         rw,xattr,release_agent=/lib/systemd/agent,name=systemd\n\
         34 25 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:12 - cgroup cgroup rw,cpu,cpuacct\n\
         35 25 0:31 / /sys/fs/cgroup/memory rw shared:13 - cgroup cgroup rw,memory\n\
         36 25 0:32 / /sys/fs/cgroup/cpuset rw shared:14 - cgroup cgroup rw,cpuset\n",
        "12:memory:/system.slice\n5:cpuset:/\n3:cpu,cpuacct:/\n1:name=systemd:/init.scope\n",
        &[
            ("/sys/fs/cgroup/systemd", 26, 1, None),
            ("/sys/fs/cgroup/cpu,cpuacct", 30, 1, None),
            ("/sys/fs/cgroup/memory", 31, 1, None),
            ("/sys/fs/cgroup/cpuset", 32, 1, None),
        ],
        None,
    );
    assert_eq!(
        mounted(layout.slots()),
        (
            3,
            "v1:cpu,cpuacct".to_owned(),
            "/sys/fs/cgroup/cpu,cpuacct",
            true
        )
    );
    assert_eq!(layout.unified(), None);
    assert_eq!(mounted(layout.with_controller("memory")).0, 12);
    assert_eq!(layout.with_controller("hugetlb"), None);
}

#[test]
fn a_container_with_its_own_part_and_the_hosts_whole() {
    let mountinfo = "900 880 0:30 /docker/abc /sys/fs/cgroup/cpu ro master:12 - cgroup cgroup rw,cpu\n\
                     901 880 0:31 /docker/abc /sys/fs/cgroup/memory ro master:13 - cgroup cgroup rw,memory\n\
                     950 880 0:30 / /host/sys/fs/cgroup/cpu ro master:12 - cgroup cgroup rw,cpu\n\
                     951 880 0:31 / /host/sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n";
    let self_cgroup = "4:memory:/docker/abc\n1:cpu:/docker/abc\n0::/docker/abc\n";
    let directories = [
        ("/sys/fs/cgroup/cpu", 30, 77, None),
        ("/sys/fs/cgroup/memory", 31, 78, None),
        ("/host/sys/fs/cgroup/cpu", 30, 1, None),
        ("/host/sys/fs/cgroup/memory", 31, 1, None),
    ];
    let both = layout(mountinfo, self_cgroup, &directories, None);
    assert_eq!(
        mounted(both.slots()),
        (1, "v1:cpu".to_owned(), "/host/sys/fs/cgroup/cpu", true)
    );
    assert_eq!(
        mounted(both.with_controller("memory")).2,
        "/host/sys/fs/cgroup/memory"
    );
    let own = layout(mountinfo, self_cgroup, &directories, Some("/sys/fs/cgroup"));
    let (_, _, path, whole) = mounted(own.slots());
    assert_eq!((path, whole), ("/sys/fs/cgroup/cpu", false));
    // Prefixes are of components, not of characters.
    let none = layout(
        mountinfo,
        self_cgroup,
        &directories,
        Some("/host/sys/fs/cgr"),
    );
    assert_eq!(none.slots().unwrap().mount, None);
}

#[test]
fn a_private_cgroup_namespace_calls_its_part_the_root() {
    let layout = layout(
        "700 690 0:27 / /sys/fs/cgroup ro - cgroup2 cgroup rw,nsdelegate\n",
        "0::/\n",
        &[("/sys/fs/cgroup", 27, 4_242, Some("memory\n"))],
        None,
    );
    let (id, _, _, whole) = mounted(layout.slots());
    assert_eq!((id, whole), (0, false));
    // Not delegated to this part, but the hierarchy may have it.
    assert_eq!(layout.with_controller("cpu").unwrap().id, 0);
}

#[test]
fn mounts_under_other_mounts_do_not_count() {
    let layout = layout(
        "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n\
         60 24 0:90 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n\
         61 60 0:30 / /mnt/with\\040space rw - cgroup2 cgroup2 rw\n",
        "0::/\n",
        &[
            ("/sys/fs/cgroup", 90, 1, None),
            ("/mnt/with space", 30, 1, ALL),
        ],
        None,
    );
    assert_eq!(mounted(layout.slots()).2, "/mnt/with space");
}

#[test]
fn nothing_mounted() {
    let bare = layout("", "3:cpu:/\n0::/\n", &[], None);
    assert_eq!(bare.slots().unwrap().id, 3);
    assert_eq!(bare.slots().unwrap().mount, None);
    let without_v1_mount = layout(
        "41 31 0:38 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "3:cpu:/\n0::/\n",
        &[("/sys/fs/cgroup", 38, 1, Some("io\n"))],
        None,
    );
    assert_eq!(without_v1_mount.slots().unwrap().id, 0);
    let nonsense = layout("x", "\n::\n1:\nx:cpu:/\n1:cp\u{fffd}u:/\n", &[], None);
    assert_eq!(nonsense.hierarchies.len(), 1);
    assert_eq!(layout("", "", &[], None).slots(), None);
}

#[test]
fn the_running_kernels_hierarchies_carry_what_proc_cgroups_says() {
    let read = |path| fs::read(path).unwrap();
    let layout = CgroupLayout::inspect(
        &mounts(&read("/proc/self/mountinfo")),
        &read("/proc/self/cgroup"),
        None,
    );
    let table = String::from_utf8(read("/proc/cgroups")).unwrap();
    let mut compared = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let fields: Vec<_> = line.split('\t').collect();
        let (controller, hierarchy, enabled) = (fields[0], fields[1], fields[3]);
        if enabled == "1" && hierarchy != "0" {
            let ours = layout.with_controller(controller).unwrap();
            assert_eq!(ours.id.to_string(), hierarchy, "{controller}");
            compared += 1;
        }
    }
    let v1 = layout
        .hierarchies
        .iter()
        .filter(|hierarchy| hierarchy.version == CgroupVersion::V1 && hierarchy.name.is_none());
    assert!(compared >= v1.count());
    for hierarchy in &layout.hierarchies {
        let Some(mount) = &hierarchy.mount else {
            continue;
        };
        // Every cgroup directory has it, in both versions; nothing else has.
        assert!(mount.path.join("cgroup.procs").exists(), "{mount:?}");
    }
}
