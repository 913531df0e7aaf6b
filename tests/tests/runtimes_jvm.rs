//! What `inspect` says of Java virtual machines, against what these say of themselves: the CPUs that
//! they count with (the line of their collector, which is what `Runtime.availableProcessors()` gives)
//! and their flags as they are in force (`-XX:+PrintFlagsFinal`).

use std::{
    fs::{self, File},
    io::Write,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};
use limitscope_tests::{
    cgroup::Cgroup,
    inspect::{inspect, pool},
    wait::{self, PATIENCE},
};
use serde_json::Value;

/// A class that every runtime environment has; asked so, it reads a certificate from its input.
const WAITS: [&str; 2] = ["sun.security.tools.keytool.Main", "-printcert"];

/// A running one; dropping it kills it.
struct Jvm {
    child: Child,
    /// What it said.
    said: String,
}

impl Jvm {
    /// Starts one with these options and variables, and waits until it has said what it decided.
    fn start(
        cgroup: Option<&Cgroup>,
        options: &[&str],
        variables: &[(&str, &str)],
    ) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let output = folder.path().join("said");
        // A shell that waits, and becomes it when it is in the cgroup.
        let mut child = Command::new("/bin/sh")
            .args(["-c", "read line; exec java \"$@\"", "java"])
            .args(["-XX:+PrintFlagsFinal", "-Xlog:gc+init"])
            .args(options)
            .args(WAITS)
            .envs(variables.iter().copied())
            .stdin(Stdio::piped())
            .stdout(File::create(&output)?)
            .spawn()?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        let mut jvm = Self {
            child,
            said: String::new(),
        };
        if let Some(cgroup) = cgroup {
            cgroup.add(jvm.child.id())?;
        }
        writeln!(stdin, "go")?;
        // Its own, so that it goes on waiting.
        jvm.child.stdin = Some(stdin);
        wait::until("what the JVM says of itself", PATIENCE, || {
            jvm.said = fs::read_to_string(&output)?;
            let all = jvm.processors().is_some() && jvm.flag("ZeroTLAB").is_some();
            Ok(all.then_some(()))
        })?;
        Ok(jvm)
    }

    fn facts(&self) -> Result<Value> {
        inspect(self.child.id())
    }

    /// The CPUs that it counts with.
    fn processors(&self) -> Option<u64> {
        let line = self.said.lines().find(|line| line.contains("CPUs: "))?;
        let (_, available) = line.split_once("total, ")?;
        available.strip_suffix(" available")?.parse().ok()
    }

    /// A flag as it is in force.
    fn flag(&self, name: &str) -> Option<&str> {
        let mut lines = self.said.lines().map(str::split_whitespace);
        lines.find_map(|mut words| {
            (words.nth(1)? == name && words.next()? == "=").then(|| words.next())?
        })
    }

    fn number(&self, name: &str) -> Result<u64> {
        let flag = self.flag(name).with_context(|| format!("no {name}"))?;
        flag.parse().with_context(|| format!("{name}={flag}"))
    }
}

impl Drop for Jvm {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Compares all that is told with the JVM's own word.
fn check(jvm: &Jvm, basis: &str) -> Result<()> {
    let facts = jvm.facts()?;
    let processors = pool(&facts, "jvm", "-XX:ActiveProcessorCount")?;
    println!("{:?}: {processors}", jvm.processors());
    assert_eq!(processors["threads"].as_u64(), jvm.processors(), "{facts}");
    assert_eq!(processors["basis"], basis, "{facts}");
    assert_eq!(processors["estimate"], true, "it is not read in the JVM");
    let collectors = pool(&facts, "jvm", "-XX:ParallelGCThreads");
    if jvm.flag("UseSerialGC") == Some("true") {
        assert!(collectors.is_err(), "one thread collects: {facts}");
    } else {
        let threads = collectors?["threads"].as_u64();
        assert_eq!(threads, Some(jvm.number("ParallelGCThreads")?), "{facts}");
    }
    Ok(())
}

/// By its defaults it heeds its limit, rounded up.
#[test]
fn a_jvm_counts_with_the_cpus_of_its_limit() -> Result<()> {
    check(&Jvm::start(None, &[], &[])?, "defaults")?;
    for (number, quota) in [50_000, 100_000, 150_000].into_iter().enumerate() {
        let cgroup = Cgroup::new(&format!("jvm-{number}"))?;
        cgroup.set_cpu_quota(Some(quota), 100_000)?;
        let jvm = Jvm::start(Some(&cgroup), &["-XX:+UseParallelGC"], &[])?;
        check(&jvm, "defaults").with_context(|| format!("{quota} of 100000 µs"))?;
    }
    Ok(())
}

/// Options by every way that they come in, of which the last one counts. Threads that collect are
/// started one by one, so that their names alone tell too few.
#[test]
fn options_of_a_jvm_are_read_as_it_reads_them() -> Result<()> {
    let three = ["-XX:ActiveProcessorCount=3", "-XX:+UseParallelGC"];
    check(&Jvm::start(None, &three, &[])?, "command_line")?;
    check(
        &Jvm::start(
            None,
            &three,
            &[("JAVA_TOOL_OPTIONS", "-XX:ActiveProcessorCount=7")],
        )?,
        "command_line",
    )?;
    check(
        &Jvm::start(
            None,
            &three,
            &[("_JAVA_OPTIONS", "-XX:ActiveProcessorCount=12")],
        )?,
        "environment",
    )?;
    let five = [
        "-XX:ActiveProcessorCount=3",
        "-XX:ParallelGCThreads=5",
        "-XX:+UseG1GC",
    ];
    check(&Jvm::start(None, &five, &[])?, "command_line")?;
    let serial = ["-XX:ActiveProcessorCount=3", "-XX:+UseSerialGC"];
    check(&Jvm::start(None, &serial, &[])?, "command_line")
}

#[test]
fn the_heap_of_a_jvm_is_what_it_says() -> Result<()> {
    let heap = |options: &[&str], variables: &[(&str, &str)]| -> Result<(Value, u64)> {
        let jvm = Jvm::start(None, options, variables)?;
        let told = jvm.facts()?["runtimes"][0]["memory_limit"].clone();
        Ok((told, jvm.number("MaxHeapSize")?))
    };
    for (options, variables, expected) in [
        (
            &["-Xmx64m"][..],
            &[("JAVA_TOOL_OPTIONS", "-Xmx128m")][..],
            64,
        ),
        (&["-Xmx64m"], &[("_JAVA_OPTIONS", "-Xmx96m")], 96),
        (&[], &[("JDK_JAVA_OPTIONS", "-Xmx80M")], 80),
        (&["-XX:MaxHeapSize=1g", "-Xmx48m"], &[], 48),
        (&["-Xmx48m", "-XX:MaxHeapSize=1g"], &[], 1024),
    ] {
        let (told, is) = heap(options, variables)?;
        assert_eq!(is, expected << 20, "{options:?} {variables:?}");
        assert_eq!(told["bytes"], is, "{options:?} {variables:?}: {told}");
    }
    let (told, _) = heap(&[], &[])?;
    assert!(told["unknown"].is_string(), "a share of memory: {told}");
    Ok(())
}
