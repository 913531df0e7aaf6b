//! Libraries of native programs that run threads: OpenMP and linear algebra, Tokio and Rayon.

use super::{by_default, by_variable, pool};
use crate::{
    model::runtime::{Basis, Fact, Language, Parallelism, Runtime},
    runtimes::view::View,
};

/// Libraries, by the beginning of their file's name, and the variables that set their threads, the
/// first one that is set counts.
const LIBRARIES: &[(&str, &[&str])] = &[
    ("libgomp", &["OMP_NUM_THREADS"]),
    ("libomp", &["OMP_NUM_THREADS"]),
    ("libiomp5", &["OMP_NUM_THREADS"]),
    (
        "libopenblas",
        &[
            "OPENBLAS_NUM_THREADS",
            "GOTO_NUM_THREADS",
            "OMP_NUM_THREADS",
        ],
    ),
    // NumPy and SciPy bring it under names of their own.
    (
        "libscipy_openblas",
        &[
            "OPENBLAS_NUM_THREADS",
            "GOTO_NUM_THREADS",
            "OMP_NUM_THREADS",
        ],
    ),
    ("libmkl_", &["MKL_NUM_THREADS", "OMP_NUM_THREADS"]),
    ("libblis", &["BLIS_NUM_THREADS", "OMP_NUM_THREADS"]),
];

/// Names that Tokio gives its threads unless told otherwise, cut by the kernel to 15 characters.
const TOKIO_THREADS: [&str; 2] = ["tokio-runtime-w", "tokio-rt-worker"];

/// What is told.
pub fn look(view: &View) -> Vec<Runtime> {
    let runtime = |language, pools| Runtime {
        language,
        version: None,
        pools,
        memory_limit: None,
        go: None,
    };
    let mut found = Vec::new();
    let libraries: Vec<Parallelism> = LIBRARIES
        .iter()
        .filter(|(library, _)| view.has_library(library))
        .map(|(_, variables)| of_library(view, variables))
        .collect();
    if !libraries.is_empty() {
        found.push(runtime(Language::OpenMp, libraries));
    }
    if let Some(pool) = tokio(view) {
        found.push(runtime(Language::Tokio, vec![pool]));
    }
    if let Some(threads) = by_variable(view, "RAYON_NUM_THREADS") {
        let threads = Fact::known(threads, Basis::Environment);
        found.push(runtime(
            Language::Rayon,
            vec![pool("RAYON_NUM_THREADS", threads, true)],
        ));
    }
    found
}

fn of_library(view: &View, variables: &[&'static str]) -> Parallelism {
    let set = variables
        .iter()
        .find_map(|name| Some((*name, by_variable(view, name)?)));
    match set {
        Some((name, threads)) => pool(name, Fact::known(threads, Basis::Environment), true),
        None => pool(
            variables.first().copied().unwrap_or("OMP_NUM_THREADS"),
            by_default(
                view.cpus_allowed,
                "it uses every CPU that it may run on, whatever the limit",
            ),
            true,
        ),
    }
}

fn tokio(view: &View) -> Option<Parallelism> {
    let named: u64 = TOKIO_THREADS
        .iter()
        .map(|name| view.threads_named(name))
        .sum();
    if let Some(threads) = by_variable(view, "TOKIO_WORKER_THREADS").filter(|_| named > 0) {
        let threads = Fact::known(threads, Basis::Environment);
        return Some(pool("TOKIO_WORKER_THREADS", threads, true));
    }
    (named > 0).then(|| {
        let threads = Fact::Known {
            value: named,
            basis: Basis::ThreadNames,
            note: "threads for blocking work have the same name, so this is the most".to_owned(),
        };
        pool("TOKIO_WORKER_THREADS", threads, false)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_known_by_their_files() {
        let mut view = View::sample("python3", &["python3"], &[("OMP_NUM_THREADS", "4,2")]);
        assert!(
            look(&view).is_empty(),
            "nothing that would use the variable"
        );
        view.libraries
            .insert("libscipy_openblas64_-56.so".to_owned());
        let found = look(&view);
        assert_eq!(found[0].pools[0].setting, "OMP_NUM_THREADS");
        assert_eq!(
            found[0].pools[0].threads,
            Fact::known(4, Basis::Environment)
        );
    }

    #[test]
    fn tokio_is_known_by_its_threads() {
        let mut view = View::sample("server", &["server"], &[("RAYON_NUM_THREADS", "0")]);
        view.threads = vec![
            "server".into(),
            "tokio-runtime-w".into(),
            "tokio-runtime-w".into(),
        ];
        let found = look(&view);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].pools[0].threads.value(), Some(&2));
    }
}
