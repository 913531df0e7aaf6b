//! Python: threads of one interpreter take turns, so what counts are the processes of a server.

use super::{argument, by_variable, pool};
use crate::{
    model::runtime::{Basis, Fact, Language, Parallelism, Runtime},
    runtimes::view::View,
};

/// Servers that start worker processes, and their option for how many.
const SERVERS: &[(&str, &[&str], &str)] = &[
    ("gunicorn", &["-w", "--workers"], "gunicorn --workers"),
    ("uvicorn", &["--workers"], "uvicorn --workers"),
    ("celery", &["-c", "--concurrency"], "celery --concurrency"),
    ("uwsgi", &["-p", "--processes"], "uwsgi --processes"),
];

/// What is told, where it is Python.
pub fn look(view: &View) -> Option<Runtime> {
    let program = view.program.as_deref().unwrap_or_default();
    if !program.starts_with("python") && !view.has_library("libpython") {
        return None;
    }
    Some(Runtime {
        language: Language::Python,
        version: program
            .strip_prefix("python")
            .filter(|version| version.contains('.'))
            .map(str::to_owned),
        pools: server(view).into_iter().collect(),
        memory_limit: None,
        go: None,
    })
}

fn server(view: &View) -> Option<Parallelism> {
    let is = |name: &str| {
        let mut first = view.arguments.iter().take(4);
        first.any(|argument| argument.rsplit('/').next() == Some(name))
    };
    let (_, options, setting) = SERVERS.iter().find(|(name, ..)| is(name))?;
    let given = options.iter().find_map(|option| {
        argument(view.arguments.iter().map(String::as_str), option)?
            .parse()
            .ok()
    });
    let workers = match (given, by_variable(view, "WEB_CONCURRENCY")) {
        (Some(workers), _) => Fact::known(workers, Basis::CommandLine),
        (None, Some(workers)) => Fact::known(workers, Basis::Environment),
        (None, None) => Fact::Unknown("neither on the command line nor by WEB_CONCURRENCY".into()),
    };
    Some(pool(setting, workers, false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_tell_their_workers() {
        let arguments = ["python3", "/usr/bin/gunicorn", "-w", "9", "app:app"];
        let found = look(&View::sample("python3.11", &arguments, &[])).unwrap();
        assert_eq!(found.version.as_deref(), Some("3.11"));
        assert_eq!(found.pools[0].threads, Fact::known(9, Basis::CommandLine));
        let variables = [("WEB_CONCURRENCY", "5")];
        let found = look(&View::sample(
            "python3",
            &["python3", "-m", "uvicorn"],
            &variables,
        ));
        let threads = &found.unwrap().pools[0].threads;
        assert_eq!(threads, &Fact::known(5, Basis::Environment));
        let plain = look(&View::sample("python3", &["python3", "x.py"], &[])).unwrap();
        assert!(plain.pools.is_empty());
    }
}
