//! What `check` says of this machine and of worse ones.

use super::*;
use crate::kernel::capabilities::{
    CAP_BPF, CAP_PERFMON, CAP_SYS_ADMIN, CAP_SYS_RESOURCE, Capabilities,
};
use crate::kernel::host::{Lockdown, MemlockLimit};

fn report() -> Report {
    let mut report = Report::new(
        &CheckArgs {
            json: false,
            max_cgroups: 1_000,
            force_source: Vec::new(),
        },
        FunctionPrograms {
            fexit: Some(false),
            kprobe: None,
        },
    )
    .unwrap();
    report.host.capabilities = capabilities(&[CAP_BPF, CAP_PERFMON]);
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
    assert!(remedy.contains("sudo"), "{remedy}");

    report.host.capabilities = capabilities(&[]);
    report.host.uid = 0;
    let Problem { what, remedy } = problem(&report);
    assert!(
        what.contains("CAP_BPF") && what.contains("CAP_PERFMON"),
        "{what}"
    );
    assert!(remedy.contains("--cap-add BPF"), "{remedy}");

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
            "runtimes",
            "schema_version",
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
