//! What a process shows of itself without a look into its memory.

use std::collections::{BTreeSet, HashMap};

use super::process::{MOST_THREADS, Process, ProcessError};
use crate::model::{limits::CpuLimit, process_status};

/// Variables of the environment that say how much a runtime uses. No other is kept.
const VARIABLES: &[&str] = &[
    "GOMAXPROCS",
    "GOMEMLIMIT",
    "GODEBUG",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "_JAVA_OPTIONS",
    "NODE_OPTIONS",
    "UV_THREADPOOL_SIZE",
    "PYTHON_CPU_COUNT",
    "WEB_CONCURRENCY",
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "OPENBLAS_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "DOTNET_PROCESSOR_COUNT",
    "COMPlus_PROCESSOR_COUNT",
    "DOTNET_ThreadPool_ForceMaxWorkerThreads",
    "DOTNET_GCHeapHardLimit",
    "COMPlus_GCHeapHardLimit",
    "TOKIO_WORKER_THREADS",
    "RAYON_NUM_THREADS",
];

/// The views of one process, taken once.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Name of its program's file.
    pub program: Option<String>,
    /// Its arguments, the program's own name first.
    pub arguments: Vec<String>,
    /// Names of its threads.
    pub threads: Vec<String>,
    /// Names of the libraries that it has mapped.
    pub libraries: BTreeSet<String>,
    /// CPUs that it may run on.
    pub cpus_allowed: Option<u64>,
    /// Memory that cannot be given back.
    pub memory_held_bytes: Option<u64>,
    /// The CPU limit of its cgroup and those above it, in CPUs.
    pub quota_cpus: Option<f64>,
    /// That of its cgroup alone.
    pub own_quota_cpus: Option<f64>,
    variables: HashMap<String, String>,
}

impl View {
    /// Looks at a process. What may not be read is told in `missing`.
    pub fn of(process: &Process, limit: Option<&CpuLimit>, missing: &mut Vec<String>) -> Self {
        let mut or_missing = |result: Result<Vec<String>, ProcessError>| {
            result.unwrap_or_else(|error| {
                missing.push(error.to_string());
                Vec::new()
            })
        };
        let arguments = or_missing(process.strings("cmdline"));
        let environment = or_missing(process.strings("environ"));
        let maps = or_missing(process.read("maps").map(|maps| library_names(&maps)));
        let status = process.read("status").unwrap_or_default();
        Self {
            program: process.exe_name(),
            arguments,
            threads: process.thread_names(),
            libraries: maps.into_iter().collect(),
            cpus_allowed: cpus_allowed(&status),
            memory_held_bytes: process_status::held_bytes(&String::from_utf8_lossy(&status)),
            quota_cpus: limit.map(|limit| limit.cpus),
            own_quota_cpus: limit.and_then(|limit| limit.own_cpus),
            variables: chosen(environment),
        }
    }

    /// A variable of its environment at the start.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// Whether a library whose name begins so is mapped.
    pub fn has_library(&self, start: &str) -> bool {
        self.libraries
            .range(start.to_owned()..)
            .next()
            .is_some_and(|name| name.starts_with(start))
    }

    /// Threads whose name begins so.
    pub fn threads_named(&self, start: &str) -> u64 {
        let named = self.threads.iter().filter(|name| name.starts_with(start));
        named.count() as u64
    }

    /// How many threads it has; `None` where that is not known, or more than are counted.
    pub fn thread_count(&self) -> Option<u64> {
        let count = self.threads.len();
        (1..MOST_THREADS).contains(&count).then_some(count as u64)
    }

    /// For tests: a process with these arguments and variables.
    #[cfg(test)]
    pub fn sample(program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        Self {
            program: Some(program.to_owned()),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            cpus_allowed: Some(8),
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..Self::default()
        }
    }
}

fn chosen(environment: Vec<String>) -> HashMap<String, String> {
    environment
        .into_iter()
        .filter_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            VARIABLES
                .contains(&name)
                .then(|| (name.to_owned(), value.to_owned()))
        })
        .collect()
}

fn library_names(maps: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(maps);
    let names: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.rsplit_once('/'))
        .map(|(_, name)| name.trim_end_matches(" (deleted)"))
        .filter(|name| name.contains(".so"))
        .collect();
    names.into_iter().map(str::to_owned).collect()
}

/// Number of CPUs in `Cpus_allowed_list`, e.g. `0-3,8`.
fn cpus_allowed(status: &[u8]) -> Option<u64> {
    let text = String::from_utf8_lossy(status);
    let list = text
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    list.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            last.checked_sub(first).map(|count| count + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_asked_for_is_kept_of_an_environment() {
        let kept = chosen(vec![
            "PASSWORD=x".into(),
            "GOMAXPROCS=3".into(),
            "odd".into(),
        ]);
        assert_eq!(kept.len(), 1);
        assert_eq!(kept["GOMAXPROCS"], "3");
    }

    #[test]
    fn cpus_and_libraries_are_counted() {
        assert_eq!(
            cpus_allowed(b"Name:\ta\nCpus_allowed_list:\t0-3,8\n"),
            Some(5)
        );
        assert_eq!(cpus_allowed(b"Cpus_allowed_list:\t3-1\n"), None);
        assert_eq!(cpus_allowed(b"Name:\ta\n"), None);
        let maps = b"7f-80 r--p 0 fe:00 1 /usr/lib/jvm/lib/server/libjvm.so\n\
                     80-81 r--p 0 fe:00 1 /usr/lib/libjvm.so (deleted)\n81-82 rw-p 0 00:00 0 [heap]\n";
        assert_eq!(library_names(maps), ["libjvm.so"]);
    }
}
