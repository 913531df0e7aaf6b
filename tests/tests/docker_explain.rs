//! The page of `limitscope explain` about a container of Docker's.

use anyhow::{Result, ensure};
use limitscope_tests::{docker::Docker, explain::Page};

const BUSY: [&str; 3] = ["sh", "-c", "while :; do :; done"];

#[test]
fn dockers_containers_are_explained_by_name() -> Result<()> {
    let docker = Docker::start()?;
    let limits = ["--cpus", "0.2", "--memory", "48m"];
    let id = docker.container("lst-explain", &limits, &BUSY)?;
    let socket = docker.socket();
    let page = Page::of(
        "lst-explain",
        &["--docker-socket".as_ref(), socket.as_os_str()],
    )?;
    assert_eq!(page.line("", "name")?, "lst-explain");
    assert_eq!(page.line("", "id")?, id);
    let host = docker.inspect(&id)?["HostConfig"].clone();
    assert_eq!(host["NanoCpus"], 200_000_000);
    ensure!(page.line("Limits", "CPU")?.starts_with("0.20 CPUs:"));
    assert_eq!(page.line("Limits", "memory")?, "48 MiB");
    ensure!(page.has("cpu_limit_too_low ("), "no finding");
    Ok(())
}
