//! Every layout of paths that is known.

use super::parse;
use crate::model::identity::Level::{self, Container, Other, Pod, Qos, Root, Service, Slice};

pub(super) const ID: &str = "3f1c0de0aa55b00c9e8d7c6b5a4938271605f4e3d2c1b0a99887766554433221";
pub(super) const ID2: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
pub(super) const UID: &str = "0d9c3a4e-51f7-4a8b-9a50-6f1d2b7c8e90";
const STATIC_UID: &str = "7c2d94f0a1b3e5867c2d94f0a1b3e586";

/// What a row of the table expects; `""` is none.
struct Expect {
    level: Level,
    id: &'static str,
    name: &'static str,
    runtime: &'static str,
    uid: &'static str,
}

const fn is(level: Level, runtime: &'static str) -> Expect {
    Expect {
        level,
        id: "",
        name: "",
        runtime,
        uid: "",
    }
}

const fn container(runtime: &'static str) -> Expect {
    Expect {
        id: ID,
        ..is(Container, runtime)
    }
}

const fn in_pod(runtime: &'static str) -> Expect {
    Expect {
        uid: UID,
        ..container(runtime)
    }
}

const fn pod() -> Expect {
    Expect {
        uid: UID,
        ..is(Pod, "")
    }
}

const fn named(runtime: &'static str, name: &'static str) -> Expect {
    Expect {
        id: name,
        name,
        ..is(Container, runtime)
    }
}

const fn unit(name: &'static str) -> Expect {
    Expect {
        name,
        ..is(Service, "systemd")
    }
}

const fn slice(name: &'static str) -> Expect {
    Expect {
        name,
        ..is(Slice, "systemd")
    }
}

/// Checks one path. In it `$` is [`ID`], `$2` [`ID2`], `%` [`UID`], `%_` the same with `_` for
/// `-`, and `|` stands after the owner where that is not the whole path.
fn check(pattern: &str, expect: &Expect) {
    let marked = pattern
        .replace("$2", ID2)
        .replace('$', ID)
        .replace("%_", &UID.replace('-', "_"))
        .replace('%', UID);
    let owner = marked.split('|').next().unwrap();
    let path = marked.replace('|', "");
    let found = parse(path.as_bytes());
    let text = |part: Option<&str>| part.unwrap_or("").to_owned();
    let found = (
        found.level,
        String::from_utf8(found.owner.to_vec()).unwrap(),
        text(found.container_id),
        text(found.container_name.as_deref()),
        text(found.runtime_name),
        text(found.k8s_pod_uid.as_deref()),
    );
    let expected = (
        expect.level,
        owner.to_owned(),
        expect.id.to_owned(),
        expect.name.to_owned(),
        expect.runtime.to_owned(),
        expect.uid.to_owned(),
    );
    assert_eq!(found, expected, "path {path}");
}

#[test]
fn docker() {
    for path in [
        "/docker/$",
        "/system.slice/docker-$.scope",
        "/system.slice/docker-$.scope|/init.scope",
        "/docker/$|/system.slice/sshd.service",
        "/docker/$|/init",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-$.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/docker/$",
        "/batch.slice/docker-$.scope",
        "/system.slice:docker:$",
        "/actions_job/$",
    ] {
        check(path, &container("docker"));
    }
    check("/mine/jobs/$", &container(""));
    check("/docker", &is(Other, ""));
    check("/docker/buildkit/x1fk2", &is(Other, ""));
}

#[test]
fn container_in_a_container() {
    check("/docker/$2/docker/$", &container("docker"));
    check("/docker/$2/docker/$|/inner", &container("docker"));
    check(
        "/system.slice/docker-$2.scope/system.slice/docker-$.scope",
        &container("docker"),
    );
    check("/docker/$|/docker", &container("docker"));
    check(
        "/docker/$2/system.slice/containerd.service/kubepods-burstable-pod%_.slice:cri-containerd:$",
        &in_pod("containerd"),
    );
    // Docker in a pod: still that pod.
    check("/kubepods/burstable/pod%/$2/docker/$", &in_pod("docker"));
}

#[test]
fn kubernetes_with_the_systemd_driver() {
    let kubepods = "/kubepods.slice";
    check(kubepods, &is(Qos, ""));
    check("/kubepods.slice/kubepods-burstable.slice", &is(Qos, ""));
    check("/kubepods.slice/kubepods-besteffort.slice", &is(Qos, ""));
    for pod_path in [
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod%_.slice",
        "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod%_.slice",
        "/kubepods.slice/kubepods-pod%_.slice",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod%_.slice",
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod%_.slice",
    ] {
        check(pod_path, &pod());
        check(
            &format!("{pod_path}/cri-containerd-$.scope"),
            &in_pod("containerd"),
        );
        check(&format!("{pod_path}/crio-$.scope"), &in_pod("cri-o"));
        check(
            &format!("{pod_path}/crio-$.scope|/container"),
            &in_pod("cri-o"),
        );
        check(&format!("{pod_path}/docker-$.scope"), &in_pod("docker"));
        check(&format!("{pod_path}/$"), &in_pod(""));
        check(&format!("{pod_path}|/crio-conmon-$.scope"), &pod());
        check(&format!("{pod_path}|/other"), &pod());
    }
    check(
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice",
        &is(Qos, ""),
    );
    check(
        "/system.slice/containerd.service/kubepods-besteffort-pod%_.slice:cri-containerd:$",
        &in_pod("containerd"),
    );
    check(
        "/kubepods-pod%_.slice:cri-containerd:$",
        &in_pod("containerd"),
    );
    check(
        "/kubepods-burstable-pod%_.slice:crio:$|/x",
        &in_pod("cri-o"),
    );
    // Not kubelet's.
    check("/kubepodsx.slice", &slice("kubepodsx.slice"));
    check("/kubepods-other.slice", &slice("kubepods-other.slice"));
    check("/kubepods-pod.slice", &slice("kubepods-pod.slice"));
    check("/kubepods-pod1-2.slice", &slice("kubepods-pod1-2.slice"));
}

#[test]
fn kubernetes_with_the_cgroupfs_driver() {
    check("/kubepods", &is(Qos, ""));
    check("/kubepods/burstable", &is(Qos, ""));
    for pod_path in [
        "/kubepods/burstable/pod%",
        "/kubepods/besteffort/pod%",
        "/kubepods/pod%",
        "/kubelet/kubepods/burstable/pod%",
        "/docker/$2/kubelet/kubepods/burstable/pod%",
    ] {
        check(pod_path, &pod());
        check(&format!("{pod_path}/$"), &in_pod(""));
        check(&format!("{pod_path}/$|/payload/x"), &in_pod(""));
        check(&format!("{pod_path}/crio-$"), &in_pod("cri-o"));
        check(&format!("{pod_path}|/crio-conmon-$"), &pod());
    }
    // In a node that is a container, everything but pods and containers is the node's.
    check(
        "/docker/$|/kubelet/kubepods/burstable",
        &container("docker"),
    );
    check(
        "/docker/$|/kubelet.slice/kubelet-kubepods.slice",
        &container("docker"),
    );
    check("/kubepods/podx y", &is(Other, ""));
    check("/burstable/pod%", &is(Other, ""));
}

#[test]
fn static_pods_have_no_dashes() {
    for path in [
        format!("/kubepods/burstable/pod{STATIC_UID}/$"),
        format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{STATIC_UID}.slice/docker-$.scope"
        ),
        format!("/kubepods.slice/kubepods-pod{STATIC_UID}.slice/cri-containerd-$.scope"),
    ] {
        let found = path.replace('$', ID);
        let found = parse(found.as_bytes());
        assert_eq!(found.k8s_pod_uid.as_deref(), Some(STATIC_UID), "{path}");
        assert_eq!(found.container_id, Some(ID), "{path}");
    }
}

#[test]
fn podman() {
    for path in [
        "/machine.slice/libpod-$.scope",
        "/machine.slice/libpod-$.scope|/container",
        "/machine.slice/libpod-$.scope|/container/init.scope",
        "/libpod_parent/libpod-$",
        "/libpod_parent/$2/libpod-$",
        "/machine.slice/machine-libpod_pod_$2.slice/libpod-$.scope",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-$.scope|/container",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_$2.slice/libpod-$.scope",
        "/system.slice/web.service/libpod-payload-$",
        "/machine.slice:libpod:$",
    ] {
        check(path, &container("podman"));
    }
    check("/libpod_parent/$", &is(Pod, ""));
    check("/machine.slice/machine-libpod_pod_$.slice", &is(Pod, ""));
    check("/libpod_parent/conmon", &is(Other, ""));
    check(
        "/machine.slice/machine-libpod_pod_$.slice|/libpod-conmon-$2.scope",
        &is(Pod, ""),
    );
    let path = format!("/machine.slice/libpod-conmon-{ID}.scope");
    let monitor = parse(path.as_bytes());
    assert_eq!((monitor.level, monitor.container_id), (Service, None));
    assert_eq!(monitor.runtime_name, Some("systemd"));
}

#[test]
fn containerd() {
    check("/default/web", &named("containerd", "web"));
    check("/default/web|/x", &named("containerd", "web"));
    check("/default/a.b-c_1", &named("containerd", "a.b-c_1"));
    check("/k8s.io/$", &container("containerd"));
    check("/default/$", &container("containerd"));
    check("/system.slice/nerdctl-$.scope", &container("containerd"));
    check("/default", &is(Other, ""));
    check("/default/-web", &is(Other, ""));
    check("/mine/default/web", &is(Other, ""));
}

#[test]
fn ecs() {
    check("/ecs/4b1d/$", &container("docker"));
    check("/ecs/4b1d", &is(Pod, ""));
    check(
        "/ecstasks.slice/ecstasks-4b1d.slice/docker-$.scope",
        &container("docker"),
    );
    check("/ecstasks.slice/ecstasks-4b1d.slice", &is(Pod, ""));
    check("/ecstasks.slice", &slice("ecstasks.slice"));
    let fargate = Expect {
        id: "4b1d00-1234567890",
        ..is(Container, "")
    };
    check("/ecs/4b1d00/4b1d00-1234567890", &fargate);
}

#[test]
fn lxc() {
    check("/lxc.payload.web", &named("lxc", "web"));
    check(
        "/lxc.payload.web|/system.slice/cron.service",
        &named("lxc", "web"),
    );
    check("/lxc.payload/web", &named("lxc", "web"));
    check("/lxc/101|/ns/init.scope", &named("lxc", "101"));
    check("/lxc.payload.proj_web", &named("lxc", "proj_web"));
    check("/lxc.payload.out/lxc.payload.in", &named("lxc", "in"));
    check("/lxc.payload.out/docker/$", &container("docker"));
    check("/lxc.monitor.web", &is(Other, ""));
    check("/lxc.payload.", &is(Other, ""));
}

#[test]
fn systemd() {
    check("/system.slice", &slice("system.slice"));
    check("/system.slice/cron.service", &unit("cron.service"));
    check(
        "/system.slice/cron.service|/worker/1",
        &unit("cron.service"),
    );
    check(
        "/system.slice/cron.service|/x.service",
        &unit("cron.service"),
    );
    check("/init.scope", &unit("init.scope"));
    check(
        "/system.slice/system-getty.slice/getty@tty1.service",
        &unit("getty@tty1.service"),
    );
    check("/system.slice/dbus.socket", &unit("dbus.socket"));
    check("/system.slice/run-u12.scope", &unit("run-u12.scope"));
    check(
        "/user.slice/user-1000.slice/session-3.scope",
        &unit("session-3.scope"),
    );
    check(
        "/user.slice/user-1000.slice/user@1000.service",
        &unit("user@1000.service"),
    );
    check(
        "/user.slice/user-1000.slice/user@1000.service/app.slice",
        &slice("app.slice"),
    );
    check(
        "/user.slice/user-1000.slice/user@1000.service/app.slice/app-a.service",
        &unit("app-a.service"),
    );
    check(
        "/user.slice/user-1000.slice/user@1000.service/init.scope",
        &unit("init.scope"),
    );
    // Only systemd's own slice and units: not those that a service made, not those by name alone.
    check("/init.scope|/user@9.service/x.slice", &unit("init.scope"));
    check("/mine/x.service", &is(Other, ""));
    check("/mine/x.slice", &is(Other, ""));
    check("/system.slice/.service", &is(Other, ""));
    check("/system.slice/plain", &is(Other, ""));
}

#[test]
fn everything_else_stands_for_itself() {
    for root in ["", "/", "//"] {
        let found = parse(root.as_bytes());
        assert_eq!((found.level, found.owner), (Root, b"".as_slice()));
    }
    check("/limitscope-demo", &is(Other, ""));
    check("/limitscope-demo/leak", &is(Other, ""));
    check("relative/path", &is(Other, ""));
    check("/..|".trim_end_matches('|'), &is(Other, ""));
}

#[test]
fn names_of_other_lengths_are_no_ids() {
    for id in [
        &ID[..63],
        &ID[..32],
        &ID[..12],
        &format!("{ID}0"),
        &format!("{ID}{ID2}"),
        &ID.to_uppercase(),
        &ID.replace('3', "g"),
    ] {
        for path in [
            format!("/docker/{id}"),
            format!("/system.slice/docker-{id}.scope"),
            format!("/libpod_parent/libpod-{id}"),
            format!("/kubepods/pod{UID}/{id}"),
            format!("/kubepods-pod.slice:cri-containerd:{id}"),
        ] {
            let found = parse(path.as_bytes());
            assert_eq!(found.container_id, None, "{path}");
            assert_ne!(found.level, Container, "{path}");
        }
    }
}
