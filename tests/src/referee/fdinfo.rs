//! What the kernel says about a process's open BPF objects: `/proc/PID/fdinfo`
//! (`bpf_map_show_fdinfo` and `bpf_prog_show_fdinfo`, `kernel/bpf/syscall.c`).

use std::{collections::BTreeSet, fs};

use anyhow::{Context, Result};

/// `BPF_MAP_TYPE_RINGBUF` (`include/uapi/linux/bpf.h`)
pub const RING: u64 = 27;

/// An open file of a process.
#[derive(Clone, Debug)]
pub struct Descriptor {
    /// Its number in that process.
    pub fd: i32,
    info: String,
}

impl Descriptor {
    /// A number of its description.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.info
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.trim().parse().ok())
    }
}

/// Every open file of a process.
pub fn descriptors(pid: u32) -> Result<Vec<Descriptor>> {
    let folder = format!("/proc/{pid}/fdinfo");
    let mut all = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("reading {folder}"))? {
        let entry = entry?;
        let name = entry.file_name();
        // A descriptor can be closed meanwhile.
        if let (Some(fd), Ok(info)) = (
            name.to_str().and_then(|name| name.parse().ok()),
            fs::read_to_string(entry.path()),
        ) {
            all.push(Descriptor { fd, info });
        }
    }
    Ok(all)
}

/// A map.
#[derive(Clone, Debug)]
pub struct Map {
    /// Number of the descriptor in that process.
    pub fd: i32,
    /// `enum bpf_map_type`
    pub kind: u64,
    /// Bytes or entries, by the kind.
    pub max_entries: u64,
    /// Memory that the kernel accounts to it (`memlock`), in bytes.
    pub memory: u64,
}

/// Every map that a process holds, each once.
pub fn maps(pid: u32) -> Result<Vec<Map>> {
    let mut seen = BTreeSet::new();
    let mut maps = Vec::new();
    for descriptor in descriptors(pid)? {
        let number = |name| descriptor.number(name);
        let (Some(kind), Some(id)) = (number("map_type"), number("map_id")) else {
            continue;
        };
        if seen.insert(id) {
            maps.push(Map {
                fd: descriptor.fd,
                kind,
                max_entries: number("max_entries").unwrap_or(0),
                memory: number("memlock").unwrap_or(0),
            });
        }
    }
    Ok(maps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name() {
        let descriptor = Descriptor {
            fd: 3,
            info: "pos:\t0\nmap_type:\t27\nmemlock:\t4096\n".to_owned(),
        };
        assert_eq!(descriptor.number("map_type"), Some(RING));
        assert_eq!(descriptor.number("memlock"), Some(4096));
        assert_eq!(descriptor.number("type"), None);
    }
}
