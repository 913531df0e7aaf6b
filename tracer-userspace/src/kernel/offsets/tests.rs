//! The running kernel's offsets against those that bpftool reads.

use std::collections::HashMap;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tracer_common::globals::{ABSENT, OFFSETS, plan};

use super::*;
use crate::kernel::btf::SYSFS_PATH;

/// The running kernel's types as bpftool reads them.
struct Bpftool {
    types: Vec<Value>,
    structs: HashMap<String, usize>,
}

/// Read once: it prints some 18 MB.
static BPFTOOL: LazyLock<Bpftool> = LazyLock::new(Bpftool::read);

impl Bpftool {
    fn read() -> Self {
        let output = Command::new("bpftool")
            .args(["-j", "btf", "dump", "file", SYSFS_PATH])
            .output()
            .expect("bpftool is needed for this test (Debian: apt-get install bpftool)");
        assert!(output.status.success(), "bpftool: {output:?}");
        let mut json: Value = serde_json::from_slice(&output.stdout).unwrap();
        let Value::Array(types) = json["types"].take() else {
            panic!("bpftool printed no types");
        };
        let mut structs = HashMap::new();
        for (index, ty) in types.iter().enumerate() {
            if ty["kind"] == "STRUCT" {
                let name = ty["name"].as_str().unwrap().to_owned();
                structs.entry(name).or_insert(index);
            }
        }
        Self { types, structs }
    }

    fn by_id(&self, id: &Value) -> &Value {
        let index = id.as_u64().unwrap() as usize - 1;
        assert_eq!(self.types[index]["id"], *id);
        &self.types[index]
    }

    fn strip<'a>(&'a self, mut ty: &'a Value) -> &'a Value {
        while ["TYPEDEF", "CONST", "VOLATILE", "RESTRICT", "TYPE_TAG"]
            .contains(&ty["kind"].as_str().unwrap())
        {
            ty = self.by_id(&ty["type_id"]);
        }
        ty
    }

    /// Bits from the start of `ty` to `path`, and the width of a bit-field.
    fn find(&self, ty: &Value, path: &[&str]) -> Option<(u64, Option<u64>)> {
        for member in ty["members"].as_array()? {
            let inner = self.strip(self.by_id(&member["type_id"]));
            let here = member["bits_offset"].as_u64().unwrap();
            let deeper = if member["name"] == "(anon)" {
                self.find(inner, path)
            } else if member["name"] != path[0] {
                continue;
            } else if path.len() > 1 {
                self.find(inner, &path[1..])
            } else {
                return Some((
                    here,
                    member["bitfield_size"].as_u64().filter(|bits| *bits > 0),
                ));
            };
            if let Some((bits, width)) = deeper {
                return Some((here + bits, width));
            }
        }
        None
    }

    fn member(&self, structure: &str, path: &str) -> Option<(u64, Option<u64>)> {
        let ty = &self.types[*self.structs.get(structure)?];
        self.find(ty, &path.split('.').collect::<Vec<_>>())
    }

    fn enumerator(&self, enumeration: &str, name: &str) -> Option<u64> {
        self.types
            .iter()
            .find(|ty| ty["name"] == enumeration && ty["kind"] == "ENUM")?["values"]
            .as_array()?
            .iter()
            .find(|value| value["name"] == name)?["val"]
            .as_u64()
    }

    fn tracepoint(&self, name: &str) -> Vec<&Value> {
        let typedef = self
            .types
            .iter()
            .find(|ty| ty["name"] == format!("btf_trace_{name}"))
            .unwrap();
        let proto = self.by_id(&self.by_id(&typedef["type_id"])["type_id"]);
        proto["params"].as_array().unwrap()[1..].iter().collect()
    }

    fn func(&self, name: &str) -> Option<&Value> {
        self.types
            .iter()
            .find(|ty| ty["kind"] == "FUNC" && ty["name"] == name)
    }
}

#[test]
fn the_running_kernels_offsets_are_those_of_bpftool() {
    let bpftool = &*BPFTOOL;
    let btf = Btf::from_sysfs().unwrap();
    assert_eq!(btf.len(), bpftool.types.len());
    let types = KernelTypes::resolve(&btf).unwrap();
    let mut present = 0;
    for spec in OFFSETS {
        let referee = spec
            .members
            .iter()
            .find_map(|path| bpftool.member(spec.structure, path));
        let ours = types
            .globals
            .iter()
            .find(|(symbol, _)| *symbol == spec.symbol)
            .unwrap()
            .1;
        match referee {
            Some((bits, width)) => {
                assert_eq!(u64::from(ours), bits / 8, "{}", spec.symbol);
                assert!(
                    width.is_none() || spec.symbol == THROTTLED,
                    "{}",
                    spec.symbol
                );
                present += 1;
            }
            None => assert_eq!(ours, ABSENT, "{}", spec.symbol),
        }
    }
    assert!(present > OFFSETS.len() / 2, "only {present} were compared");

    let (bits, width) = bpftool.member("cfs_rq", "throttled").unwrap();
    let mask = width.map_or(0xff, |width| ((1 << width) - 1) << (bits % 8));
    assert_eq!(types.get(plan::THROTTLED_MASK).unwrap(), mask as u32);
}

#[test]
fn the_running_kernels_facts_are_those_of_bpftool() {
    let bpftool = &*BPFTOOL;
    let btf = Btf::from_sysfs().unwrap();
    let types = KernelTypes::resolve(&btf).unwrap();

    for (symbol, enumeration, name) in [
        (plan::MEMORY_SUBSYS, "cgroup_subsys_id", "memory_cgrp_id"),
        (plan::MEMCG_OOM_EVENT, "memcg_memory_event", "MEMCG_OOM"),
    ] {
        let referee = bpftool.enumerator(enumeration, name).unwrap();
        assert_eq!(u64::from(types.get(symbol).unwrap()), referee, "{symbol}");
    }
    for name in [
        "sched_switch",
        "mark_victim",
        "hrtimer_expire_entry",
        "signal_generate",
    ] {
        assert_eq!(
            btf.tracepoint_args(name).unwrap().len(),
            bpftool.tracepoint(name).len(),
            "{name}"
        );
    }
    let state = bpftool.tracepoint("sched_switch").len() > 3;
    assert_eq!(types.get(plan::SWITCH_HAS_STATE), Some(u32::from(state)));
    let first = bpftool.strip(bpftool.by_id(&bpftool.tracepoint("mark_victim")[0]["type_id"]));
    assert_eq!(
        types.get(plan::MARK_VICTIM_HAS_TASK),
        Some(u32::from(first["kind"] == "PTR"))
    );
    for name in ["unthrottle_cfs_rq", "oom_kill_process", "no_such_function"] {
        let func = bpftool.func(name);
        assert_eq!(btf.func_exists(name), func.is_some(), "{name}");
        assert_eq!(
            btf.func_id(name).map(u64::from),
            func.map(|func| func["id"].as_u64().unwrap())
        );
        if let Some(func) = func {
            let proto = bpftool.by_id(&func["type_id"]);
            assert_eq!(
                btf.func_params(name).unwrap().len() as u64,
                proto["vlen"].as_u64().unwrap(),
                "{name}"
            );
        }
    }

    let stat = bpftool.structs["mm_struct"];
    assert_ne!(stat, 0);
    let per_cpu = types.get(plan::RSS_IS_PERCPU).unwrap() == 1;
    let stride = u64::from(types.get(plan::RSS_STRIDE).unwrap());
    if per_cpu {
        let index = bpftool.structs["percpu_counter"];
        assert_eq!(stride, bpftool.types[index]["size"].as_u64().unwrap());
    } else {
        assert_eq!(stride, 8);
    }
}

#[test]
fn a_flags_mask_is_its_bit() {
    let member = |bit_offset, bit_size| {
        let mut member = Btf::from_sysfs().unwrap().member("cfs_rq", "rq").unwrap();
        member.bit_offset = bit_offset;
        member.bit_size = bit_size;
        member
    };
    assert_eq!(mask_of(&member(3328, None)), 0xff);
    assert_eq!(mask_of(&member(3328, Some(1))), 0x01);
    assert_eq!(mask_of(&member(3329, Some(1))), 0x02);
    assert_eq!(mask_of(&member(3335, Some(1))), 0x80);
}
