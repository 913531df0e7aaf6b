//! Java virtual machines (HotSpot).
//!
//! Options come from `JAVA_TOOL_OPTIONS`, then the launcher's `JDK_JAVA_OPTIONS`, the command line
//! and `_JAVA_OPTIONS`; the last one counts.

use super::{by_default, limited_cpus, pool};
use crate::{
    model::runtime::{Basis, Fact, Language, Runtime},
    runtimes::view::View,
};

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
    let mut pools = vec![pool("-XX:ActiveProcessorCount", processors, true)];
    let collectors = view.threads_named("GC Thread#") + view.threads_named("ParGC Thread#");
    if collectors > 0 {
        let threads = Fact::known(collectors, Basis::ThreadNames);
        pools.push(pool("-XX:ParallelGCThreads", threads, true));
    } else if let Some((value, basis)) = last(&options, "-XX:ParallelGCThreads=")
        && let Ok(number) = value.parse()
    {
        pools.push(pool(
            "-XX:ParallelGCThreads",
            Fact::known(number, basis),
            true,
        ));
    }
    Some(Runtime {
        language: Language::Jvm,
        version: None,
        pools,
        memory_limit: Some(heap(&options)),
        go: None,
    })
}

/// The largest heap. What a JVM takes besides (metaspace, threads, code, buffers) is not in it.
fn heap(options: &[(String, Basis)]) -> Fact<Option<u64>> {
    let known = last(options, "-Xmx").or_else(|| last(options, "-XX:MaxHeapSize="));
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

fn last<'a>(options: &'a [(String, Basis)], start: &str) -> Option<(&'a str, Basis)> {
    options
        .iter()
        .rev()
        .find_map(|(option, basis)| Some((option.strip_prefix(start)?, *basis)))
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
        assert!(look(&View::sample("sh", &["sh"], &[])).is_none());
    }
}
