//! The page of `limitscope explain` about a container of a pod.

use anyhow::{Result, ensure};
use limitscope_tests::{containerd::Containerd, cri::Resources, explain::Page};

const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];

#[test]
fn containers_of_pods_are_explained_by_name() -> Result<()> {
    let mut containerd = Containerd::start()?;
    let pod = containerd.pod("lst-explain", 9)?;
    let limits = Resources {
        cpu_period: 100_000,
        cpu_quota: 30_000,
        ..Resources::default()
    };
    let id = containerd.container(&pod, "app", 0, &limits, &BUSY)?;
    let socket = containerd.socket();
    let page = Page::of(
        "lst-explain",
        &["--cri-socket".as_ref(), socket.as_os_str()],
    )?;
    assert_eq!(page.line("", "pod")?, "lst-explain");
    assert_eq!(page.line("", "name")?, "app");
    assert_eq!(page.line("", "id")?, id);
    ensure!(page.line("Limits", "CPU")?.starts_with("0.30 CPUs:"));
    Ok(())
}
