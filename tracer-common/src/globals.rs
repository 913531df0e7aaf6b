//! What user space tells the programs before they are loaded: the running kernel's offsets and
//! the plan's switches, as frozen read-only globals.
//!
//! The verifier knows the values and cuts off what this kernel has not, so one object serves
//! every kernel. Offsets come from the kernel's BTF by the names in [`OFFSETS`]; nothing is ever
//! decided by a version number.

/// Value of an offset whose member this kernel has not.
pub const ABSENT: u32 = u32::MAX;

/// Where a global's value comes from: a member of a kernel struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetSpec {
    /// Name of the global (`Global<u32>`) in the object.
    pub symbol: &'static str,
    /// Kernel struct.
    pub structure: &'static str,
    /// Members to look for, in order of preference; dots go into embedded structs. Anonymous
    /// structs and unions are looked through.
    pub members: &'static [&'static str],
    /// Signals that cannot work without it.
    pub needed_by: &'static [Signal],
}

/// What the programs measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// OOM kills.
    OomKill,
    /// Throttled intervals.
    CpuThrottle,
    /// Context switches, run-queue wait, slices.
    ContextSwitch,
    /// Births and deaths of cgroups.
    CgroupLifecycle,
}

impl Signal {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::OomKill,
        Self::CpuThrottle,
        Self::ContextSwitch,
        Self::CgroupLifecycle,
    ];

    /// Name for people and for the plan.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OomKill => "oom_kill",
            Self::CpuThrottle => "cpu_throttle",
            Self::ContextSwitch => "context_switch",
            Self::CgroupLifecycle => "cgroup_lifecycle",
        }
    }
}

macro_rules! offsets {
    ($($symbol:ident = $structure:literal . [$($member:literal),+] $(for $($signal:ident),+)? ;)+) => {
        /// Every offset that the programs use.
        pub const OFFSETS: &[OffsetSpec] = &[
            $(OffsetSpec {
                symbol: stringify!($symbol),
                structure: $structure,
                members: &[$($member),+],
                needed_by: &[$($(Signal::$signal),+)?],
            }),+
        ];

        /// Calls `$callback!` with the symbols of all offsets, to declare them in the object.
        #[macro_export]
        macro_rules! for_each_offset {
            ($callback:ident) => { $callback! { $($symbol)+ } };
        }
    };
}

offsets! {
    // Tasks.
    TASK_PID = "task_struct".["pid"] for OomKill, ContextSwitch;
    TASK_TGID = "task_struct".["tgid"] for OomKill;
    TASK_COMM = "task_struct".["comm"] for OomKill;
    // 5.14 renamed it and made it 32 bits wide; its low half is what counts on both.
    TASK_STATE = "task_struct".["__state", "state"] for ContextSwitch;
    TASK_MM = "task_struct".["mm"] for OomKill;
    TASK_SIGNAL = "task_struct".["signal"] for OomKill;
    TASK_REAL_PARENT = "task_struct".["real_parent"];
    TASK_PRIO = "task_struct".["prio"];
    TASK_START_BOOTTIME = "task_struct".["start_boottime", "real_start_time"];
    TASK_CRED = "task_struct".["cred"];
    TASK_CGROUPS = "task_struct".["cgroups"] for OomKill, ContextSwitch;
    TASK_CFS_RQ = "task_struct".["se.cfs_rq"] for ContextSwitch, CpuThrottle;
    TASK_SE = "task_struct".["se"] for CpuThrottle;
    TASK_EXEC_RUNTIME = "task_struct".["se.sum_exec_runtime"] for ContextSwitch;
    // Counts of the task itself: they tell a voluntary switch from an involuntary one exactly.
    TASK_NVCSW = "task_struct".["nvcsw"] for ContextSwitch;
    TASK_LAST_QUEUED = "task_struct".["sched_info.last_queued"] for ContextSwitch;
    TASK_LAST_ARRIVAL = "task_struct".["sched_info.last_arrival"] for ContextSwitch;
    TASK_PCOUNT = "task_struct".["sched_info.pcount"] for ContextSwitch;
    TASK_RUN_DELAY = "task_struct".["sched_info.run_delay"] for ContextSwitch;
    TASK_GROUP = "task_struct".["sched_task_group"] for ContextSwitch, CpuThrottle;
    // Since 6.18 a throttled task is parked by itself and says so.
    TASK_THROTTLED = "task_struct".["throttled"];
    CRED_UID = "cred".["uid"];
    SIGNAL_FLAGS = "signal_struct".["flags"];
    SIGNAL_OOM_SCORE_ADJ = "signal_struct".["oom_score_adj"] for OomKill;
    MM_TOTAL_VM = "mm_struct".["total_vm"] for OomKill;
    MM_PGTABLES_BYTES = "mm_struct".["pgtables_bytes"];
    MM_ARG_START = "mm_struct".["arg_start"];
    MM_ARG_END = "mm_struct".["arg_end"];
    MM_RSS_STAT = "mm_struct".["rss_stat"] for OomKill;

    // Scheduling entities and run queues.
    SE_PARENT = "sched_entity".["parent"] for CpuThrottle;
    SE_CFS_RQ = "sched_entity".["cfs_rq"] for CpuThrottle;
    CFS_RQ_RQ = "cfs_rq".["rq"] for ContextSwitch, CpuThrottle;
    CFS_RQ_TG = "cfs_rq".["tg"] for CpuThrottle;
    CFS_RQ_THROTTLED_CLOCK = "cfs_rq".["throttled_clock"] for CpuThrottle;
    // Since 6.6 a run queue sums up how long it was throttled, by its own quota or one above.
    CFS_RQ_SELF_CLOCK = "cfs_rq".["throttled_clock_self"];
    CFS_RQ_SELF_TIME = "cfs_rq".["throttled_clock_self_time"];
    // Threads on it and below it; renamed in 6.14 and in stable kernels.
    CFS_RQ_H_NR_QUEUED = "cfs_rq".["h_nr_queued", "h_nr_running"];
    // The same without those that sleep and are still to be taken off; told apart since 6.14.
    CFS_RQ_H_NR_RUNNABLE = "cfs_rq".["h_nr_runnable", "h_nr_running"];
    CFS_RQ_THROTTLE_COUNT = "cfs_rq".["throttle_count"] for CpuThrottle;
    CFS_RQ_THROTTLED = "cfs_rq".["throttled"] for CpuThrottle;
    CFS_RQ_THROTTLED_LIST = "cfs_rq".["throttled_list"] for CpuThrottle;
    CFS_RQ_CSD_LIST = "cfs_rq".["throttled_csd_list"];
    RQ_CLOCK = "rq".["clock"] for ContextSwitch, CpuThrottle;
    RQ_CPU = "rq".["cpu"] for CpuThrottle;
    RQ_CFSB_CSD = "rq".["cfsb_csd"];
    RQ_CFSB_CSD_LIST = "rq".["cfsb_csd_list"];
    CSD_FUNC = "__call_single_data".["func"];

    // Quotas.
    TG_CFS_BANDWIDTH = "task_group".["cfs_bandwidth"] for CpuThrottle;
    TG_CSS = "task_group".["css"] for CpuThrottle;
    // Array with the group's run queue of each CPU.
    TG_CFS_RQ = "task_group".["cfs_rq"];
    CFS_B_QUOTA = "cfs_bandwidth".["quota"] for CpuThrottle;
    CFS_B_PERIOD = "cfs_bandwidth".["period"] for CpuThrottle;
    CFS_B_PERIOD_TIMER = "cfs_bandwidth".["period_timer"] for CpuThrottle;
    CFS_B_SLACK_TIMER = "cfs_bandwidth".["slack_timer"] for CpuThrottle;
    CFS_B_THROTTLED_LIST = "cfs_bandwidth".["throttled_cfs_rq"] for CpuThrottle;
    CFS_B_NR_PERIODS = "cfs_bandwidth".["nr_periods"] for CpuThrottle;
    CFS_B_NR_THROTTLED = "cfs_bandwidth".["nr_throttled"] for CpuThrottle;
    HRTIMER_FUNCTION = "hrtimer".["function"] for CpuThrottle;

    // Cgroups.
    CSS_SET_SUBSYS = "css_set".["subsys"] for OomKill;
    CSS_SET_DFL_CGROUP = "css_set".["dfl_cgrp"] for ContextSwitch;
    CSS_CGROUP = "cgroup_subsys_state".["cgroup"] for OomKill, CpuThrottle;
    CSS_PARENT = "cgroup_subsys_state".["parent"] for OomKill;
    CGROUP_KN = "cgroup".["kn"] for ContextSwitch, OomKill, CpuThrottle, CgroupLifecycle;
    CGROUP_ROOT = "cgroup".["root"] for OomKill, CgroupLifecycle;
    CGROUP_LEVEL = "cgroup".["level"];
    // The css of the cgroup itself: its parent is the parent cgroup's.
    CGROUP_SELF = "cgroup".["self"] for CgroupLifecycle;
    CGROUP_ROOT_HIERARCHY = "cgroup_root".["hierarchy_id"] for OomKill, CgroupLifecycle;
    KERNFS_NODE_ID = "kernfs_node".["id"] for ContextSwitch, OomKill, CpuThrottle, CgroupLifecycle;

    // Memory cgroups.
    MEMCG_MEMORY = "mem_cgroup".["memory"] for OomKill;
    MEMCG_MEMSW = "mem_cgroup".["memsw"];
    MEMCG_EVENTS_LOCAL = "mem_cgroup".["memory_events_local"];
    PAGE_COUNTER_USAGE = "page_counter".["usage"] for OomKill;
    PAGE_COUNTER_MAX_OFFSET = "page_counter".["max"] for OomKill;

    // What the OOM killer works on (`struct oom_control`, `include/linux/oom.h`).
    OC_MEMCG = "oom_control".["memcg"];
    OC_GFP_MASK = "oom_control".["gfp_mask"];
    OC_ORDER = "oom_control".["order"];
    OC_CHOSEN = "oom_control".["chosen"];
    OC_CHOSEN_POINTS = "oom_control".["chosen_points"];
    OC_CONSTRAINT = "oom_control".["constraint"];

    // Counters that have a part on each CPU.
    PERCPU_COUNTER_COUNT = "percpu_counter".["count"];
    PERCPU_COUNTER_COUNTERS = "percpu_counter".["counters"];
}

/// Globals that are no plain offsets; user space fills in each (`Global<u32>` unless said
/// otherwise).
pub mod plan {
    /// Hierarchy whose cgroups have slots: 0 for v2, else that of the v1 cpu controller.
    pub const SLOT_HIERARCHY: &str = "SLOT_HIERARCHY";
    /// Hierarchy of the memory controller: 0 for v2.
    pub const MEMORY_HIERARCHY: &str = "MEMORY_HIERARCHY";
    /// 1: a task's slot is that of its task group's cgroup (v1 cpu); 0: of its v2 cgroup.
    pub const SLOT_BY_TASK_GROUP: &str = "SLOT_BY_TASK_GROUP";
    /// CPUs that the maps were made for (`/sys/devices/system/cpu/possible`).
    pub const CPUS: &str = "CPUS";
    /// Number of slots.
    pub const SLOT_COUNT: &str = "SLOT_COUNT";
    /// 1: `sched_switch` has a fourth argument, the state of `prev` (since 5.18).
    pub const SWITCH_HAS_STATE: &str = "SWITCH_HAS_STATE";
    /// 1: `mark_victim` has the task as argument; 0: only its pid.
    pub const MARK_VICTIM_HAS_TASK: &str = "MARK_VICTIM_HAS_TASK";
    /// 1: `signal_generate` is attached, so kills can be told from tasks that were dying.
    pub const KILLS_ARE_SIGNALLED: &str = "KILLS_ARE_SIGNALLED";
    /// 1: `mm->rss_stat` is an array of `percpu_counter`; 0: of `atomic_long_t`.
    pub const RSS_IS_PERCPU: &str = "RSS_IS_PERCPU";
    /// 1: `task_group->cfs_rq` is a per-CPU pointer (since 7.2); 0: an array of pointers.
    pub const GROUP_QUEUES_ARE_PERCPU: &str = "GROUP_QUEUES_ARE_PERCPU";
    /// Bytes of one element of `mm->rss_stat`.
    pub const RSS_STRIDE: &str = "RSS_STRIDE";
    /// `u64`: address of `__per_cpu_offset`, 0 where it cannot be had.
    pub const PER_CPU_OFFSET: &str = "PER_CPU_OFFSET";
    /// `memory_cgrp_id` of `enum cgroup_subsys_id`.
    pub const MEMORY_SUBSYS: &str = "MEMORY_SUBSYS";
    /// `MEMCG_OOM` of `enum memcg_memory_event`.
    pub const MEMCG_OOM_EVENT: &str = "MEMCG_OOM_EVENT";
    /// Bit of `cfs_rq.throttled` within the byte at its offset: a mask.
    pub const THROTTLED_MASK: &str = "THROTTLED_MASK";
    /// 1: calls from CPU to CPU are seen (`csd_function_entry` and `_exit` are attached).
    pub const CALLS_ARE_SEEN: &str = "CALLS_ARE_SEEN";
    /// 1: throttled intervals end where `unthrottle_cfs_rq` is seen; 0: at the timers.
    pub const THROTTLE_BY_FUNCTION: &str = "THROTTLE_BY_FUNCTION";
    /// `u64`: intervals shorter than this many nanoseconds are counted but not sent.
    pub const THROTTLE_MIN_NS: &str = "THROTTLE_MIN_NS";
    /// 1: context switches are measured.
    pub const MEASURE_SWITCHES: &str = "MEASURE_SWITCHES";
    /// 1: throttling is measured.
    pub const MEASURE_THROTTLE: &str = "MEASURE_THROTTLE";
}
