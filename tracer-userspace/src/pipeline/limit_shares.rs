//! Who uses the memory below a limit that several share: a pod's, a slice's.
//!
//! The kernel tells the use of the victim's cgroup and of those above it at the kill; of the others it is
//! read from their files a moment later.

use crate::{
    events::Kill,
    identity::index::CgroupIndex,
    kernel::cgroup_files::ControllerFiles,
    model::{
        identity::{CgroupKey, Level, SharedIdentity},
        oom::{LimitShare, LimitShares, OomLimit},
    },
};

/// Most cgroups whose files are read at a kill, some 10 µs each.
const MOST_READ: usize = 512;
/// Most that are told.
const MOST_TOLD: usize = 10;

/// The shares of a limit, that of the cgroup `domain`; `None` where it is one container's or service's
/// alone. `group` where all that is below it is killed.
pub fn of(
    limit: &OomLimit,
    kill: &Kill,
    domain: CgroupKey,
    page_size: u64,
    index: &CgroupIndex,
    memory: &ControllerFiles,
    group: bool,
) -> Option<LimitShares> {
    if !matches!(
        limit.level,
        Level::Pod | Level::Qos | Level::Slice | Level::Other
    ) {
        return None;
    }
    // Where the victim's memory is the limit's own cgroup's, those below it say nothing of it.
    if kill.levels.first().map(|level| level.cgroup) == Some(domain) {
        return None;
    }
    let at_kill: Vec<(SharedIdentity, u64)> = (kill.levels.iter())
        .filter_map(|level| Some((index.identity(level.cgroup)?, level.usage_pages)))
        .map(|(who, pages)| (who, pages.saturating_mul(page_size)))
        .collect();
    let below = outermost_below(&limit.cgroup.cgroup_path, index, memory.hierarchy);
    if below.is_empty() {
        return None;
    }
    let count = below.len();
    let mut shares: Vec<LimitShare> = below
        .into_iter()
        .take(MOST_READ)
        .filter_map(|who| {
            let told = (at_kill.iter()).find(|(level, _)| level.cgroup_path == who.cgroup_path);
            let bytes = match told {
                Some((_, bytes)) => *bytes,
                None => memory.memory_in_use(who.cgroup_path.as_bytes())?,
            };
            Some(LimitShare { who, bytes })
        })
        .collect();
    shares.sort_by_key(|share| std::cmp::Reverse(share.bytes));
    let used = shares.iter().map(|share| share.bytes).sum();
    // What could not be read, or was killed in the same moment, must not be taken for nobody's.
    let is_known = shares.len() == count && !limit.memory_and_swap && !group;
    let rest_bytes = is_known.then(|| limit.usage_bytes.saturating_sub(used));
    shares.truncate(MOST_TOLD);
    Some(LimitShares {
        largest: shares,
        count,
        rest_bytes,
    })
}

/// What runs below a path, each with all that is nested in it.
fn outermost_below(path: &str, index: &CgroupIndex, hierarchy: u32) -> Vec<SharedIdentity> {
    let is_below = |above: &str, path: &str| {
        let rest = path.strip_prefix(above.trim_end_matches('/'));
        rest.is_some_and(|rest| rest.starts_with('/') && rest.len() > 1)
    };
    let mut below: Vec<SharedIdentity> = index
        .live_owners_in(hierarchy)
        .map(|(_, who)| who)
        .filter(|who| matches!(who.level, Level::Container | Level::Service | Level::Other))
        .filter(|who| is_below(path, &who.cgroup_path))
        .collect();
    // By their parts, so that what is nested comes right after what it is nested in.
    below.sort_by(|a, b| a.cgroup_path.split('/').cmp(b.cgroup_path.split('/')));
    let mut outermost: Vec<SharedIdentity> = Vec::new();
    for who in below {
        let nested = outermost
            .last()
            .is_some_and(|last| is_below(&last.cgroup_path, &who.cgroup_path));
        if !nested {
            outermost.push(who);
        }
    }
    outermost
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::index::IndexConfig;

    #[test]
    fn what_is_nested_counts_once_and_neighbours_do_not() {
        let mut index = CgroupIndex::new(IndexConfig::new(1));
        let paths = [
            "/a",
            "/a/b",
            "/a/b/c",
            "/a/b-2",
            "/ab",
            "/a/d.service",
            "/a/d.service/e",
        ];
        for (id, path) in (2..).zip(paths) {
            index.insert(CgroupKey::new(1, id), 0, path.as_bytes(), None);
        }
        let found = |path: &str| -> Vec<String> {
            let below = outermost_below(path, &index, 1);
            below.iter().map(|who| who.cgroup_path.clone()).collect()
        };
        assert_eq!(found("/a"), ["/a/b", "/a/b-2", "/a/d.service"]);
        assert_eq!(found("/a/b"), ["/a/b/c"]);
        assert_eq!(found("/"), ["/a", "/ab"]);
        assert!(found("/none").is_empty());
    }
}
