//! Tests of reading processes: this one, and children of it.

use super::*;

#[test]
fn a_process_knows_itself() {
    let process = Process::open(std::process::id()).unwrap();
    let image = process.image().unwrap();
    assert_eq!(process.image().unwrap(), image);
    assert!(image.places.iter().all(|place| *place != 0), "{image:?}");
    let own = std::env::args().next().unwrap();
    assert_eq!(process.strings("cmdline").unwrap()[0], own);
    let value = 0x1234_5678_9abc_u64;
    let mut bytes = [0; 8];
    let address = (&raw const value).addr() as u64;
    process.memory().unwrap().read(address, &mut bytes).unwrap();
    assert_eq!(u64::from_ne_bytes(bytes), value);
}

#[test]
fn the_dead_are_gone_and_never_somebody_else() {
    let mut child = std::process::Command::new("sleep")
        .arg("100")
        .spawn()
        .unwrap();
    let process = Process::open(child.id()).unwrap();
    process.image().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(process.image().unwrap_err(), ProcessError::Gone(child.id()));
    assert!(process.thread_names().is_empty());
    let absent = Process::open(child.id()).unwrap_err();
    assert_eq!(
        absent.to_string(),
        format!("there is no process {}", child.id())
    );
}

#[test]
fn a_capability_that_is_held_is_not_asked_for() {
    let said = |lacks| {
        let what = "exe";
        let error = ProcessError::NotAllowed {
            pid: 1,
            what,
            lacks,
        };
        error.to_string()
    };
    assert_eq!(
        said(None),
        "exe of process 1 cannot be read: permission denied"
    );
    assert_eq!(
        said(Some(Lacks::SysPtrace)),
        "exe of process 1 cannot be read: it takes CAP_SYS_PTRACE"
    );
    let held = capabilities(None).unwrap().effective;
    let expected = held.contains(CapabilitySet::SYS_PTRACE);
    assert!(matches!(
        failure(1, "exe", Errno::ACCESS),
        ProcessError::NotAllowed { lacks, .. } if (lacks != Some(Lacks::SysPtrace)) == expected
    ));
}

#[test]
fn exec_makes_another_image() {
    use std::io::{BufRead, BufReader};
    let mut child = std::process::Command::new("sh")
        .args(["-c", "echo one; read x; exec sh -c 'echo two; read x'"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let process = Process::open(child.id()).unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "one");
    let before = process.image().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut stdin, b"\n").unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "two");
    let after = process.image().unwrap();
    assert_eq!(before.file, after.file, "the same shell, started anew");
    assert_ne!(before, after);
    drop(stdin);
    child.wait().unwrap();
}
