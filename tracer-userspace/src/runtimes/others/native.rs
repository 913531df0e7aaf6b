//! Libraries of native programs that run threads: OpenMP and linear algebra, Tokio and Rayon.
//!
//! A library that is mapped need not be in use, and a variable that is set need not be read. What
//! tells is the number of threads: all of these start theirs at the first use and keep them.

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
    if let Some(threads) = rayon(view) {
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
    let mut pool = match set {
        Some((name, threads)) => pool(name, Fact::known(threads, Basis::Environment), true),
        None => pool(
            variables.first().copied().unwrap_or("OMP_NUM_THREADS"),
            by_default(
                view.cpus_allowed,
                "it uses every CPU that it may run on, whatever the limit",
            ),
            true,
        ),
    };
    pool.threads = no_more_than_there_are(view, pool.threads);
    pool
}

/// A pool has no more threads than its process, that which uses it included.
fn no_more_than_there_are(view: &View, estimate: Fact<u64>) -> Fact<u64> {
    match (estimate, view.thread_count()) {
        (Fact::Known { value, basis, note }, Some(there)) if value > there => {
            let so_far = format!("that would be {value}; the process has {there} threads so far");
            let notes = [note, so_far];
            let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
            Fact::Known {
                value: there,
                basis,
                note: notes.join("; "),
            }
        }
        (estimate, _) => estimate,
    }
}

/// Rayon is linked into the program and gives its threads no names, so that nothing but their number
/// tells of it: a pool has as many as the variable says.
fn rayon(view: &View) -> Option<Fact<u64>> {
    let threads = by_variable(view, "RAYON_NUM_THREADS")?;
    (view.thread_count()? >= threads).then(|| Fact::Known {
        value: threads,
        basis: Basis::Environment,
        note: "if it uses Rayon, which cannot be seen from outside".to_owned(),
    })
}

fn tokio(view: &View) -> Option<Parallelism> {
    let named: u64 = TOKIO_THREADS
        .iter()
        .map(|name| view.threads_named(name))
        .sum();
    if let Some(threads) = by_variable(view, "TOKIO_WORKER_THREADS").filter(|_| named > 0) {
        // The program may have set another number, and then there are fewer of them.
        let threads = Fact::known(threads.min(named), Basis::Environment);
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
        let mut view = View::sample("server", &["server"], &[("TOKIO_WORKER_THREADS", "8")]);
        view.threads = vec!["server".into(), "tokio-rt-worker".into()];
        assert_eq!(look(&view)[0].pools[0].threads.value(), Some(&1));
    }

    fn with_threads(count: usize, variables: &[(&str, &str)]) -> View {
        let mut view = View::sample("solver", &["solver"], variables);
        view.threads = vec!["solver".to_owned(); count];
        view
    }

    #[test]
    fn a_library_that_is_merely_mapped_is_no_pool_of_all_cpus() {
        let of = |count, variables: &[(&str, &str)]| {
            let mut view = with_threads(count, variables);
            view.libraries.insert("libgomp.so.1".to_owned());
            look(&view)[0].pools[0].threads.clone()
        };
        // The sample may run on 8 CPUs.
        assert_eq!(of(1, &[]).value(), Some(&1));
        assert_eq!(of(8, &[]).value(), Some(&8));
        assert_eq!(of(20, &[]).value(), Some(&8));
        assert_eq!(of(3, &[("OMP_NUM_THREADS", "16")]).value(), Some(&3));
        assert_eq!(
            of(3, &[("OMP_NUM_THREADS", "2")]),
            Fact::known(2, Basis::Environment)
        );
        // Unknown, or more than are counted.
        assert_eq!(of(0, &[]).value(), Some(&8));
        let most = crate::runtimes::process::MOST_THREADS;
        assert_eq!(
            of(most, &[("OMP_NUM_THREADS", "5000")]).value(),
            Some(&5000)
        );
    }

    #[test]
    fn a_variable_alone_is_no_sign_of_rayon() {
        let variables = [("RAYON_NUM_THREADS", "4")];
        for count in 0..4 {
            assert!(look(&with_threads(count, &variables)).is_empty(), "{count}");
        }
        let found = look(&with_threads(5, &variables));
        assert_eq!(found[0].language, Language::Rayon);
        assert_eq!(found[0].pools[0].threads.value(), Some(&4));
    }
}
