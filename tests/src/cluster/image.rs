//! The agent's own image, on the cluster's node.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::Cluster;
use crate::image;

impl Cluster {
    /// Makes the agent's image of a folder with the static binary, and hands it to the node without a
    /// registry: by the commands of deploy/README.md, Podman's storage being the test's.
    pub fn import_image(&self, deploy: &Path, binaries: &Path, tag: &str) -> Result<()> {
        let storage = self.dir().join("images");
        fs::create_dir_all(&storage)?;
        let policy = storage.join("policy.json");
        fs::write(&policy, image::POLICY)?;
        let archive = storage.join("limitscope.tar");
        let podman = |args: &[&str]| -> Result<()> {
            let mut command = Command::new("podman");
            for option in ["root", "runroot", "tmpdir"] {
                command.arg(format!("--{option}={}", storage.join(option).display()));
            }
            command
                .args(["--storage-driver=vfs", "--cgroup-manager=cgroupfs"])
                .args(args)
                .env("HOME", &storage)
                .stdin(Stdio::null());
            let output = command
                .output()
                .context("podman is not installed; apt-get install -y podman")?;
            let stderr = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "podman {args:?}: {stderr}");
            Ok(())
        };
        podman(&[
            "build",
            &format!("--signature-policy={}", policy.display()),
            &format!("--file={}", deploy.join("Containerfile").display()),
            &format!("--tag={tag}"),
            &binaries.display().to_string(),
        ])?;
        let archive = archive.display().to_string();
        podman(&["save", &format!("--output={archive}"), tag])?;
        let containerd = self.containerd()?;
        containerd.ctr(&["images", "import", &archive]).map(drop)
    }
}
