//! Runtimes other than Go: what command line, environment and thread names tell of their pools.
//!
//! None of this is the value in force. A program may have set another, which cannot be read without
//! knowing each version's memory layout; so each value names what it is based on.

mod dotnet;
mod jvm;
mod native;
mod node;
mod python;

use super::view::View;
use crate::model::runtime::{Basis, Fact, Parallelism, Runtime};

/// What is found in one process; several where one has libraries of another, as NumPy in Python.
pub fn look(view: &View) -> Vec<Runtime> {
    let main = jvm::look(view)
        .or_else(|| dotnet::look(view))
        .or_else(|| node::look(view))
        .or_else(|| python::look(view));
    main.into_iter().chain(native::look(view)).collect()
}

/// A number of threads by a variable of the environment.
fn by_variable(view: &View, name: &str) -> Option<u64> {
    // OpenMP takes a list, a number for each level of nesting.
    let first = view.variable(name)?.split(',').next()?;
    first.trim().parse().ok().filter(|number| *number > 0)
}

/// A pool that was given a size.
const fn pool(setting: &'static str, threads: Fact<u64>, computes: bool) -> Parallelism {
    Parallelism {
        setting,
        threads,
        computes,
    }
}

/// What a runtime does without a setting.
fn by_default(value: Option<u64>, note: &str) -> Fact<u64> {
    value.map_or_else(
        || Fact::Unknown(format!("not set; {note}")),
        |value| Fact::Known {
            value,
            basis: Basis::Defaults,
            note: note.to_owned(),
        },
    )
}

/// CPUs for a runtime that rounds the limit up and takes no more than it may run on.
fn limited_cpus(view: &View) -> Option<u64> {
    let cpus = view.cpus_allowed?;
    Some(
        view.quota_cpus
            .map_or(cpus, |quota| (quota.ceil() as u64).clamp(1, cpus.max(1))),
    )
}

/// The last value of an argument `--name=value` or `--name value`.
fn argument<'a>(arguments: impl IntoIterator<Item = &'a str>, name: &str) -> Option<&'a str> {
    let mut found = None;
    let mut next = false;
    for argument in arguments {
        if next {
            found = Some(argument);
        }
        next = argument == name;
        if let Some(value) = argument
            .strip_prefix(name)
            .and_then(|rest| rest.strip_prefix('='))
        {
            found = Some(value);
        }
    }
    found
}
