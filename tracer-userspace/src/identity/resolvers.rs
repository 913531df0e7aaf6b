//! All that can be asked for names, side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::chosen::Chosen;
use super::client::{ClientConfig, SocketNames};
use super::cri;
use super::docker;
use super::files::FileNames;
use super::kubernetes::Kubernetes;
use super::names::{NameMessage, NameSource};
use crate::model::identity::Identity;

/// Where Podman listens for root.
const PODMAN_SOCKET: &str = "/run/podman/podman.sock";

/// Folders of users that are logged in, each named with its user's id.
const USERS: &str = "run/user";

/// Most users whose Podman is asked.
const MAX_USERS: usize = 64;

/// Longest wait before a server is tried again: all nodes of a cluster have the same.
const SERVER_RETRY_MAX: Duration = Duration::from_secs(15);

/// What to ask, where the user says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolverOptions {
    /// Docker's socket.
    pub docker_socket: Option<PathBuf>,
    /// A runtime's socket for the Container Runtime Interface.
    pub cri_socket: Option<PathBuf>,
    /// Podman's socket.
    pub podman_socket: Option<PathBuf>,
    /// Labels and annotations that are told.
    pub chosen: Arc<Chosen>,
    /// Where the host's files are, and its sockets at their usual places; `/` without it.
    pub host_root: Option<PathBuf>,
}

impl ResolverOptions {
    fn config(&self, sockets: Vec<PathBuf>) -> ClientConfig {
        ClientConfig {
            chosen: Arc::clone(&self.chosen),
            ..ClientConfig::new(sockets)
        }
    }

    fn root(&self) -> &Path {
        self.host_root.as_deref().unwrap_or(Path::new("/"))
    }

    fn of(
        &self,
        given: Option<&PathBuf>,
        usual: impl IntoIterator<Item = PathBuf>,
    ) -> Vec<PathBuf> {
        match given {
            Some(given) => vec![given.clone()],
            None => below(self.root(), usual),
        }
    }

    fn docker(&self) -> Vec<PathBuf> {
        self.of(self.docker_socket.as_ref(), docker::usual_sockets())
    }

    fn cri(&self) -> Vec<PathBuf> {
        let usual = cri::SOCKETS.map(PathBuf::from);
        self.of(self.cri_socket.as_ref(), usual)
    }

    fn podman(&self) -> Vec<PathBuf> {
        self.of(self.podman_socket.as_ref(), [PODMAN_SOCKET.into()])
    }

    /// Podman's sockets of users who are there now, with the users' ids.
    fn users(&self) -> Vec<(u32, PathBuf)> {
        match self.podman_socket {
            Some(_) => Vec::new(),
            None => rootless_sockets(&self.root().join(USERS)),
        }
    }

    /// All sockets that are asked, with who asks them: `docker`, `cri`, `podman`.
    pub fn places(&self) -> Vec<(&'static str, PathBuf)> {
        let users = self.users().into_iter().map(|(_, socket)| socket);
        let all = [
            ("docker", self.docker()),
            ("cri", self.cri()),
            ("podman", self.podman().into_iter().chain(users).collect()),
        ];
        let pairs = |(resolver, sockets): (&'static str, Vec<PathBuf>)| {
            sockets.into_iter().map(move |socket| (resolver, socket))
        };
        all.into_iter().flat_map(pairs).collect()
    }

    /// All sockets that are asked.
    pub fn sockets(&self) -> Vec<PathBuf> {
        let places = self.places().into_iter();
        places.map(|(_, socket)| socket).collect()
    }

    /// Whether the user named a socket.
    pub const fn is_any_named(&self) -> bool {
        self.docker_socket.is_some() || self.cri_socket.is_some() || self.podman_socket.is_some()
    }
}

/// The resolvers of a run.
pub struct Resolvers {
    sources: Vec<Box<dyn NameSource>>,
    /// Sockets of users that are asked already.
    users: Vec<PathBuf>,
    options: ResolverOptions,
    messages: mpsc::Sender<NameMessage>,
}

impl Resolvers {
    /// Starts all of them on the current tokio runtime.
    pub fn start(
        options: ResolverOptions,
        kubernetes: Kubernetes,
        messages: mpsc::Sender<NameMessage>,
    ) -> Self {
        let mut sources: Vec<Box<dyn NameSource>> = Vec::new();
        let mut add = |source: SocketNames| sources.push(Box::new(source));
        let config = options.config(options.docker());
        add(docker::docker(config, messages.clone()));
        // Several may be there at once: K3s beside the containerd of Docker.
        for socket in options.cri() {
            add(cri::cri(options.config(vec![socket]), messages.clone()));
        }
        let config = options.config(options.podman());
        add(docker::podman(config, messages.clone()));
        let config = |places| ClientConfig {
            retry_max: SERVER_RETRY_MAX,
            ..options.config(places)
        };
        kubernetes
            .start(config, &messages)
            .into_iter()
            .for_each(&mut add);
        let root = options.root().to_owned();
        sources.push(Box::new(FileNames::spawn(root, messages.clone())));
        let mut resolvers = Self {
            sources,
            users: Vec::new(),
            options,
            messages,
        };
        resolvers.look_for_users();
        resolvers
    }

    /// Starts to ask the Podman of users who came since.
    pub fn look_for_users(&mut self) {
        for (user, socket) in self.options.users() {
            if self.users.contains(&socket) || self.users.len() >= MAX_USERS {
                continue;
            }
            self.users.push(socket.clone());
            // The socket is its user's, who may tell anything: it has a say below that user's slice
            // and nowhere else.
            let config = ClientConfig {
                within: Some(user_slice(user)),
                ..self.options.config(vec![socket])
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
