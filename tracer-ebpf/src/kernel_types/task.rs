//! `struct task_struct` (`include/linux/sched.h`).

use tracer_common::{header::CgroupKey, records::COMM_LEN};

use crate::{
    globals::{
        CRED_UID, CSS_SET_DFL_CGROUP, CSS_SET_SUBSYS, MEMORY_SUBSYS, SE_CFS_RQ, SE_PARENT,
        SIGNAL_FLAGS, SIGNAL_OOM_SCORE_ADJ, SLOT_BY_TASK_GROUP, TASK_CGROUPS, TASK_COMM, TASK_CRED,
        TASK_GROUP, TASK_MM, TASK_PID, TASK_PRIO, TASK_REAL_PARENT, TASK_SE, TASK_SIGNAL,
        TASK_START_BOOTTIME, TASK_STATE, TASK_TGID, present,
    },
    kernel_types::{
        cfs_rq::{CfsRq, TaskGroup},
        cgroup::Cgroup,
        mem_cgroup::MemCgroup,
        mm::Mm,
    },
    read::checked,
};

const SIGNAL_UNKILLABLE: u32 = 0x40;

/// `struct task_struct *`
#[derive(Clone, Copy)]
pub struct Task(pub u64);

impl Task {
    #[inline(always)]
    pub fn pid(self) -> u32 {
        checked::read(self.0, TASK_PID.load())
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        checked::read(self.0, TASK_TGID.load())
    }

    #[inline(always)]
    pub fn comm(self) -> [u8; COMM_LEN] {
        checked::read(self.0, TASK_COMM.load())
    }

    /// Process id of its parent.
    #[inline(always)]
    pub fn parent_tgid(self) -> u32 {
        if !present(&TASK_REAL_PARENT) {
            return 0;
        }
        let parent: u64 = checked::read(self.0, TASK_REAL_PARENT.load());
        Self(parent).tgid()
    }

    #[inline(always)]
    pub fn uid(self) -> u32 {
        if !present(&TASK_CRED) || !present(&CRED_UID) {
            return 0;
        }
        let cred: u64 = checked::read(self.0, TASK_CRED.load());
        checked::read(cred, CRED_UID.load())
    }

    /// Nanoseconds since boot, 0 where the kernel does not tell.
    #[inline(always)]
    pub fn start_boottime_ns(self) -> u64 {
        if present(&TASK_START_BOOTTIME) {
            checked::read(self.0, TASK_START_BOOTTIME.load())
        } else {
            0
        }
    }

    #[inline(always)]
    pub fn mm(self) -> Mm {
        Mm(checked::read(self.0, TASK_MM.load()))
    }

    #[inline(always)]
    pub fn oom_score_adj(self) -> i32 {
        let signal: u64 = checked::read(self.0, TASK_SIGNAL.load());
        let adj: i16 = checked::read(signal, SIGNAL_OOM_SCORE_ADJ.load());
        i32::from(adj)
    }

    /// Whether its process is the first of its PID namespace: `SIGNAL_UNKILLABLE`
    /// (`include/linux/sched/signal.h`, `copy_process`).
    #[inline(always)]
    pub fn is_first(self) -> bool {
        if !present(&SIGNAL_FLAGS) {
            return false;
        }
        let signal: u64 = checked::read(self.0, TASK_SIGNAL.load());
        checked::read::<u32>(signal, SIGNAL_FLAGS.load()) & SIGNAL_UNKILLABLE != 0
    }

    /// The memory cgroup that it is charged to, 0 where the kernel has none.
    #[inline(always)]
    pub fn mem_cgroup(self) -> MemCgroup {
        if !present(&MEMORY_SUBSYS) {
            return MemCgroup(0);
        }
        let css_set: u64 = checked::read(self.0, TASK_CGROUPS.load());
        MemCgroup(checked::read(
            css_set,
            CSS_SET_SUBSYS.load() + 8 * MEMORY_SUBSYS.load(),
        ))
    }

    /// Its cgroup in the hierarchy of the slots.
    #[inline(always)]
    pub fn cgroup(self) -> Cgroup {
        if SLOT_BY_TASK_GROUP.load() == 1 {
            TaskGroup(checked::read(self.0, TASK_GROUP.load())).cgroup()
        } else {
            let css_set: u64 = checked::read(self.0, TASK_CGROUPS.load());
            Cgroup(checked::read(css_set, CSS_SET_DFL_CGROUP.load()))
        }
    }

    /// Hierarchy and id of [`Self::cgroup`].
    #[inline(always)]
    pub fn cgroup_key(self) -> CgroupKey {
        self.cgroup().key()
    }

    /// Whether it has the highest priority of all, which is that of the threads that stop a CPU
    /// (`sched_set_stop_task`, `kernel/sched/core.c`).
    #[inline(always)]
    pub fn may_stop_the_cpu(self) -> bool {
        present(&TASK_PRIO) && checked::read::<u32>(self.0, TASK_PRIO.load()) == 0
    }

    /// Whether its state is that of a thread that runs or wants to.
    #[inline(always)]
    pub fn wants_to_run(self) -> bool {
        checked::read::<u32>(self.0, TASK_STATE.load()) == 0
    }

    /// Its scheduling entity.
    #[inline(always)]
    pub fn entity(self) -> Entity {
        Entity(self.0 + u64::from(TASK_SE.load()))
    }
}

/// `struct sched_entity *`: a task's, or a group's on one CPU.
#[derive(Clone, Copy)]
pub struct Entity(pub u64);

impl Entity {
    /// The run queue that it is (or would be) queued on.
    #[inline(always)]
    pub fn cfs_rq(self) -> CfsRq {
        CfsRq(checked::read(self.0, SE_CFS_RQ.load()))
    }

    /// The entity of the group around it; 0 at the top.
    #[inline(always)]
    pub fn parent(self) -> Self {
        Self(checked::read(self.0, SE_PARENT.load()))
    }
}
