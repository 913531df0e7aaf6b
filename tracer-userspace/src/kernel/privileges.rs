//! Giving up what is not needed any more, once every program is attached.
//!
//! Capabilities belong to a thread, and a new one has those of the thread that makes it. So this
//! is for a moment at which there is one thread.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs,
};

use super::capabilities::{
    CAP_BPF, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_SYS_ADMIN, CAP_SYS_PTRACE,
    Capabilities,
};

/// `S_ISVTX`: in such a folder only a file's owner replaces it.
const STICKY: u32 = 0o1000;

/// What looks into files and processes, at any time.
const ALWAYS: Capabilities = Capabilities(0).and(CAP_DAC_READ_SEARCH).and(CAP_SYS_PTRACE);

/// What the rest of a run does that may take a capability.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Later {
    /// Files that are replaced by others at the end.
    pub replaced: Vec<PathBuf>,
    /// Sockets that are connected to.
    pub sockets: Vec<PathBuf>,
    /// Whether one of the sockets was named and must not be missed when it comes: where there is
    /// none yet, nobody knows whose it will be.
    pub sockets_may_come: bool,
}

/// Gives up every capability that neither `later` nor reading the maps needs, for good: neither
/// this thread nor a program that it would start can hold them again. Returns what is left.
///
/// What is needed is found by trying. `maps_answer` reads a map: before Linux 5.19 that took
/// `CAP_BPF` where `kernel.unprivileged_bpf_disabled` is set (`__sys_bpf`, `kernel/bpf/syscall.c`).
pub fn give_up(
    later: &Later,
    maps_answer: impl Fn() -> io::Result<()>,
) -> io::Result<Capabilities> {
    let before = capabilities(None)?;
    let held = Capabilities(before.permitted.bits()).within(Capabilities(before.effective.bits()));
    let set = |effective: Capabilities, permitted: CapabilitySet| {
        set_capabilities(
            None,
            CapabilitySets {
                effective: CapabilitySet::from_bits_retain(effective.0),
                permitted,
                inheritable: CapabilitySet::empty(),
            },
        )
    };
    let mut kept = ALWAYS.within(held);
    // Only the effective set at first, which can be taken back.
    set(kept, before.permitted)?;
    if maps_answer().is_err() {
        let lender = if held.has(CAP_BPF) {
            CAP_BPF
        } else {
            CAP_SYS_ADMIN
        };
        kept = kept.and(lender).within(held);
        set(kept, before.permitted)?;
        if let Err(error) = maps_answer() {
            set(held, before.permitted)?;
            return Err(error);
        }
    }
    for number in later.refused() {
        kept = kept.and(number).within(held);
    }
    // The ambient set goes with the others (`cap_capset`, `security/commoncap.c`).
    set(kept, CapabilitySet::from_bits_retain(kept.0))?;
    set_no_new_privs(true)?;
    Ok(kept)
}

impl Later {
    /// What lets this thread do what it cannot with its effective capabilities.
    fn refused(&self) -> Vec<u32> {
        let mut numbers = Vec::new();
        let folders = self.replaced.iter().map(|file| folder(file));
        let writing = folders.into_iter().any(|folder| is_refused(folder, WRITE));
        let mut sockets = self.sockets.iter();
        let connecting = sockets.any(|socket| is_refused(socket, Access::WRITE_OK));
        let unknown = self.sockets_may_come && !self.sockets.iter().any(|socket| socket.exists());
        if writing || connecting || unknown {
            numbers.push(CAP_DAC_OVERRIDE);
        }
        if self.replaced.iter().any(|file| is_anothers(file)) {
            numbers.push(CAP_FOWNER);
        }
        numbers
    }
}

/// Making and removing entries of a folder.
const WRITE: Access = Access::WRITE_OK.union(Access::EXEC_OK);

fn folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn is_refused(path: &Path, access: Access) -> bool {
    accessat(CWD, path, access, AtFlags::EACCESS) == Err(Errno::ACCESS)
}

/// Whether a file that is there is somebody else's, in somebody else's sticky folder
/// (`__check_sticky`, `fs/namei.c`).
fn is_anothers(file: &Path) -> bool {
    let user = rustix::process::geteuid().as_raw();
    let owner = |path: &Path| fs::metadata(path).ok().map(|it| (it.uid(), it.mode()));
    match (owner(folder(file)), owner(file)) {
        (Some((of_folder, mode)), Some((of_file, _))) => {
            mode & STICKY != 0 && of_folder != user && of_file != user
        }
        _ => false,
    }
}

/// Threads of this process that hold something effective besides `kept`; none where all went well.
pub fn threads_with_more(kept: Capabilities) -> usize {
    let threads = fs::read_dir("/proc/self/task").into_iter().flatten();
    threads
        .flatten()
        .filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok())
        .filter_map(|status| Capabilities::effective(&status))
        .filter(|held| *held != held.within(kept))
        .count()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::thread;

    use super::*;

    fn now() -> Capabilities {
        Capabilities(capabilities(None).unwrap().effective.bits())
    }

    /// Gives up in a thread of its own, where nobody else misses anything.
    fn in_a_thread(
        later: &Later,
        maps_answer: impl Fn() -> io::Result<()> + Send,
    ) -> (io::Result<Capabilities>, Capabilities) {
        thread::scope(|scope| {
            let handle = scope.spawn(|| (give_up(later, maps_answer), now()));
            handle.join().unwrap()
        })
    }

    #[test]
    fn only_what_is_needed_stays() {
        let held = now();
        let (kept, after) = in_a_thread(&Later::default(), || Ok(()));
        assert_eq!(kept.unwrap(), ALWAYS.within(held));
        assert_eq!(after, ALWAYS.within(held));
        assert_eq!(now(), held, "the other threads are as before");
    }

    #[test]
    fn maps_that_need_a_capability_keep_it() {
        let held = now();
        let refuse_without = |number| {
            move || {
                if now().has(number) || !held.has(number) {
                    return Ok(());
                }
                Err(io::ErrorKind::PermissionDenied.into())
            }
        };
        let (kept, after) = in_a_thread(&Later::default(), refuse_without(CAP_BPF));
        assert_eq!(kept.unwrap().has(CAP_BPF), held.has(CAP_BPF));
        assert_eq!(after.has(CAP_BPF), held.has(CAP_BPF));
        assert!(!after.has(CAP_SYS_ADMIN));
        // What nothing of it helps against is told, and everything is as before.
        let (kept, after) = in_a_thread(&Later::default(), || Err(io::ErrorKind::Other.into()));
        assert!(kept.is_err());
        assert_eq!(after, held);
    }

    #[test]
    fn a_folder_of_somebody_else_is_noticed() {
        let held = now();
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("report");
        let later = Later {
            replaced: vec![file.clone()],
            ..Later::default()
        };
        let (kept, _) = in_a_thread(&later, || Ok(()));
        assert!(!kept.unwrap().has(CAP_DAC_OVERRIDE), "it is our own");
        let shut = fs::Permissions::from_mode(0o500);
        fs::set_permissions(parent.path(), shut).unwrap();
        let (kept, _) = in_a_thread(&later, || Ok(()));
        assert_eq!(
            kept.unwrap().has(CAP_DAC_OVERRIDE),
            held.has(CAP_DAC_OVERRIDE)
        );
        assert!(!is_anothers(&file));
    }

    #[test]
    fn a_socket_that_was_named_may_be_anybodys() {
        let missing = Later {
            sockets: vec!["/nowhere/docker.sock".into()],
            ..Later::default()
        };
        assert!(missing.refused().is_empty());
        let named = Later {
            sockets_may_come: true,
            ..missing
        };
        assert_eq!(named.refused(), [CAP_DAC_OVERRIDE]);
    }
}
