//! The cgroups that exist already: a walk over a hierarchy's directories.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::model::identity::CgroupKey;

/// Deepest level below the root that is walked. The kernel's own limit is `cgroup.max.depth`,
/// which nobody sets by default.
pub const MAX_DEPTH: usize = 128;

/// One cgroup that a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its hierarchy and its id, which is its directory's inode (`kernfs_node.id`).
    pub key: CgroupKey,
    /// Id of its parent; 0 for where the walk began.
    pub parent_id: u64,
    /// Its path within the hierarchy: `/` for the root, else without a slash at the end.
    pub path: Vec<u8>,
}

struct Pending {
    directory: PathBuf,
    parent_id: u64,
    path: Vec<u8>,
    depth: usize,
}

/// Walks the cgroups of one mounted hierarchy, parents before children.
///
/// A cgroup that is removed meanwhile is left out or found, as it happens. Symbolic links are not
/// followed and no other file system is entered.
pub struct Walk {
    hierarchy: u32,
    device: u64,
    pending: Vec<Pending>,
    skipped: u64,
    first_error: Option<io::Error>,
}

impl Walk {
    /// A walk over what is mounted at `mount_point`. `root` is the path within the hierarchy that
    /// is mounted there: `/`, unless it is a bind mount or seen from a cgroup namespace (the
    /// fourth field of `/proc/self/mountinfo`).
    pub fn new(mount_point: &Path, root: &[u8], hierarchy: u32) -> io::Result<Self> {
        let device = fs::metadata(mount_point)?.dev();
        let mut path = root.to_vec();
        while path.last() == Some(&b'/') {
            path.pop();
        }
        Ok(Self {
            hierarchy,
            device,
            pending: vec![Pending {
                // With the dot, a mount point that is a link itself is resolved.
                directory: mount_point.join("."),
                parent_id: 0,
                path,
                depth: 0,
            }],
            skipped: 0,
            first_error: None,
        })
    }

    /// Directories that could not be read so far (not those that vanished), or were too deep.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// Why the first of them could not be read.
    pub fn first_error(&self) -> Option<&io::Error> {
        self.first_error.as_ref()
    }

    fn skip(&mut self, error: io::Error) {
        self.skipped += 1;
        self.first_error.get_or_insert(error);
    }

    /// Reads one directory and notes its children; `None` where it is gone or not to be read.
    fn visit(&mut self, at: Pending) -> Option<Found> {
        let metadata = match fs::symlink_metadata(&at.directory) {
            Ok(metadata) => metadata,
            Err(error) => {
                if !vanished(&error) {
                    self.skip(error);
                }
                return None;
            }
        };
        if !metadata.is_dir() || metadata.dev() != self.device {
            return None;
        }
        let id = metadata.ino();
        // What cannot be read further is a cgroup all the same.
        if let Err(error) = self.note_children(&at, id)
            && !vanished(&error)
        {
            self.skip(error);
        }
        let path = if at.path.is_empty() {
            b"/".to_vec()
        } else {
            at.path
        };
        Some(Found {
            key: CgroupKey::new(self.hierarchy, id),
            parent_id: at.parent_id,
            path,
        })
    }

    fn note_children(&mut self, at: &Pending, id: u64) -> io::Result<()> {
        for entry in fs::read_dir(&at.directory)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                continue;
            }
            if at.depth >= MAX_DEPTH {
                self.skip(io::Error::other(format!(
                    "{} is deeper than {MAX_DEPTH} levels",
                    entry.path().display()
                )));
                continue;
            }
            let path = [&at.path, b"/".as_slice(), entry.file_name().as_bytes()].concat();
            self.pending.push(Pending {
                directory: entry.path(),
                parent_id: id,
                path,
                depth: at.depth + 1,
            });
        }
        Ok(())
    }
}

impl Iterator for Walk {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let at = self.pending.pop()?;
            if let Some(found) = self.visit(at) {
                return Some(found);
            }
        }
    }
}

/// Removed under the reader: the path is gone, or the open directory is (`kernfs` answers
/// `ENODEV` for files of a removed node).
fn vanished(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::os::unix::fs::symlink;

    use super::*;

    fn collect(walk: Walk) -> HashMap<String, Found> {
        walk.map(|found| (String::from_utf8(found.path.clone()).unwrap(), found))
            .collect()
    }

    #[test]
    fn finds_directories_with_inodes_and_parents() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("docker/x/init")).unwrap();
        fs::create_dir_all(root.path().join("a.slice")).unwrap();
        fs::write(root.path().join("docker/cgroup.procs"), "1\n").unwrap();
        symlink("/", root.path().join("docker/link")).unwrap();
        symlink("..", root.path().join("loop")).unwrap();
        let found = collect(Walk::new(root.path(), b"/", 4).unwrap());
        let mut paths: Vec<&str> = found.keys().map(String::as_str).collect();
        paths.sort_unstable();
        assert_eq!(
            paths,
            ["/", "/a.slice", "/docker", "/docker/x", "/docker/x/init"]
        );
        for (path, one) in &found {
            let directory = root.path().join(path.trim_start_matches('/'));
            assert_eq!(one.key.id, fs::metadata(&directory).unwrap().ino());
            assert_eq!(one.key.hierarchy, 4);
            let parent = fs::metadata(directory.parent().unwrap()).unwrap().ino();
            assert_eq!(one.parent_id, if path == "/" { 0 } else { parent });
        }
    }

    #[test]
    fn parents_come_first_and_a_mounted_part_keeps_its_path() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("a/b/c")).unwrap();
        let paths: Vec<Vec<u8>> = Walk::new(root.path(), b"/docker/x/", 0)
            .unwrap()
            .map(|found| found.path)
            .collect();
        let expected: [&[u8]; 4] = [
            b"/docker/x",
            b"/docker/x/a",
            b"/docker/x/a/b",
            b"/docker/x/a/b/c",
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn goes_on_where_directories_vanish() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/deep", "b/deep", "c/deep"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        let mut walk = Walk::new(root.path(), b"/", 0).unwrap();
        assert_eq!(walk.next().unwrap().path, b"/");
        let first = walk.next().unwrap().path;
        for name in ["a", "b", "c"] {
            if first != format!("/{name}").into_bytes() {
                fs::remove_dir_all(root.path().join(name)).unwrap();
            }
        }
        let rest: Vec<Vec<u8>> = walk.by_ref().map(|found| found.path).collect();
        assert_eq!(rest, [[first.as_slice(), b"/deep"].concat()]);
        assert_eq!(walk.skipped(), 0);
    }

    #[test]
    fn stops_at_the_depth_bound_and_says_so() {
        let root = tempfile::tempdir().unwrap();
        let mut deep = root.path().to_path_buf();
        for _ in 0..MAX_DEPTH + 2 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        let mut walk = Walk::new(root.path(), b"/", 0).unwrap();
        assert_eq!(walk.by_ref().count(), MAX_DEPTH + 1);
        assert_eq!(walk.skipped(), 1);
        let error = walk.first_error().unwrap().to_string();
        assert!(error.ends_with("is deeper than 128 levels"), "{error}");
    }

    #[test]
    fn a_missing_mount_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        assert!(Walk::new(&root.path().join("none"), b"/", 0).is_err());
    }

    /// The kernel's own tree: its root's inode is 1, whichever hierarchy it is.
    #[test]
    fn reads_a_real_hierarchy() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let line = mounts
            .lines()
            .find(|line| line.contains(" - cgroup2 ") || line.contains(" - cgroup "))
            .expect("every machine that runs the tests has a cgroup mount");
        let fields: Vec<&str> = line.split(' ').collect();
        let mut walk = Walk::new(Path::new(fields[4]), fields[3].as_bytes(), 0).unwrap();
        let first = walk.next().unwrap();
        assert_eq!(first.parent_id, 0);
        if fields[3] == "/" {
            assert_eq!(first.path, b"/");
            assert_eq!(first.key.id, 1);
        }
    }
}
