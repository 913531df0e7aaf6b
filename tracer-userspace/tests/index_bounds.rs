//! What the cgroup index costs: memory for 10,000 cgroups and time for a look-up, measured.
//!
//! `cargo test --release --test index_bounds -- --nocapture` prints the numbers.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::time::{Duration, Instant};

use limitscope::identity::index::{CgroupIndex, IndexConfig};
use limitscope::identity::names::Names;
use limitscope::model::identity::CgroupKey;

/// The system's allocator, with a count of the bytes that are in use.
struct Counting;

static IN_USE: AtomicIsize = AtomicIsize::new(0);

// SAFETY: everything is passed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        IN_USE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`, which is the same here.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, which is the same here.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const CGROUPS: u64 = 10_000;
const SLOTS: u32 = 1;
/// Bound of a look-up; code that is not optimised takes about ten times as long.
const MAX_NANOSECONDS: f64 = if cfg!(debug_assertions) {
    10_000.0
} else {
    1_000.0
};

/// 10,000 named containers with systemd's long paths.
fn fill(hierarchies: &[u32]) -> CgroupIndex {
    let mut index = CgroupIndex::new(IndexConfig::new(SLOTS));
    for &hierarchy in hierarchies {
        for id in 1..=CGROUPS {
            let container_id = format!("{id:064x}");
            let uid = format!("{id:08x}_51f7_4a8b_9a50_6f1d2b7c8e90");
            let path = format!(
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{container_id}.scope"
            );
            index.insert(CgroupKey::new(hierarchy, id), 0, path.as_bytes(), Some(id));
            let names = Names {
                container_name: Some(format!("k8s_app_web-{id}_shop")),
                image_name: Some("registry.example/shop/web:1.2.3".to_owned()),
                k8s_namespace: Some("shop".to_owned()),
                k8s_pod_name: Some(format!("web-{id}")),
                k8s_container_name: Some("app".to_owned()),
                ..Names::default()
            };
            index.apply_names(&container_id, names);
        }
    }
    index
}

#[test]
fn ten_thousand_cgroups() {
    // The second is 10,000 containers on a machine with cgroup v1: 30,000 cgroups.
    for (hierarchies, max_mib) in [(&[SLOTS][..], 20), (&[SLOTS, 4, 0], 24)] {
        let before = IN_USE.load(Ordering::Relaxed);
        let index = fill(hierarchies);
        let bytes = IN_USE.load(Ordering::Relaxed) - before;

        // The best of several rounds: others use the machine too.
        let round = || {
            let start = Instant::now();
            for id in 1..=CGROUPS {
                let key = index.owner(CgroupKey::new(SLOTS, id));
                black_box(index.identity(key));
            }
            start.elapsed()
        };
        let best = (0..20).map(|_| round()).min().unwrap_or(Duration::MAX);
        let nanoseconds = best.as_nanos() as f64 / CGROUPS as f64;
        println!(
            "{CGROUPS} cgroups in {} hierarchies: {:.1} MiB, {nanoseconds:.0} ns for owner and identity",
            hierarchies.len(),
            bytes as f64 / f64::from(1 << 20),
        );
        assert_eq!(index.live(), CGROUPS as usize * hierarchies.len());
        assert!(bytes < max_mib << 20, "{bytes} bytes");
        assert!(nanoseconds < MAX_NANOSECONDS, "{nanoseconds} ns");
    }
}
