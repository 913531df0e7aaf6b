//! Where this machine has its cgroup hierarchies, from /proc/self/mountinfo.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};

/// One cgroup v1 hierarchy.
#[derive(Debug, Clone)]
pub struct V1 {
    /// Its mount point.
    pub mount: PathBuf,
    /// The controllers bound to it (`cpu`, `cpuacct`, …; a named hierarchy has `name=…`).
    pub controllers: Vec<String>,
}

/// Every mounted hierarchy.
#[derive(Debug, Clone, Default)]
pub struct Hierarchies {
    /// Mount point of cgroup v2, be it the only hierarchy or beside v1 ones.
    pub v2: Option<PathBuf>,
    /// The v1 hierarchies.
    pub v1: Vec<V1>,
}

/// Which version of the interface manages a controller, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A v1 hierarchy mounted here.
    V1(PathBuf),
    /// The v2 hierarchy mounted here.
    V2(PathBuf),
}

impl Hierarchies {
    /// Reads /proc/self/mountinfo (proc_pid_mountinfo(5)).
    pub fn find() -> Result<Self> {
        let text = fs::read_to_string("/proc/self/mountinfo").context("reading mountinfo")?;
        let found = Self::parse(&text);
        if found.v2.is_none() && found.v1.is_empty() {
            bail!("no cgroup file system is mounted; mount one (cgroup2 on /sys/fs/cgroup)");
        }
        Ok(found)
    }

    /// Parses the text of a mountinfo file; the first mount of a hierarchy's root counts.
    pub fn parse(text: &str) -> Self {
        let mut found = Self::default();
        for line in text.lines() {
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(mount), Some(kind)) = (left.get(3), left.get(4), right.first())
            else {
                continue;
            };
            if *root != "/" {
                continue;
            }
            let mount = PathBuf::from(unescape(mount));
            match *kind {
                "cgroup2" if found.v2.is_none() => found.v2 = Some(mount),
                "cgroup" => {
                    let options = right.get(2).copied().unwrap_or_default();
                    let controllers: Vec<String> = options
                        .split(',')
                        .filter(|o| !matches!(*o, "rw" | "ro" | "xattr" | "noprefix"))
                        .map(str::to_owned)
                        .collect();
                    if !found.v1.iter().any(|v| v.controllers == controllers) {
                        found.v1.push(V1 { mount, controllers });
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// Who manages `controller` (`cpu`, `memory`, …), or nothing when the kernel has it nowhere.
    pub fn controller(&self, controller: &str) -> Option<Place> {
        if let Some(v1) = self
            .v1
            .iter()
            .find(|v| v.controllers.iter().any(|c| c == controller))
        {
            return Some(Place::V1(v1.mount.clone()));
        }
        let v2 = self.v2.as_ref()?;
        has_word(&v2.join("cgroup.controllers"), controller).then(|| Place::V2(v2.clone()))
    }
}

impl Place {
    /// Version of the interface (1 or 2) and the directory of this path in the hierarchy.
    pub fn dir(&self, path: &str) -> (u8, PathBuf) {
        let path = path.trim_start_matches('/');
        match self {
            Self::V1(mount) => (1, mount.join(path)),
            Self::V2(mount) => (2, mount.join(path)),
        }
    }
}

/// Whether the space-separated words of a file hold `word`.
pub fn has_word(file: &Path, word: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|text| text.split_whitespace().any(|w| w == word))
}

/// Undoes the octal escapes of mountinfo (`\040` is a space).
fn unescape(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest
            .get(at + 1..at + 4)
            .and_then(|c| u8::from_str_radix(c, 8).ok());
        if let Some(code) = code {
            out.push(code as char);
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid_and_combined_mounts_are_told_apart() {
        let text = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    32 31 0:29 / /sys/fs/cgroup/cpu\\040acct rw shared:4 - cgroup cgroup rw,cpu,cpuacct\n\
                    33 31 0:29 /inner /elsewhere rw - cgroup cgroup rw,cpu,cpuacct\n";
        let found = Hierarchies::parse(text);
        assert_eq!(
            found.v2.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(found.v1.len(), 1);
        assert_eq!(
            found.controller("cpuacct"),
            Some(Place::V1("/sys/fs/cgroup/cpu acct".into()))
        );
    }

    #[test]
    fn this_machine_has_cpu_and_memory() {
        let found = Hierarchies::find().unwrap();
        assert!(found.controller("cpu").is_some() && found.controller("memory").is_some());
    }
}
