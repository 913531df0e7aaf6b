//! The reader against made-up types, damaged bytes and the running kernel.

use proptest::prelude::*;

use super::raw::kind;
use super::writer::Writer;
use super::*;

const KIND_FLAG: u32 = 1 << 7;

/// One of everything, with a reference to a later type.
fn sample() -> Vec<u8> {
    let mut w = Writer::new();
    let int = w.int("int", 4);
    let long = w.int("long unsigned int", 8);
    // A union and a struct without names, the struct in the union, and a struct beside them.
    let inner = w.aggregate("", kind::STRUCT, 16, &[("x", long, 0), ("y", long, 64)]);
    let union = w.aggregate("", kind::UNION, 16, &[("plain", int, 0), ("", inner, 0)]);
    let typedef = w.add("union_t", kind::TYPEDEF, 0, union, &[]);
    let constant = w.add("", kind::CONST, 0, typedef, &[]);
    w.aggregate(
        "outer",
        kind::STRUCT,
        40,
        &[("first", long, 0), ("", constant, 64), ("named", 20, 192)],
    );
    let array = w.add("", kind::ARRAY, 0, 0, &[long, int, 5]);
    w.aggregate(
        "flags",
        kind::STRUCT | KIND_FLAG,
        8,
        &[
            ("whole", int, 0),
            ("low", int, 1 << 24 | 0x20),
            ("high", int, 3 << 24 | 0x29),
        ],
    );
    let narrow = w.add("narrow", kind::INT, 0, 4, &[2 << 16 | 5]);
    w.aggregate("old_flags", kind::STRUCT, 4, &[("five", narrow, 8)]);
    let values = [w.string("LOW"), 0xffff_ffff, w.string("HIGH"), 7];
    w.add("signed_enum", kind::ENUM | KIND_FLAG, 2, 4, &values);
    let values = [w.string("BIG"), 0xffff_ffff];
    w.add("unsigned_enum", kind::ENUM, 1, 4, &values);
    let values = [w.string("HUGE"), 1, 2];
    w.add("wide_enum", kind::ENUM64, 1, 8, &values);
    let pointer = w.add("", kind::PTR, 0, 7, &[]);
    let proto = w.add("", kind::FUNC_PROTO, 3, 0, &[0, 0, 0, pointer, 0, int]);
    w.add("do_it", kind::FUNC, 1, proto, &[]);
    let to_proto = w.add("", kind::PTR, 0, proto, &[]);
    w.add("btf_trace_it", kind::TYPEDEF, 0, to_proto, &[]);
    // Type 20, which "outer" names before it is there.
    assert_eq!(
        w.aggregate("later", kind::STRUCT, 16, &[("a", int, 32)]),
        20
    );
    w.aggregate("holder", kind::STRUCT, 80, &[("all", array, 0)]);
    w.add("float", kind::FLOAT, 0, 4, &[]);
    w.add("tag", kind::DECL_TAG, 0, 7, &[u32::MAX]);
    w.add("rcu", kind::TYPE_TAG, 0, int, &[]);
    w.add("forward", kind::FWD, 0, 0, &[]);
    w.add("var", kind::VAR, 0, int, &[1]);
    w.add(".data", kind::DATASEC, 1, 4, &[26, 0, 4]);
    w.finish()
}

fn offsets(btf: &Btf<'_>, structure: &str, path: &str) -> (u32, Option<u32>, u32) {
    let member = btf.member(structure, path).unwrap();
    assert_eq!(member.byte_offset, member.bit_offset / 8);
    (member.bit_offset, member.bit_size, member.size_bytes)
}

#[test]
fn members_are_found_through_anonymous_parts() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.len(), 27);
    assert_eq!(offsets(&btf, "outer", "first"), (0, None, 8));
    assert_eq!(offsets(&btf, "outer", "plain"), (64, None, 4));
    assert_eq!(offsets(&btf, "outer", "y"), (128, None, 8));
    assert_eq!(offsets(&btf, "outer", "named"), (192, None, 16));
    assert_eq!(offsets(&btf, "outer", "named.a"), (224, None, 4));
    assert_eq!(offsets(&btf, "holder", "all"), (0, None, 40));
    assert_eq!(btf.size_of("outer").unwrap(), 40);
}

#[test]
fn both_forms_of_bit_fields_are_told() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(offsets(&btf, "flags", "whole"), (0, None, 4));
    assert_eq!(offsets(&btf, "flags", "low"), (32, Some(1), 4));
    assert_eq!(offsets(&btf, "flags", "high"), (41, Some(3), 4));
    assert_eq!(offsets(&btf, "old_flags", "five"), (10, Some(5), 4));
}

#[test]
fn enums_keep_their_sign_and_width() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(btf.enum_value("signed_enum", "LOW").unwrap(), -1);
    assert_eq!(btf.enum_value("signed_enum", "HIGH").unwrap(), 7);
    assert_eq!(btf.enum_value("unsigned_enum", "BIG").unwrap(), 0xffff_ffff);
    assert_eq!(btf.enum_value("wide_enum", "HUGE").unwrap(), 2 << 32 | 1);
}

#[test]
fn prototypes_are_told() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    assert!(btf.func_exists("do_it"));
    assert!(!btf.func_exists("outer"), "a struct is no function");
    let params = btf.func_params("do_it").unwrap();
    assert_eq!(params.len(), 3);
    let args = btf.tracepoint_args("it").unwrap();
    assert_eq!(args, params[1..]);
    assert!(btf.points_to(args[0], "outer").unwrap());
    assert!(!btf.points_to(args[0], "flags").unwrap());
    assert!(!btf.points_to(args[1], "outer").unwrap());
}

#[test]
fn what_is_not_there_is_absent_and_nothing_else() {
    let bytes = sample();
    let btf = Btf::parse(&bytes).unwrap();
    let errors = [
        btf.member("nothing", "x").unwrap_err(),
        btf.member("outer", "nothing").unwrap_err(),
        btf.member("outer", "named.nothing").unwrap_err(),
        btf.member("outer", "").unwrap_err(),
        btf.enum_value("signed_enum", "NOTHING").unwrap_err(),
        btf.enum_value("nothing", "LOW").unwrap_err(),
        btf.size_of("do_it").unwrap_err(),
        btf.func_params("nothing").unwrap_err(),
        btf.tracepoint_args("nothing").unwrap_err(),
    ];
    for error in errors {
        assert!(error.is_absence(), "{error}");
    }
    let error = btf.member("outer", "named.nothing").unwrap_err();
    assert_eq!(
        error.to_string(),
        "`outer` of this kernel has no `named.nothing`"
    );
    assert!(matches!(
        btf.member("outer", "first.x"),
        Err(BtfError::WrongKind { .. })
    ));
}

#[test]
fn circles_end() {
    let mut w = Writer::new();
    // typedef a a; a struct whose anonymous member is itself; an array of itself.
    w.add("a", kind::TYPEDEF, 0, 1, &[]);
    w.aggregate(
        "snake",
        kind::STRUCT,
        8,
        &[("", 2, 0), ("", 2, 0), ("t", 1, 0)],
    );
    w.add("", kind::ARRAY, 0, 0, &[3, 3, 1]);
    w.aggregate("hold", kind::STRUCT, 8, &[("x", 3, 0)]);
    let bytes = w.finish();
    let btf = Btf::parse(&bytes).unwrap();
    for (structure, path) in [("snake", "nothing"), ("snake", "t"), ("hold", "x")] {
        assert!(
            matches!(btf.member(structure, path), Err(BtfError::TooDeep(_))),
            "{structure}.{path}"
        );
    }
}

#[test]
fn huge_sizes_and_offsets_are_refused() {
    let mut w = Writer::new();
    let int = w.int("int", 4);
    let array = w.add("", kind::ARRAY, 0, 0, &[int, int, u32::MAX]);
    w.aggregate("big", kind::STRUCT, 8, &[("x", array, 0)]);
    let inner = w.aggregate("", kind::STRUCT, 8, &[("far", int, u32::MAX - 7)]);
    w.aggregate("far", kind::STRUCT, 8, &[("", inner, u32::MAX - 7)]);
    let bytes = w.finish();
    let btf = Btf::parse(&bytes).unwrap();
    for (structure, path) in [("big", "x"), ("far", "far")] {
        assert!(matches!(
            btf.member(structure, path),
            Err(BtfError::TooLarge(_))
        ));
    }
}

#[test]
fn headers_are_checked() {
    let good = sample();
    let mut foreign = good.clone();
    foreign[..2].reverse();
    assert!(matches!(
        Btf::parse(&foreign),
        Err(BtfError::ForeignByteOrder)
    ));
    let mut version = good.clone();
    version[2] = 2;
    assert!(matches!(Btf::parse(&version), Err(BtfError::Version(2))));
    assert!(matches!(
        Btf::parse(b"\x7fELF...................."),
        Err(BtfError::Magic(_))
    ));
    for length in 0..good.len() {
        assert!(
            Btf::parse(&good[..length]).is_err(),
            "{length} bytes of {} were taken",
            good.len()
        );
    }
}

#[test]
fn a_kind_of_the_future_is_passed_over_where_its_size_is_told() {
    let make = |layout: bool| {
        let mut w = Writer::new();
        w.add("new", 25, 2, 0, &[1, 2, 3, 4, 5]);
        let int = w.int("int", 4);
        w.aggregate("after", kind::STRUCT, 8, &[("x", int, 32)]);
        if layout {
            w.layout = vec![0; 26 * 4];
            w.layout[25 * 4] = 4;
            w.layout[25 * 4 + 1] = 8;
        }
        w.finish()
    };
    let bytes = make(true);
    let btf = Btf::parse(&bytes).unwrap();
    assert_eq!(offsets(&btf, "after", "x"), (32, None, 4));
    assert!(matches!(
        Btf::parse(&make(false)),
        Err(BtfError::UnknownKind { id: 1, kind: 25 })
    ));
}

/// Asks everything; whatever it answers, it must answer.
fn ask(bytes: &[u8], names: &[(&str, &str)]) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    for (name, member) in names {
        let _ = btf.size_of(name);
        let _ = btf.enum_value(name, member);
        let _ = btf.func_params(name);
        let _ = btf.tracepoint_args(name);
        if let Ok(member) = btf.member(name, member) {
            let _ = btf.element(member.type_id);
            let _ = btf.points_to(member.type_id, "later");
        }
    }
    for id in 0..btf.len().min(64) as u32 + 2 {
        let _ = btf.get(id);
    }
}

const SAMPLE_NAMES: &[(&str, &str)] = &[
    ("outer", "y"),
    ("outer", "named.a"),
    ("flags", "high"),
    ("old_flags", "five"),
    ("holder", "all"),
    ("signed_enum", "HIGH"),
    ("wide_enum", "HUGE"),
    ("do_it", "x"),
    ("it", "x"),
];

const KERNEL_NAMES: &[(&str, &str)] = &[
    ("task_struct", "se.cfs_rq"),
    ("cfs_rq", "throttled"),
    ("mem_cgroup", "memsw"),
    ("mm_struct", "rss_stat"),
    ("cgroup_subsys_id", "memory_cgrp_id"),
    ("unthrottle_cfs_rq", ""),
    ("sched_switch", ""),
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        ask(&bytes, SAMPLE_NAMES);
        if bytes.len() > 24 {
            bytes[..8].copy_from_slice(&sample()[..8]);
            ask(&bytes, SAMPLE_NAMES);
        }
    }

    #[test]
    fn damaged_types_are_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = sample();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        ask(&bytes, SAMPLE_NAMES);
    }

    #[test]
    fn wrong_references_are_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0u32..40), 1..8),
    ) {
        // Whole words with small values: circles and wrong kinds rather than wild offsets.
        let mut bytes = sample();
        for (at, value) in damage {
            let at = 24 + at.index((bytes.len() - 24) / 4) * 4;
            bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
        }
        ask(&bytes, SAMPLE_NAMES);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_damaged_kernel_is_survived(
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..64),
        cut in any::<Option<prop::sample::Index>>(),
    ) {
        let mut bytes = std::fs::read(SYSFS_PATH).unwrap();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        ask(&bytes, KERNEL_NAMES);
    }
}
