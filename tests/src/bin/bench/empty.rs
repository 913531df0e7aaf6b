//! The cheapest program there can be at a context switch: what everything else is measured from.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use limitscope::kernel::btf::Btf;

use crate::bpf::{self, Program, insn};

/// `r0 = 0; exit`
const NOTHING: [u64; 2] = [insn(0xb7, 0, 0, 0, 0), insn(0x95, 0, 0, 0, 0)];

/// An attached program that does nothing; dropping it detaches it.
#[derive(Debug)]
pub struct Empty {
    /// The program.
    pub program: Program,
    _link: OwnedFd,
}

impl Empty {
    /// Attaches one to `sched_switch` the way that limitscope's is (tp_btf).
    pub fn attach() -> Result<Self> {
        let id = Btf::from_sysfs()?
            .tracepoint_id("sched_switch")
            .context("this kernel has no BTF of sched_switch")?;
        let program = bpf::load(bpf::TRACING, &NOTHING, Some(id))?;
        let link = bpf::attach(&program)?;
        Ok(Self {
            program: Program::new(program)?,
            _link: link,
        })
    }
}
