//! The facts, and the running kernel's against other tools.

use std::process::Command;

use proptest::prelude::*;

use super::*;

#[test]
fn cpu_lists_are_counted() {
    let list = |text| CpuList::parse(text).map(|list| (list.count, list.highest));
    assert_eq!(list("0\n"), Some((1, 0)));
    assert_eq!(list("0-3"), Some((4, 3)));
    assert_eq!(list("0-1,4,6-7\n"), Some((5, 7)));
    for broken in ["", "x", "3-1", "0-", "-1", "0,,2", "0-4294967295"] {
        assert_eq!(list(broken), None, "{broken:?}");
    }
}

#[test]
fn the_lockdown_mode_is_the_one_in_brackets() {
    for (text, mode) in [
        ("[none] integrity confidentiality\n", Lockdown::None),
        ("none [integrity] confidentiality\n", Lockdown::Integrity),
        (
            "none integrity [confidentiality]\n",
            Lockdown::Confidentiality,
        ),
        ("none integrity confidentiality\n", Lockdown::Unknown),
        ("", Lockdown::Unknown),
    ] {
        assert_eq!(Lockdown::parse(text), mode, "{text:?}");
    }
}

fn output(command: &str, args: &[&str]) -> String {
    let output = Command::new(command).args(args).output().unwrap();
    assert!(output.status.success(), "{command} {args:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn this_machines_facts_are_those_of_other_tools() {
    let facts = HostFacts::read(None).unwrap();
    assert_eq!(facts.kernel_release, output("uname", &["-r"]));
    assert_eq!(
        facts.page_size.to_string(),
        output("getconf", &["PAGE_SIZE"])
    );
    assert_eq!(
        facts.online_cpus.to_string(),
        output("getconf", &["_NPROCESSORS_ONLN"])
    );
    assert!(facts.possible_cpus >= facts.online_cpus);
    assert_eq!(facts.uid.to_string(), output("id", &["-u"]));
    // The shell's own limit, in KiB.
    let limit = facts
        .memlock
        .soft
        .map_or("unlimited".to_owned(), |bytes| (bytes / 1024).to_string());
    assert_eq!(limit, output("bash", &["-c", "ulimit -l"]));
    assert_eq!(
        facts.btf_bytes.is_some(),
        Path::new("/sys/kernel/btf/vmlinux").exists()
    );
    assert_eq!(facts.functions, FunctionPrograms::default(), "nobody tried");
}

proptest! {
    #[test]
    fn any_text_is_survived(text in ".{0,80}") {
        let _ = CpuList::parse(&text);
        let _ = Lockdown::parse(&text);
        let _ = Capabilities::effective(&text);
    }
}
