//! The one small image that every engine of the tests gets: busybox and nothing else.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::json;

/// The name by which engines have it.
pub const IMAGE: &str = "localhost/limitscope-test:1";
/// What lets Podman take images that nobody has signed, as `policy.json`.
pub const POLICY: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;

const REMEDY: &str = "install it with: apt-get install -y --no-install-recommends busybox-static";

/// Makes the file system of the image in a folder; returns it as a tar archive.
pub fn layer(dir: &Path) -> Result<PathBuf> {
    let root = dir.join("image");
    fs::create_dir_all(root.join("bin"))?;
    for dir in ["proc", "sys", "dev", "tmp", "etc"] {
        fs::create_dir(root.join(dir))?;
    }
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|p| Path::new(p).exists());
    fs::copy(busybox.context(REMEDY)?, root.join("bin/busybox"))?;
    for applet in ["sh", "sleep", "usleep", "tail", "true", "cat", "echo"] {
        symlink("busybox", root.join("bin").join(applet))?;
    }
    tar(&root, &dir.join("image.tar"))
}

/// Makes the image as `docker save` writes it, which containerd and Podman take; it is called
/// `reference` and runs `command` where nothing else is asked for.
pub fn archive(dir: &Path, reference: &str, command: &[&str]) -> Result<PathBuf> {
    let layer = match dir.join("image.tar") {
        made if made.exists() => made,
        _ => layer(dir)?,
    };
    let layer_digest = digest(&layer)?;
    let folder = dir.join(format!("archive-{}", reference.replace(['/', ':'], "-")));
    fs::create_dir(&folder)?;
    fs::copy(&layer, folder.join("layer.tar"))?;
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let config = json!({
        "architecture": architecture,
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": command, "WorkingDir": "/" },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
    });
    let file = folder.join("config.json");
    fs::write(&file, config.to_string())?;
    let config = format!("{}.json", digest(&file)?);
    fs::rename(&file, folder.join(&config))?;
    let manifest = json!([{ "Config": config, "RepoTags": [reference], "Layers": ["layer.tar"] }]);
    fs::write(folder.join("manifest.json"), manifest.to_string())?;
    tar(&folder, &folder.with_extension("tar"))
}

fn tar(root: &Path, archive: &Path) -> Result<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(root)? {
        names.push(entry?.file_name());
    }
    let made = Command::new("tar")
        .arg("-C")
        .arg(root)
        .arg("-cf")
        .arg(archive)
        .args(names)
        .status()?;
    ensure!(made.success(), "tar ended with {made}");
    Ok(archive.to_owned())
}

fn digest(file: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(file).output()?;
    let text = String::from_utf8(output.stdout)?;
    let digest = text.split_whitespace().next();
    Ok(digest.context("sha256sum said nothing")?.to_owned())
}
