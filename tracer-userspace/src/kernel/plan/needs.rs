//! What the programs need of a kernel besides members of structs.

use crate::kernel::btf::{Btf, BtfError, optional};

/// A tracepoint that a program is attached to.
#[derive(Clone, Copy, Debug)]
pub struct Tracepoint {
    /// Its name, which is the program's too.
    pub name: &'static str,
    /// Its first arguments: the struct that each points to, or `None` for any other type.
    arguments: &'static [Option<&'static str>],
}

const fn tracepoint(name: &'static str, arguments: &'static [Option<&'static str>]) -> Tracepoint {
    Tracepoint { name, arguments }
}

pub const SCHED_SWITCH: Tracepoint = tracepoint(
    "sched_switch",
    &[None, Some("task_struct"), Some("task_struct")],
);
pub const MARK_VICTIM: Tracepoint = tracepoint("mark_victim", &[None]);
pub const SIGNAL_GENERATE: Tracepoint =
    tracepoint("signal_generate", &[None, None, Some("task_struct")]);
pub const SIGNAL_DELIVER: Tracepoint = tracepoint("signal_deliver", &[None]);
pub const TIMERS: [Tracepoint; 2] = [
    tracepoint("hrtimer_expire_entry", &[Some("hrtimer")]),
    tracepoint("hrtimer_expire_exit", &[Some("hrtimer")]),
];
pub const CALLS: [Tracepoint; 2] = [
    tracepoint("csd_function_entry", &[None, Some("__call_single_data")]),
    tracepoint("csd_function_exit", &[None]),
];
pub const CGROUPS: [Tracepoint; 4] = [
    tracepoint("cgroup_mkdir", &[Some("cgroup"), None]),
    tracepoint("cgroup_rmdir", &[Some("cgroup"), None]),
    tracepoint("cgroup_release", &[Some("cgroup"), None]),
    tracepoint(
        "cgroup_attach_task",
        &[Some("cgroup"), None, Some("task_struct")],
    ),
];

/// The function whose entry and exit show the end of a throttled interval.
pub const UNTHROTTLE: &str = "unthrottle_cfs_rq";
/// The function that kills for lack of memory.
pub const OOM_KILL_PROCESS: &str = "oom_kill_process";
/// Members that a program at its entry reads.
pub const CONTROL_MEMBERS: [&str; 6] = [
    "OC_MEMCG",
    "OC_GFP_MASK",
    "OC_ORDER",
    "OC_CHOSEN",
    "OC_CHOSEN_POINTS",
    "OC_CONSTRAINT",
];

impl Tracepoint {
    /// Why this kernel's tracepoint cannot be used; `None` where it can.
    pub fn problem(&self, btf: &Btf<'_>) -> Result<Option<String>, BtfError> {
        let Some(arguments) = optional(btf.tracepoint_args(self.name))? else {
            return Ok(Some(format!(
                "this kernel has no tracepoint {} (CONFIG_TRACEPOINTS=y and a kernel with it)",
                self.name
            )));
        };
        for (index, wanted) in self.arguments.iter().enumerate() {
            let fits = match (arguments.get(index), wanted) {
                (None, _) => false,
                (Some(_), None) => true,
                (Some(argument), Some(structure)) => btf.points_to(*argument, structure)?,
            };
            if !fits {
                return Ok(Some(format!(
                    "argument {index} of the tracepoint {} is not what is known",
                    self.name
                )));
            }
        }
        Ok(None)
    }
}

/// Why the function `name`, whose first parameter should be a pointer to `structure`, cannot be
/// used; `None` where it can.
pub fn function_problem(
    btf: &Btf<'_>,
    name: &str,
    structure: &str,
) -> Result<Option<String>, BtfError> {
    let params = optional(btf.func_params(name))?;
    Ok(match params.as_deref() {
        None => Some(format!("this kernel has no function {name} of its own")),
        Some([first, ..]) if btf.points_to(*first, structure)? => None,
        Some(_) => Some(format!("the parameters of {name} are not what is known")),
    })
}

/// What BPF of this kernel lacks that nothing works without.
pub fn lacking(btf: &Btf<'_>) -> Result<Vec<&'static str>, BtfError> {
    let mut lacking = Vec::new();
    for (enumeration, name, what) in [
        (
            "bpf_attach_type",
            "BPF_TRACE_RAW_TP",
            "programs on tracepoints with BTF (Linux 5.5)",
        ),
        (
            "bpf_map_type",
            "BPF_MAP_TYPE_RINGBUF",
            "BPF ring buffers (Linux 5.8)",
        ),
    ] {
        if optional(btf.enum_value(enumeration, name))?.is_none() {
            lacking.push(what);
        }
    }
    Ok(lacking)
}

/// How a kernel gets a struct's member that it has not.
pub fn remedy(parent: &str, members: &[&str]) -> &'static str {
    let member = members.first().copied().unwrap_or_default();
    match parent {
        "cfs_bandwidth" => "CONFIG_CFS_BANDWIDTH=y",
        "cfs_rq" if member.starts_with("throttle") => "CONFIG_CFS_BANDWIDTH=y",
        "task_group" if member == "cfs_bandwidth" => "CONFIG_CFS_BANDWIDTH=y",
        "task_group" | "sched_entity" | "cfs_rq" => "CONFIG_FAIR_GROUP_SCHED=y",
        "task_struct" if member.starts_with("sched_info") => {
            "CONFIG_SCHED_INFO=y, by CONFIG_TASK_DELAY_ACCT or CONFIG_SCHEDSTATS"
        }
        "task_struct" if member == "sched_task_group" => "CONFIG_CGROUP_SCHED=y",
        "task_struct" if member == "se.cfs_rq" => "CONFIG_FAIR_GROUP_SCHED=y",
        "task_struct" if member == "cgroups" => "CONFIG_CGROUPS=y",
        "mem_cgroup" | "page_counter" | "cgroup_subsys_id" => "CONFIG_MEMCG=y",
        "css_set" | "cgroup_subsys_state" | "cgroup" | "cgroup_root" | "kernfs_node" => {
            "CONFIG_CGROUPS=y"
        }
        _ => "a kernel whose structs limitscope knows; please report this one",
    }
}
