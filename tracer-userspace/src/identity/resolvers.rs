//! All that can be asked for names, side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;

use super::client::{ClientConfig, SocketNames};
use super::cri;
use super::docker;
use super::files::FileNames;
use super::names::{NameMessage, NameSource};
use crate::model::identity::Identity;

/// Where Podman listens for root.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// Folders of users that are logged in, each named with its user's id.
const USERS: &str = "run/user";

/// Most users whose Podman is asked.
const MAX_USERS: usize = 64;

/// What to ask, where the user says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverOptions {
    /// Docker's socket.
    pub docker_socket: Option<PathBuf>,
    /// A runtime's socket for the Container Runtime Interface.
    pub cri_socket: Option<PathBuf>,
    /// Podman's socket.
    pub podman_socket: Option<PathBuf>,
    /// Where the host's files are, and its sockets at their usual places; `/` without it.
    pub host_root: Option<PathBuf>,
}

/// The resolvers of a run.
pub struct Resolvers {
    sources: Vec<Box<dyn NameSource>>,
    /// Folders of users whose Podman is asked already; none where the user named a socket.
    users: Option<Vec<PathBuf>>,
    host_root: PathBuf,
    messages: mpsc::Sender<NameMessage>,
}

impl Resolvers {
    /// Starts all of them on the current tokio runtime.
    pub fn start(options: ResolverOptions, messages: mpsc::Sender<NameMessage>) -> Self {
        let root = options.host_root.unwrap_or_else(|| "/".into());
        let mut sources: Vec<Box<dyn NameSource>> = Vec::new();
        let mut add = |source: SocketNames| sources.push(Box::new(source));
        let sockets = match options.docker_socket {
            Some(given) => vec![given],
            None => below(&root, docker::usual_sockets()),
        };
        add(docker::docker(ClientConfig::new(sockets), messages.clone()));
        // Several may be there at once: K3s beside the containerd of Docker.
        let sockets = match options.cri_socket {
            Some(given) => vec![given],
            None => below(&root, cri::SOCKETS.map(PathBuf::from)),
        };
        for socket in sockets {
            add(cri::cri(ClientConfig::new(vec![socket]), messages.clone()));
        }
        let users = options.podman_socket.is_none().then(Vec::new);
        let sockets = match options.podman_socket {
            Some(given) => vec![given],
            None => below(&root, [PODMAN_SOCKET.into()]),
        };
        add(docker::podman(ClientConfig::new(sockets), messages.clone()));
        sources.push(Box::new(FileNames::spawn(root.clone(), messages.clone())));
        let mut resolvers = Self {
            sources,
            users,
            host_root: root,
            messages,
        };
        resolvers.look_for_users();
        resolvers
    }

    /// Starts to ask the Podman of users who came since.
    pub fn look_for_users(&mut self) {
        let Some(known) = &mut self.users else {
            return;
        };
        for (user, socket) in rootless_sockets(&self.host_root.join(USERS)) {
            if known.contains(&socket) || known.len() >= MAX_USERS {
                continue;
            }
            known.push(socket.clone());
            // The socket is its user's, who may tell anything: it has a say below that user's slice
            // and nowhere else.
            let config = ClientConfig {
                within: Some(user_slice(user)),
                ..ClientConfig::new(vec![socket])
            };
            let source = docker::podman(config, self.messages.clone());
            self.sources.push(Box::new(source));
        }
    }

    /// Asks for a container that has no name yet.
    pub fn ask(&self, identity: &Identity) {
        let Some(id) = identity.container_id.as_deref() else {
            return;
        };
        if identity.container_name.is_none() {
            for source in self.serving(identity) {
                source.ask(id);
            }
        }
    }

    /// Asks how a container ended.
    pub fn ask_exit(&self, identity: &Identity) {
        if let Some(id) = identity.container_id.as_deref() {
            for source in self.serving(identity) {
                source.ask_exit(id);
            }
        }
    }

    fn serving(&self, identity: &Identity) -> impl Iterator<Item = &dyn NameSource> {
        let all = self.sources.iter().map(|source| &**source);
        all.filter(|source| source.serves(identity))
    }
}

/// Absolute paths as they are below the host's root.
fn below(root: &Path, paths: impl IntoIterator<Item = PathBuf>) -> Vec<PathBuf> {
    let relative = |path: PathBuf| path.strip_prefix("/").map(Path::to_owned).unwrap_or(path);
    let paths = paths.into_iter().map(relative);
    paths.map(|path| root.join(path)).collect()
}

fn user_slice(user: u32) -> Arc<str> {
    format!("/user.slice/user-{user}.slice/").into()
}

/// Sockets of users' Podman, with the users' ids.
fn rootless_sockets(users: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(folders) = fs::read_dir(users) else {
        return Vec::new();
    };
    folders
        .filter_map(|folder| {
            let folder = folder.ok()?;
            let user = folder.file_name().to_str()?.parse().ok()?;
            let socket = folder.path().join("podman/podman.sock");
            socket.exists().then_some((user, socket))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_a_say_below_their_slice() {
        let users = tempfile::tempdir().unwrap();
        for user in ["1000", "1001", "systemd"] {
            let folder = users.path().join(user).join("podman");
            fs::create_dir_all(&folder).unwrap();
            if user != "1001" {
                fs::write(folder.join("podman.sock"), "").unwrap();
            }
        }
        let found = rootless_sockets(users.path());
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, 1000);
        assert!(found[0].1.ends_with("1000/podman/podman.sock"));
        assert_eq!(&*user_slice(1000), "/user.slice/user-1000.slice/");
        assert!(rootless_sockets(&users.path().join("none")).is_empty());
    }
}
