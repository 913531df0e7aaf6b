//! What `check` says of this machine and of worse ones.

use serde_json::json;

use super::*;
use crate::kernel::capabilities::{
    CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, Capabilities,
};
use crate::kernel::host::{Lockdown, MemlockLimit};
use crate::kernel::kallsyms::SymbolAddress;
use crate::kernel::loader::ProgramLoad;

fn report() -> Report {
    let args = CheckArgs {
        json: false,
        max_cgroups: 1_000,
        force_source: Vec::new(),
        engines: EngineArgs {
            docker_socket: Some("/nowhere/docker.sock".into()),
            ..EngineArgs::default()
        },
        cgroup_root: None,
    };
    let functions = FunctionPrograms {
        fexit: Some(false),
        kprobe: None,
    };
    let mut report = Report::new(&args, functions).unwrap();
    report.host.capabilities = capabilities(&[CAP_BPF, CAP_PERFMON]);
    report.host.bounding = Capabilities(u64::MAX);
    report.host.no_new_privs = false;
    report.host.program = "/opt/limitscope".into();
    report.host.uid = 1_000;
    report.host.initial_user_namespace = true;
    report
}

fn capabilities(numbers: &[u32]) -> Capabilities {
    Capabilities(numbers.iter().map(|number| 1 << number).sum())
}

fn problems(report: &Report) -> Vec<Problem> {
    fatal(&report.host, report.plan.as_ref(), report.bounds.total())
}

/// The one problem there is.
fn problem(report: &Report) -> Problem {
    let mut problems = problems(report);
    assert_eq!(problems.len(), 1, "{problems:?}");
    problems.remove(0)
}

#[test]
fn a_good_machine_has_no_problem() {
    assert_eq!(problems(&report()), []);
}

#[test]
fn missing_capabilities_are_named_with_their_purpose() {
    let mut report = report();
    report.host.capabilities = capabilities(&[CAP_BPF]);
    let Problem { what, remedy } = problem(&report);
    assert!(what.contains("CAP_PERFMON (to attach"), "{what}");
    assert!(!what.contains("CAP_BPF"), "{what}");
    let command = "sudo setcap cap_bpf,cap_perfmon=ep /opt/limitscope";
    assert!(remedy.ends_with(command), "{remedy}");

    report.host.capabilities = capabilities(&[]);
    report.host.bounding = capabilities(&[]);
    report.host.uid = 0;
    let Problem { what, remedy } = problem(&report);
    assert!(
        what.contains("CAP_BPF") && what.contains("CAP_PERFMON"),
        "{what}"
    );
    assert!(remedy.contains("--cap-add BPF"), "{remedy}");
    report.host.bounding = Capabilities(u64::MAX);

    report.host.capabilities = capabilities(&[CAP_SYS_ADMIN]);
    assert_eq!(problems(&report), []);
    report.host.initial_user_namespace = false;
    assert!(problem(&report).what.contains("user namespace"));
}

#[test]
fn a_kernel_without_btf_is_told_from_an_unreadable_one() {
    let read_error = |kind: io::ErrorKind| {
        Err(BtfError::Read {
            path: "/sys/kernel/btf/vmlinux".into(),
            source: kind.into(),
        })
    };
    let mut report = report();
    report.plan = read_error(io::ErrorKind::PermissionDenied);
    assert!(problem(&report).remedy.contains("let this user read"));
    report.host.btf_bytes = None;
    report.plan = read_error(io::ErrorKind::NotFound);
    assert!(problem(&report).remedy.contains("CONFIG_DEBUG_INFO_BTF=y"));
    report.plan = Err(BtfError::Magic(1));
    assert!(problem(&report).remedy.contains("report"));
}

#[test]
fn an_old_or_locked_kernel_is_told() {
    let mut report = report();
    report.host.lockdown = Lockdown::Confidentiality;
    assert!(problem(&report).remedy.contains("lockdown=integrity"));
    report.host.lockdown = Lockdown::Integrity;
    assert_eq!(problems(&report), []);

    report.plan.as_mut().unwrap().lacking = vec!["BPF ring buffers (Linux 5.8)"];
    assert!(
        problem(&report)
            .what
            .contains("too old: it has no BPF ring buffers")
    );
}

#[test]
fn locked_memory_matters_only_where_the_kernel_counts_it() {
    let mut report = report();
    let limit = MemlockLimit {
        soft: Some(65_536),
        hard: Some(65_536),
    };
    report.host.memlock = limit;
    report.plan.as_mut().unwrap().memory_is_locked = false;
    assert_eq!(problems(&report), []);
    report.plan.as_mut().unwrap().memory_is_locked = true;
    assert!(problem(&report).remedy.contains("ulimit -l unlimited"));
    report.host.capabilities = capabilities(&[CAP_BPF, CAP_PERFMON, CAP_SYS_RESOURCE]);
    assert_eq!(problems(&report), []);
    report.host.capabilities = capabilities(&[CAP_BPF, CAP_PERFMON]);
    report.host.memlock.hard = None;
    assert_eq!(problems(&report), []);
}

#[test]
fn the_json_object_has_the_agreed_keys() {
    let mut report = report();
    report.problems = vec![Problem {
        what: "a\u{1b}[2J".to_owned(),
        remedy: "b".to_owned(),
    }];
    let text = json::object(&report).to_string();
    assert!(!text.contains(['\u{1b}', '\n']));
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    let keys: Vec<_> = object.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "cgroups",
            "host",
            "memory",
            "plan",
            "privileges",
            "problems",
            "programs",
            "runtimes",
            "schema_version",
            "warnings",
            "works"
        ]
    );
    assert_eq!(object["works"], false);
    assert_eq!(object["problems"][0]["what"], "a\u{1b}[2J");
    assert_eq!(object["plan"]["signals"][0]["signal"], "oom_kill");
    assert_eq!(object["memory"]["max_cgroups"], 1_000);
    let slots = object["cgroups"].as_array().unwrap().iter();
    assert_eq!(slots.filter(|cgroup| cgroup["slots"] == true).count(), 1);
    report.plan = Err(BtfError::Magic(1));
    assert!(json::object(&report)["plan"].is_null());
}

fn program(name: &str, count: Option<u64>) -> ProgramLoad {
    ProgramLoad {
        name: name.to_owned(),
        verified_instructions: count,
        load_ns: 2_000_000,
    }
}

#[test]
fn the_trial_of_the_programs_is_told() {
    let mut report = report();
    assert_eq!(json::object(&report)["programs"], json!([]));
    report.trial = Some(Trial {
        programs: vec![
            program("small", Some(699_999)),
            program("large", Some(700_000)),
            program("old", None),
        ],
        kept: Some(capabilities(&[CAP_BPF])),
    });
    let object = json::object(&report);
    let large = json!({"name": "large", "verified_instructions": 700_000, "load_ns": 2_000_000});
    assert_eq!(object["programs"][1], large);
    assert!(object["programs"][2]["verified_instructions"].is_null());
    let warnings = object["warnings"].as_array().unwrap();
    assert!(warnings.len() == 1 && warnings[0].as_str().unwrap().contains("for large,"));
    let text = text::render(&report, false);
    assert!(text.contains("3 for a trial, in 6 ms"), "{text}");
    assert!(text.contains("700000 of 1000000 instructions at most, for large"));
    assert!(text.contains("missing near the limit"), "{text}");
}

#[test]
fn each_capability_has_its_use_its_fate_and_its_remedy() {
    let mut report = report();
    report.host.capabilities = capabilities(&[0, CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN]);
    report.plan.as_mut().unwrap().per_cpu_offset = SymbolAddress::Hidden;
    report.plan.as_mut().unwrap().memory_is_locked = false;
    report.trial = Some(Trial {
        programs: Vec::new(),
        kept: Some(capabilities(&[CAP_BPF])),
    });
    let object = json::object(&report);
    let privileges = &object["privileges"];
    let one = |name: &str| {
        let all = privileges["capabilities"].as_array().unwrap();
        all.iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(one("CAP_BPF")["kept_after_attaching"], true);
    assert_eq!(one("CAP_PERFMON")["kept_after_attaching"], false);
    assert!(one("CAP_BPF")["remedy"].is_null());
    let remedy = one("CAP_SYSLOG")["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.ends_with("setcap cap_bpf,cap_perfmon,cap_syslog=ep /opt/limitscope"));
    assert!(one("CAP_SYS_RESOURCE")["remedy"].is_null());
    assert!(one("CAP_SYS_RESOURCE")["needless_because"].is_string());
    assert_eq!(
        privileges["held_and_needless"],
        json!(["CAP_CHOWN", "CAP_SYS_ADMIN"])
    );
    assert_eq!(privileges["held_after_attaching"], json!(["CAP_BPF"]));

    let text = text::render(&report, false);
    for line in [
        "CAP_BPF              to make maps and load programs; kept after attaching",
        "CAP_PERFMON          to attach programs that read kernel memory; given up after attaching",
        "CAP_SYS_ADMIN        not needed here: CAP_BPF and CAP_PERFMON are enough; given up",
        "CAP_SYSLOG           not held: ",
        "others               CAP_CHOWN: held and not needed",
        "CAP_SYS_PTRACE       not held: ",
        "cap_bpf,cap_perfmon,cap_syslog,cap_sys_ptrace,cap_dac_read_search=ep /opt/limitscope",
    ] {
        assert!(text.contains(line), "{line:?} is not in {text}");
    }
    assert!(!text.contains("CAP_SYS_RESOURCE"));

    // It does for both that are required, and is then of use.
    report.host.capabilities = capabilities(&[CAP_SYS_ADMIN]);
    let text = text::render(&report, false);
    assert!(
        text.contains("ok      CAP_SYS_ADMIN        does for CAP_BPF"),
        "{text}"
    );
    assert!(!text.contains("missing CAP_BPF"), "{text}");
}

#[test]
fn settings_of_the_kernel_have_a_line_with_what_they_mean() {
    let mut report = report();
    report.host.perf_event_paranoid = Some(3);
    report.host.unprivileged_bpf_disabled = Some(2);
    report.host.tracefs = None;
    report.plan.as_mut().unwrap().memory_is_locked = true;
    report.host.memlock.hard = Some(65_536);
    let text = text::render(&report, false);
    for words in [
        "kernel.perf_event_paranoid=3); nothing but kprobes needs them",
        "kernel.unprivileged_bpf_disabled=2), and not needed",
        "not mounted, and not needed",
        "missing locked memory        limited to 64 KiB",
    ] {
        assert!(text.contains(words), "{words:?} is not in {text}");
    }
    report.host.perf_event_paranoid = Some(2);
    report.host.unprivileged_bpf_disabled = Some(0);
    report.host.memlock.hard = None;
    let text = text::render(&report, false);
    assert!(!text.contains("perf events") && !text.contains("unprivileged BPF"));
    assert!(text.contains("ok      locked memory"), "{text}");
}

#[test]
fn the_text_is_for_people_and_safe_on_a_terminal() {
    let mut report = report();
    report.problems.clear();
    report.host.kernel_release = "6.1\u{1b}]0;x\u{7}".to_owned();
    let plain = text::render(&report, false);
    assert!(!plain.contains(['\u{1b}', '\u{7}', '✓', '✗']));
    assert!(plain.contains("  ok      CAP_BPF"));
    assert!(plain.ends_with("`limitscope run` works here.\n"));
    let signs = text::render(&report, true);
    assert!(signs.contains("  ✓ CAP_BPF"), "{signs}");

    report.problems = vec![Problem {
        what: "first".to_owned(),
        remedy: "second".to_owned(),
    }];
    report.plan = Err(BtfError::Version(9));
    let plain = text::render(&report, false);
    assert!(plain.contains("missing types (BTF)"), "{plain}");
    assert!(
        plain.ends_with("does not work here:\n  - first\n    second\n"),
        "{plain}"
    );
}
