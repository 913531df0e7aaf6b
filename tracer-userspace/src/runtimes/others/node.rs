//! Node.js: one thread runs JavaScript; libuv and V8 have pools beside it.

use super::{argument, by_default, by_variable, pool};
use crate::{
    model::runtime::{Basis, Fact, Language, Runtime},
    runtimes::view::View,
};

/// libuv's pool without `UV_THREADPOOL_SIZE` (src/threadpool.c), and V8's without
/// `--v8-pool-size` (Node's documentation).
const DEFAULT_POOL: u64 = 4;

/// What is told, where it is Node.js.
pub fn look(view: &View) -> Option<Runtime> {
    if !matches!(view.program.as_deref(), Some("node" | "nodejs")) {
        return None;
    }
    let from_environment = view.variable("NODE_OPTIONS").unwrap_or_default();
    let given = |name: &str| {
        let line = view.arguments.iter().skip(1).map(String::as_str);
        let line = argument(line, name).map(|value| (value, Basis::CommandLine));
        line.or_else(|| {
            argument(from_environment.split_whitespace(), name)
                .map(|value| (value, Basis::Environment))
        })
    };
    let workers =
        given("--v8-pool-size").and_then(|(value, basis)| Some((value.parse().ok()?, basis)));
    let workers = workers.map_or_else(
        || by_default(Some(DEFAULT_POOL), "for garbage collection and compilation"),
        |(value, basis)| Fact::known(value, basis),
    );
    let pool_size = by_variable(view, "UV_THREADPOOL_SIZE").map_or_else(
        || by_default(Some(DEFAULT_POOL), "for files, names and crypto"),
        |value| Fact::known(value, Basis::Environment),
    );
    let heap = given("--max-old-space-size")
        .or_else(|| given("--max_old_space_size"))
        .and_then(|(value, basis)| Some((value.parse::<u64>().ok()?.checked_mul(1 << 20)?, basis)));
    Some(Runtime {
        language: Language::Node,
        version: None,
        pools: vec![
            pool("--v8-pool-size", workers, false),
            pool("UV_THREADPOOL_SIZE", pool_size, false),
        ],
        memory_limit: Some(heap.map_or_else(
            || Fact::Unknown("no --max-old-space-size; V8 chooses by the machine".to_owned()),
            |(bytes, basis)| Fact::Known {
                value: Some(bytes),
                basis,
                note: "of the old generation alone".to_owned(),
            },
        )),
        go: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pools_have_defaults_and_settings() {
        let variables = [
            ("UV_THREADPOOL_SIZE", "16"),
            ("NODE_OPTIONS", "--max-old-space-size=256 --v8-pool-size 2"),
        ];
        let arguments = ["node", "--v8-pool-size=3", "x.js"];
        let found = look(&View::sample("node", &arguments, &variables)).unwrap();
        assert_eq!(found.pools[0].threads, Fact::known(3, Basis::CommandLine));
        assert_eq!(found.pools[1].threads, Fact::known(16, Basis::Environment));
        assert_eq!(found.memory_limit.unwrap().value(), Some(&Some(256 << 20)));
        let plain = look(&View::sample("node", &["node"], &[])).unwrap();
        assert_eq!(plain.pools[1].threads.value(), Some(&4));
        assert_eq!(plain.pools[1].threads.basis(), Some(Basis::Defaults));
    }
}
