//! Options about where container engines are.

use std::{ffi::OsString, path::PathBuf, sync::Arc};

use anyhow::{Result, bail};
use clap::Args;

use crate::identity::{chosen::Chosen, resolvers::ResolverOptions};

/// Who is asked for names, and where the host's files are.
#[derive(Args, Clone, Debug, Default)]
pub struct EngineArgs {
    /// Docker's socket [default: DOCKER_HOST if it is unix://, /run/docker.sock, /var/run/docker.sock]
    #[arg(long, value_name = "SOCKET")]
    pub docker_socket: Option<PathBuf>,
    /// Socket of the Container Runtime Interface [default: those of containerd, K3s, k0s, MicroK8s,
    /// CRI-O and cri-dockerd, whichever are there]
    #[arg(long, value_name = "SOCKET")]
    pub cri_socket: Option<PathBuf>,
    /// Podman's socket [default: /run/podman/podman.sock, and those of users in /run/user]
    #[arg(long, value_name = "SOCKET")]
    pub podman_socket: Option<PathBuf>,
    /// Where the host's files are and its sockets at their usual places, e.g. within a container
    #[arg(long, value_name = "DIR")]
    pub host_root: Option<PathBuf>,
}

impl EngineArgs {
    fn sockets(&self) -> [(&'static str, Option<&PathBuf>); 3] {
        [
            ("--docker-socket", self.docker_socket.as_ref()),
            ("--cri-socket", self.cri_socket.as_ref()),
            ("--podman-socket", self.podman_socket.as_ref()),
        ]
    }

    /// Refuses what can be of no use.
    pub fn check(&self) -> Result<()> {
        if let Some(root) = self.host_root.as_deref().filter(|root| !root.is_dir()) {
            bail!("--host-root {} is no directory", root.display());
        }
        Ok(())
    }

    /// Says which of the given sockets are not there.
    pub fn warn_of_absent(&self) {
        for (option, socket) in self.sockets() {
            if let Some(socket) = socket.filter(|socket| !socket.exists()) {
                tracing::warn!(
                    "{option} {} is not there (yet): until it is, its containers have ids and no \
                     names",
                    socket.display()
                );
            }
        }
    }

    /// For those who resolve names; with the labels that are wanted.
    pub fn resolvers(&self, chosen: Chosen) -> ResolverOptions {
        ResolverOptions {
            docker_socket: self.docker_socket.clone(),
            cri_socket: self.cri_socket.clone(),
            podman_socket: self.podman_socket.clone(),
            chosen: Arc::new(chosen),
            host_root: self.host_root.clone(),
        }
    }

    /// The same as arguments of another run.
    pub fn arguments(&self) -> Vec<OsString> {
        let root = [("--host-root", self.host_root.as_ref())];
        let given = self.sockets().into_iter().chain(root);
        let pair = |(option, path): (&str, Option<&PathBuf>)| {
            Some([OsString::from(option), path?.clone().into_os_string()])
        };
        given.filter_map(pair).flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_is_handed_on() {
        let args = EngineArgs {
            cri_socket: Some("/run/a.sock".into()),
            host_root: Some("/host".into()),
            ..EngineArgs::default()
        };
        assert_eq!(
            args.arguments(),
            ["--cri-socket", "/run/a.sock", "--host-root", "/host"]
        );
        assert_eq!(EngineArgs::default().arguments(), [""; 0]);
    }

    #[test]
    fn a_root_that_is_none_is_refused() {
        let at = |root: &str| EngineArgs {
            host_root: Some(root.into()),
            ..EngineArgs::default()
        };
        assert!(at("/").check().is_ok() && EngineArgs::default().check().is_ok());
        let error = at("/nowhere").check().unwrap_err().to_string();
        assert_eq!(error, "--host-root /nowhere is no directory");
    }
}
