//! The one direction of imports between the layers of `tracer-userspace`.

use std::path::{Component, Path};

use super::{Remarks, code};

/// The layers: a module imports from itself and from layers further up in this list, never from
/// another module of its own layer or from one further down.
const LAYERS: [&[&str]; 6] = [
    &["model"],
    &["events"],
    &["kernel", "identity", "runtimes", "analyse"],
    &["sinks"],
    &["pipeline"],
    &["cli"],
];

/// Files that belong to no layer: they name all modules.
const ROOTS: [&str; 2] = ["lib.rs", "main.rs"];

/// Where the rule holds.
const SOURCES: &str = "tracer-userspace/src";

/// What is imported against the direction.
pub fn check(file: &Path, text: &str) -> Remarks {
    let mut remarks = Remarks::new();
    let Ok(inside) = file.strip_prefix(SOURCES) else {
        return remarks;
    };
    let path = module_path(inside);
    let Some(own) = path.first() else {
        return remarks;
    };
    let Some(own_layer) = layer(own) else {
        let message = format!(
            "the module `{own}` is in no layer: move it into one, or give it a place in LAYERS of \
             the imports rule of tidy, and say so in docs/architecture.md"
        );
        return vec![(1, message)];
    };
    let code = code::without_comments_and_literals(text);
    for (line, target) in references(&code, path.len()) {
        let Some(its_layer) = layer(&target) else {
            continue;
        };
        if target == *own || its_layer < own_layer {
            continue;
        }
        let message = if its_layer == own_layer {
            format!(
                "`{own}` imports `{target}` of the same layer: move what both need into a layer \
                 before, or let `pipeline` join them"
            )
        } else {
            format!(
                "`{own}` imports `{target}` of a later layer: hand the thing in from there, or \
                 move it into a layer before"
            )
        };
        remarks.push((line, message));
    }
    remarks
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|modules| modules.contains(&module))
}

/// The path of the module in a file; empty for the crate's roots.
fn module_path(inside: &Path) -> Vec<String> {
    if ROOTS.iter().any(|root| inside == Path::new(root)) {
        return Vec::new();
    }
    let mut path: Vec<String> = inside
        .with_extension("")
        .components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        })
        .collect();
    if path.len() > 1 && path.last().is_some_and(|name| name == "mod") {
        path.pop();
    }
    path
}

/// The modules at the crate's root that code names, with the line: by `crate::` or the crate's
/// name, or by as many `super::` as lead there from a module of that depth.
fn references(code: &str, depth: usize) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let starts = ["crate::", "limitscope::"];
    for start in starts {
        for (at, _) in code.match_indices(start) {
            if !code[..at].ends_with(code::is_word) {
                names(code, at + start.len(), &mut found);
            }
        }
    }
    let step = "super::";
    let mut after = 0;
    while let Some(at) = code[after..].find(step).map(|at| at + after) {
        let mut end = at;
        while code[end..].starts_with(step) {
            end += step.len();
        }
        after = end;
        if (end - at) / step.len() >= depth && !code[..at].ends_with(code::is_word) {
            names(code, end, &mut found);
        }
    }
    found.sort();
    found.dedup();
    found
}

/// The first names of the path or group of paths at a place.
fn names(code: &str, at: usize, found: &mut Vec<(usize, String)>) {
    let rest = &code[at..];
    if !rest.trim_start().starts_with('{') {
        found.push((line_of(code, at), first_name(rest)));
        return;
    }
    let mut depth = 0;
    for (offset, c) in rest.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return;
        }
        if depth == 1 && matches!(c, '{' | ',') {
            let path = &rest[offset + 1..];
            let start = at + offset + 1 + (path.len() - path.trim_start().len());
            found.push((line_of(code, start), first_name(path)));
        }
    }
}

fn first_name(path: &str) -> String {
    path.trim_start()
        .chars()
        .take_while(|&c| code::is_word(c))
        .collect()
}

fn line_of(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(file: &str, text: &str) -> Vec<usize> {
        let file = Path::new(SOURCES).join(file);
        check(&file, text)
            .into_iter()
            .map(|(line, _)| line)
            .collect()
    }

    #[test]
    fn earlier_layers_may_be_imported() {
        let text = "use crate::model::Event;\nuse crate::{events, model::{self, Plan}};\n\
                    fn a() { crate::kernel::b(); self::b::c(); }\nuse crate::Error;\n";
        assert_eq!(lines("kernel/mod.rs", text), NONE);
        assert_eq!(lines("kernel/btf.rs", text), NONE);
        assert_eq!(
            lines(
                "cli/run.rs",
                "use crate::{pipeline::Pipeline, sinks, kernel};"
            ),
            NONE
        );
        assert_eq!(
            lines("pipeline.rs", "use crate::{sinks, identity::Index};"),
            NONE
        );
    }

    #[test]
    fn the_same_layer_may_not() {
        assert_eq!(lines("kernel/mod.rs", "\nuse crate::identity::Index;"), [2]);
        assert_eq!(
            lines("analyse/runq.rs", "fn a(b: &crate::kernel::Clock) {}"),
            [1]
        );
    }

    #[test]
    fn later_layers_may_not() {
        assert_eq!(lines("model/mod.rs", "use crate::events;"), [1]);
        assert_eq!(lines("sinks/json.rs", "use limitscope::pipeline::A;"), [1]);
        let group = "use crate::{\n    model::{A, B},\n    cli::run,\n    events,\n};";
        assert_eq!(lines("sinks/json.rs", group), [3]);
        assert_eq!(lines("pipeline.rs", "use crate::cli;"), [1]);
    }

    #[test]
    fn roads_over_super_count() {
        assert_eq!(lines("kernel/mod.rs", "use super::identity::Index;"), [1]);
        assert_eq!(
            lines("kernel/btf.rs", "use super::super::identity::Index;"),
            [1]
        );
        // A module of the same name, inside.
        assert_eq!(lines("kernel/btf.rs", "use super::identity::Index;"), NONE);
        assert_eq!(lines("kernel.rs", "use super::{model, sinks};"), [1]);
    }

    #[test]
    fn comments_literals_and_roots_are_free() {
        assert_eq!(
            lines(
                "model/mod.rs",
                "// crate::cli\nconst A: &str = \"crate::cli\";"
            ),
            NONE
        );
        assert_eq!(lines("lib.rs", "pub use crate::cli::run;"), NONE);
        assert_eq!(lines("main.rs", "use limitscope::cli;"), NONE);
        assert_eq!(
            check(Path::new("xtask/src/main.rs"), "use crate::cli;").len(),
            0
        );
    }

    #[test]
    fn a_module_without_layer_is_told() {
        assert_eq!(lines("util.rs", "use crate::model;"), [1]);
        assert_eq!(lines("util/text.rs", ""), [1]);
    }
}
