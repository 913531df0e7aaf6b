//! The running kernel's offsets and the facts about its types that the programs need.

use tracer_common::globals::{ABSENT, OFFSETS, OffsetSpec, Signal, plan};

use super::btf::{Btf, BtfError, Member, optional};

#[cfg(test)]
mod tests;

/// The one offset that may be a bit-field: the programs read the byte and mask it.
const THROTTLED: &str = "CFS_RQ_THROTTLED";
/// A group's run queues, which have been of two kinds.
const GROUP_QUEUES: &str = "TG_CFS_RQ";
/// Offset of `mm->rss_stat`, which has been of two kinds.
const RSS_STAT: &str = "MM_RSS_STAT";

/// What the kernel's BTF says, as values of globals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelTypes {
    /// Symbol and value of each global; [`ABSENT`] where this kernel has not what it stands for.
    pub globals: Vec<(&'static str, u32)>,
    /// What a signal cannot work without and this kernel has not.
    pub missing: Vec<(Signal, Missing)>,
}

/// Something that this kernel has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Struct or enum.
    pub parent: &'static str,
    /// Members, any of which would do.
    pub members: &'static [&'static str],
}

impl Missing {
    /// What the global `symbol` stands for, by the kernel's own names.
    pub fn of(symbol: &str) -> Option<Self> {
        let spec = OFFSETS.iter().find(|spec| spec.symbol == symbol)?;
        Some(Self {
            parent: spec.structure,
            members: spec.members,
        })
    }
}

impl std::fmt::Display for Missing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.parent, self.members.join(" or "))
    }
}

impl KernelTypes {
    /// Resolves every offset of [`OFFSETS`] and the facts of [`plan`] that come from BTF. An error
    /// means damaged BTF; what a kernel has not is data.
    pub fn resolve(btf: &Btf<'_>) -> Result<Self, BtfError> {
        let mut types = Self::default();
        for spec in OFFSETS {
            let value = types.offset(btf, spec)?;
            types.globals.push((spec.symbol, value));
            if value == ABSENT {
                types.missing.extend(spec.needed_by.iter().map(|signal| {
                    (
                        *signal,
                        Missing {
                            parent: spec.structure,
                            members: spec.members,
                        },
                    )
                }));
            }
        }
        types.tracepoints(btf)?;
        types.enums(btf)?;
        Ok(types)
    }

    /// Value of the global `symbol`; `None` where there is none or the kernel has it not.
    pub fn get(&self, symbol: &str) -> Option<u32> {
        self.globals
            .iter()
            .find(|(name, value)| *name == symbol && *value != ABSENT)
            .map(|(_, value)| *value)
    }

    /// Whether a process's resident memory is counted on each CPU by itself (since 6.2).
    pub fn rss_is_per_cpu(&self) -> bool {
        self.get(plan::RSS_IS_PERCPU) == Some(1)
    }

    /// What `signal` cannot work without and this kernel has not.
    pub fn missing_for(&self, signal: Signal) -> impl Iterator<Item = Missing> + '_ {
        self.missing
            .iter()
            .filter(move |(needed_by, _)| *needed_by == signal)
            .map(|(_, missing)| *missing)
    }

    fn offset(&mut self, btf: &Btf<'_>, spec: &OffsetSpec) -> Result<u32, BtfError> {
        let mut found = None;
        for path in spec.members {
            found = optional(btf.member(spec.structure, path))?;
            if found.is_some() {
                break;
            }
        }
        match spec.symbol {
            THROTTLED => {
                let mask = found.map_or(0, |member| mask_of(&member));
                self.globals.push((plan::THROTTLED_MASK, mask));
            }
            RSS_STAT => return self.rss_stat(btf, found),
            GROUP_QUEUES => {
                let per_cpu = found.map_or(Ok(false), |it| btf.points_to(it.type_id, "cfs_rq"))?;
                let per_cpu = (plan::GROUP_QUEUES_ARE_PERCPU, u32::from(per_cpu));
                self.globals.push(per_cpu);
            }
            _ => {}
        }
        Ok(match found {
            // A member that became a bit-field can no longer be read at a byte.
            Some(member) if member.bit_size.is_some() && spec.symbol != THROTTLED => ABSENT,
            Some(member) => member.byte_offset,
            None => ABSENT,
        })
    }

    /// `mm->rss_stat` is `struct percpu_counter[]`, or, in older kernels, `struct mm_rss_stat`
    /// with an `atomic_long_t count[]` (`include/linux/mm_types.h`).
    fn rss_stat(&mut self, btf: &Btf<'_>, stat: Option<Member>) -> Result<u32, BtfError> {
        let (mut offset, mut per_cpu, mut stride) = (ABSENT, false, 0);
        if let Some(stat) = stat {
            if let Some(element) = btf.element(stat.type_id)? {
                per_cpu = btf.is_struct(element, "percpu_counter")?;
                stride = btf.size_of_type(element)?;
                offset = stat.byte_offset;
            } else if let Some(count) = optional(btf.member("mm_rss_stat", "count"))?
                && let Some(element) = btf.element(count.type_id)?
            {
                stride = btf.size_of_type(element)?;
                offset = stat.byte_offset.saturating_add(count.byte_offset);
            }
        }
        self.globals.push((plan::RSS_IS_PERCPU, u32::from(per_cpu)));
        self.globals.push((plan::RSS_STRIDE, stride));
        Ok(offset)
    }

    fn tracepoints(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        // (preempt, prev, next), later with prev_state: include/trace/events/sched.h.
        let switch = optional(btf.tracepoint_args("sched_switch"))?;
        let has_state = switch.is_some_and(|args| args.len() > 3);
        self.globals
            .push((plan::SWITCH_HAS_STATE, u32::from(has_state)));
        // (pid), later (task, uid): include/trace/events/oom.h.
        let victim = optional(btf.tracepoint_args("mark_victim"))?;
        let has_task = match victim.as_deref() {
            Some([first, ..]) => btf.points_to(*first, "task_struct")?,
            _ => false,
        };
        self.globals
            .push((plan::MARK_VICTIM_HAS_TASK, u32::from(has_task)));
        Ok(())
    }

    fn enums(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        let memory = enumerator(btf, "cgroup_subsys_id", "memory_cgrp_id")?;
        if memory == ABSENT {
            let missing = Missing {
                parent: "cgroup_subsys_id",
                members: &["memory_cgrp_id"],
            };
            self.missing.push((Signal::OomKill, missing));
        }
        self.globals.push((plan::MEMORY_SUBSYS, memory));
        let event = enumerator(btf, "memcg_memory_event", "MEMCG_OOM")?;
        self.globals.push((plan::MEMCG_OOM_EVENT, event));
        Ok(())
    }
}

fn enumerator(btf: &Btf<'_>, enumeration: &str, name: &str) -> Result<u32, BtfError> {
    let value = optional(btf.enum_value(enumeration, name))?;
    Ok(value
        .and_then(|value| u32::try_from(value).ok())
        .unwrap_or(ABSENT))
}

/// Mask of a flag within the byte at its offset: its bit, or all where it is no bit-field.
fn mask_of(member: &Member) -> u32 {
    let Some(width) = member.bit_size else {
        return 0xff;
    };
    let bits = (1u32 << width.clamp(1, 8)) - 1;
    let shift = member.bit_offset % 8;
    // The lowest bit of a bit-field is counted from the end of memory that comes first.
    if cfg!(target_endian = "little") {
        bits << shift & 0xff
    } else {
        bits << 8 >> (shift + width.clamp(1, 8)) & 0xff
    }
}
