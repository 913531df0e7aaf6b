//! Rules about a member's `Cargo.toml`.

use super::Remarks;

/// What the rules say about a manifest.
pub fn check(text: &str) -> Remarks {
    let mut remarks = Remarks::new();
    if !inherits_lints(text) {
        let message =
            "the workspace's lints do not hold here: add `[lints]` with `workspace = true`";
        remarks.push((1, message.to_owned()));
    }
    let mut table = "";
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.starts_with('[') {
            table = line;
        } else if table.ends_with("dependencies]") && names_version(line) {
            let message = "a dependency with a version of its own: give it one in \
                           [workspace.dependencies] and write `workspace = true` here";
            remarks.push((at + 1, message.to_owned()));
        }
    }
    remarks
}

fn inherits_lints(text: &str) -> bool {
    let mut table = "";
    text.lines().map(str::trim).any(|line| {
        if line.starts_with('[') {
            table = line;
        }
        let line: String = line.split_whitespace().collect();
        table == "[lints]" && line == "workspace=true"
    })
}

fn names_version(line: &str) -> bool {
    let Some((_, value)) = line.split_once('=') else {
        return false;
    };
    !line.starts_with('#') && (value.trim().starts_with('"') || value.contains("version"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    fn lines(text: &str) -> Vec<usize> {
        check(text).into_iter().map(|(line, _)| line).collect()
    }

    const LINTS: &str = "[lints]\nworkspace = true\n";

    #[test]
    fn lints_are_inherited() {
        assert_eq!(lines(LINTS), NONE);
        assert_eq!(
            lines("[package]\nname = \"a\"\n\n[lints]\n\nworkspace=true\n"),
            NONE
        );
        assert_eq!(lines("[package]\nname = \"a\"\n"), [1]);
        assert_eq!(lines("[lints]\n\n[other]\nworkspace = true\n"), [1]);
        assert_eq!(lines("[lints.rust]\nunused = \"allow\"\n"), [1]);
    }

    #[test]
    fn versions_are_the_workspaces() {
        let with = |line: &str| lines(&format!("{LINTS}[dependencies]\n# a = \"1\"\n{line}\n"));
        assert_eq!(with("anyhow.workspace = true"), NONE);
        assert_eq!(with("aya = { workspace = true, features = [\"x\"] }"), NONE);
        assert_eq!(with("anyhow = \"1\""), [5]);
        assert_eq!(with("aya = { version = \"1\" }"), [5]);
    }
}
