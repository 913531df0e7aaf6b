//! Java virtual machines (HotSpot).
//!
//! Options come from `JAVA_TOOL_OPTIONS`, then the launcher's `JDK_JAVA_OPTIONS`, the command line
//! and `_JAVA_OPTIONS`; the last one counts.

use super::{by_default, limited_cpus, pool};
use crate::{
    model::runtime::{Basis, Fact, Language, Runtime},
    runtimes::view::View,
};

/// Options, and where each is from.
type Options = [(String, Basis)];

/// What is told, where it is a JVM.
pub fn look(view: &View) -> Option<Runtime> {
    if view.program.as_deref() != Some("java") && !view.has_library("libjvm.so") {
        return None;
    }
    let options = options(view);
    let processors = match last(&options, "-XX:ActiveProcessorCount=") {
        Some((value, basis)) => match value.parse() {
            Ok(number) => Fact::known(number, basis),
            Err(_) => Fact::Unknown("-XX:ActiveProcessorCount is no number".to_owned()),
        },
        None => by_default(
            limited_cpus(view),
            "since JDK 10 (and 8u191) it takes the CPU limit, rounded up",
        ),
    };
    let collectors = collectors(view, &options, processors.value().copied());
    let mut pools = vec![pool("-XX:ActiveProcessorCount", processors, true)];
    pools.extend(collectors.map(|threads| pool("-XX:ParallelGCThreads", threads, true)));
    Some(Runtime {
        language: Language::Jvm,
        version: None,
        pools,
        memory_limit: Some(heap(&options)),
        go: None,
    })
}

/// Threads that collect at once, where there are any: HotSpot starts them one by one as it has a use
/// for them (`UseDynamicNumberOfGCThreads`), so that those that are there are not all that may be.
fn collectors(view: &View, options: &Options, processors: Option<u64>) -> Option<Fact<u64>> {
    let there = view.threads_named("GC Thread#") + view.threads_named("ParGC Thread#");
    let set = last(options, "-XX:ParallelGCThreads=");
    // 0 stands for the default.
    let set = set.and_then(|(value, basis)| Some((value.parse().ok()?, basis)));
    let (value, basis) = match set.filter(|(threads, _)| *threads > 0) {
        Some(set) => set,
        // Without such threads it is a collector that has none.
        None if there == 0 => return None,
        None => (processors.map(by_processors)?, Basis::Defaults),
    };
    Some(Fact::Known {
        value,
        basis,
        note: format!("{there} of them have been started so far"),
    })
}

/// How many there are by default (`nof_parallel_worker_threads` in runtime/vm_version.cpp, with its
/// numbers for x86-64 and aarch64).
const fn by_processors(processors: u64) -> u64 {
    if processors <= 8 {
        processors
    } else {
        8 + (processors - 8).saturating_mul(5) / 8
    }
}

/// The largest heap. What a JVM takes besides (metaspace, threads, code, buffers) is not in it.
fn heap(options: &Options) -> Fact<Option<u64>> {
    let known = last_of(options, &["-Xmx", "-XX:MaxHeapSize="]);
    if let Some((value, basis)) = known {
        return match size(value) {
            Some(bytes) => Fact::Known {
                value: Some(bytes),
                basis,
                note: "of the heap alone".to_owned(),
            },
            None => Fact::Unknown("-Xmx is no size".to_owned()),
        };
    }
    let share = last(options, "-XX:MaxRAMPercentage=").map_or("25 % by default", |(text, _)| text);
    Fact::Unknown(format!("no -Xmx; a share of the memory limit ({share})"))
}

fn options(view: &View) -> Vec<(String, Basis)> {
    let mut options = Vec::new();
    let variable = |name: &str, options: &mut Vec<(String, Basis)>| {
        let words = view.variable(name).unwrap_or_default().split_whitespace();
        options.extend(words.map(|word| (word.to_owned(), Basis::Environment)));
    };
    variable("JAVA_TOOL_OPTIONS", &mut options);
    variable("JDK_JAVA_OPTIONS", &mut options);
    // What follows the main class or the jar belongs to the program; options begin with a dash.
    let mut arguments = view.arguments.iter().skip(1);
    while let Some(argument) = arguments.next() {
        if matches!(
            argument.as_str(),
            "-cp" | "-classpath" | "--class-path" | "-p" | "-m"
        ) {
            arguments.next();
        } else if argument == "-jar" || !argument.starts_with('-') {
            break;
        }
        options.push((argument.clone(), Basis::CommandLine));
    }
    variable("_JAVA_OPTIONS", &mut options);
    options
}

fn last<'a>(options: &'a Options, start: &str) -> Option<(&'a str, Basis)> {
    last_of(options, &[start])
}

/// The last one of those that mean the same.
fn last_of<'a>(options: &'a Options, starts: &[&str]) -> Option<(&'a str, Basis)> {
    options.iter().rev().find_map(|(option, basis)| {
        let value = starts.iter().find_map(|start| option.strip_prefix(start))?;
        Some((value, *basis))
    })
}

/// A size as HotSpot reads it: `512m`, `2G`, bytes without a unit.
fn size(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let shift = match text[digits..].to_ascii_lowercase().as_str() {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_option_counts() {
        let arguments = [
            "java",
            "-XX:ActiveProcessorCount=4",
            "-Xmx1g",
            "-jar",
            "-Xmx7g",
        ];
        let variables = [
            ("_JAVA_OPTIONS", "-Xmx512m"),
            ("JAVA_TOOL_OPTIONS", "-Xmx2g"),
        ];
        let found = look(&View::sample("java", &arguments, &variables)).unwrap();
        let threads = &found.pools[0].threads;
        assert_eq!(threads, &Fact::known(4, Basis::CommandLine));
        let limit = found.memory_limit.unwrap();
        assert_eq!(limit.value(), Some(&Some(512 << 20)));
        assert_eq!(limit.basis(), Some(Basis::Environment));
    }

    #[test]
    fn without_options_the_limit_decides() {
        let mut view = View::sample("java", &["java", "-jar", "x.jar"], &[]);
        view.quota_cpus = Some(1.5);
        let found = look(&view).unwrap();
        assert_eq!(found.pools[0].threads.value(), Some(&2));
        assert_eq!(found.pools[0].threads.basis(), Some(Basis::Defaults));
        assert_eq!(found.pools.len(), 1, "no thread collects beside others");
        assert!(look(&View::sample("sh", &["sh"], &[])).is_none());
    }

    #[test]
    fn collectors_that_are_not_started_yet_count() {
        let of = |arguments: &[&str]| {
            let mut view = View::sample("java", arguments, &[]);
            view.threads = vec!["java".to_owned(), "GC Thread#0".to_owned()];
            look(&view).unwrap().pools[1].threads.clone()
        };
        // The sample may run on 8 CPUs.
        let by_default = of(&["java"]);
        assert_eq!(by_default.value(), Some(&8));
        assert_eq!(by_default.basis(), Some(Basis::Defaults));
        let many = of(&["java", "-XX:ActiveProcessorCount=16"]);
        assert_eq!(many.value(), Some(&13));
        let set = of(&["java", "-XX:ParallelGCThreads=5"]);
        assert_eq!(
            (set.value(), set.basis()),
            (Some(&5), Some(Basis::CommandLine))
        );
        assert_eq!(of(&["java", "-XX:ParallelGCThreads=0"]).value(), Some(&8));
    }
}
