//! What the verifier took for each program on each kernel.

use super::{
    results::{GuestResults, Program},
    table::{Lines, line},
};

/// How many instructions the verifier goes through at most (`BPF_COMPLEXITY_LIMIT_INSNS` in
/// include/linux/bpf.h).
const LIMIT: u64 = 1_000_000;
/// From here on a program is near it: another compiler or kernel may take it over.
const NEAR: u64 = LIMIT * 7 / 10;

/// Programs in lines, guests in columns: instructions gone through, and milliseconds to load.
pub fn table(guests: &[GuestResults]) -> Lines {
    let mut names: Vec<&str> = programs(guests).map(|(_, p)| p.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let mut lines = vec![line(["program"])];
    let checked = || {
        guests
            .iter()
            .filter(|guest| !guest.check.programs.is_empty())
    };
    for guest in checked() {
        let version = match guest.cgroups.name() {
            "v2" => String::new(),
            other => format!(" {other}"),
        };
        lines[0].push(format!("{}{version}", guest.kernel));
    }
    for name in names {
        let mut cells = line([name]);
        for guest in checked() {
            let program = guest.check.programs.iter().find(|p| p.name == name);
            cells.push(program.map_or_else(|| "-".to_owned(), cell));
        }
        lines.push(cells);
    }
    lines
}

fn cell(program: &Program) -> String {
    let count = program
        .verified_instructions
        .map_or_else(|| "?".to_owned(), |count| count.to_string());
    match program.load_ns {
        Some(ns) => format!("{count} / {:.1}", ns as f64 / 1e6),
        None => count,
    }
}

/// A line for each program that is near the verifier's limit.
pub fn warnings(guests: &[GuestResults]) -> Vec<String> {
    programs(guests)
        .filter_map(|(guest, program)| {
            let count = program.verified_instructions.filter(|n| *n >= NEAR)?;
            Some(format!(
                "{} cgroup {}: the verifier goes through {count} of at most {LIMIT} instructions \
                 for {}",
                guest.kernel,
                guest.cgroups.name(),
                program.name
            ))
        })
        .collect()
}

fn programs(guests: &[GuestResults]) -> impl Iterator<Item = (&GuestResults, &Program)> {
    guests
        .iter()
        .flat_map(|guest| guest.check.programs.iter().map(move |p| (guest, p)))
}

#[cfg(test)]
mod tests {
    use super::super::{guest::Cgroups, results::Check};
    use super::*;

    #[test]
    fn programs_near_the_limit_are_warned_of() {
        let program = |name: &str, count| Program {
            name: name.to_owned(),
            verified_instructions: count,
            load_ns: Some(2_500_000),
        };
        let guest = GuestResults {
            name: "6.1.170 cgroup v1".to_owned(),
            slot: 0,
            kernel: "6.1".to_owned(),
            cgroups: Cgroups::V1,
            check: Check {
                plan: None,
                programs: vec![program("b", Some(710_000)), program("a", None)],
            },
            rows: Vec::new(),
            boot_seconds: None,
            wall_seconds: 0.0,
            cpu_seconds: 0.0,
        };
        let guests = [guest];
        assert_eq!(
            table(&guests),
            [
                line(["program", "6.1 v1"]),
                line(["a", "? / 2.5"]),
                line(["b", "710000 / 2.5"])
            ]
        );
        let warnings = warnings(&guests);
        assert!(warnings.len() == 1 && warnings[0].ends_with("for b"));
    }
}
