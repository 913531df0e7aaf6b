//! Relative links in Markdown files lead somewhere.

use std::path::Path;

use super::Remarks;

/// The links of a file that lead nowhere.
pub fn check(root: &Path, file: &Path, text: &str) -> Remarks {
    let folder = file.parent().unwrap_or(root);
    links(text)
        .into_iter()
        .filter(|(_, link)| {
            let path = link.split(['#', '?']).next().unwrap_or_default();
            // An absolute link is one inside the repository.
            let target = match path.strip_prefix('/') {
                Some(path) => root.join(path),
                None => folder.join(path),
            };
            !path.is_empty() && !target.exists()
        })
        .map(|(line, link)| {
            (
                line,
                format!("the link `{link}` leads nowhere: correct or remove it"),
            )
        })
        .collect()
}

/// The links to files, with their lines. Blocks and spans of code hold none.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut fence = None;
    for (at, line) in text.lines().enumerate() {
        let trimmed = line.trim_start();
        let mark = ["```", "~~~"]
            .into_iter()
            .find(|mark| trimmed.starts_with(mark));
        if let Some(mark) = mark {
            match fence {
                None => fence = Some(mark),
                Some(open) if open == mark => fence = None,
                Some(_) => {}
            }
            continue;
        }
        if fence.is_some() {
            continue;
        }
        let line: String = line.split('`').step_by(2).collect::<Vec<_>>().join("`");
        let inline = line.match_indices("](").filter_map(|(start, mark)| {
            let rest = &line[start + mark.len()..];
            Some(&rest[..rest.find(')')?])
        });
        let reference = line
            .starts_with('[')
            .then(|| line.split_once("]: ").map(|(_, target)| target))
            .flatten();
        for link in inline.chain(reference) {
            // A title may follow.
            let link = link.split_whitespace().next().unwrap_or_default();
            let link = link.trim_start_matches('<').trim_end_matches('>');
            let is_outside = link.starts_with("//")
                || link.split_once(':').is_some_and(|(scheme, _)| {
                    scheme
                        .chars()
                        .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c))
                });
            if !link.is_empty() && !is_outside {
                found.push((at + 1, link.to_owned()));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NONE: [usize; 0] = [];

    #[test]
    fn only_dead_links_are_told() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("docs")).unwrap();
        fs::write(root.path().join("docs/a.md"), "").unwrap();
        let lines = |file: &str, text: &str| -> Vec<usize> {
            let remarks = check(root.path(), &root.path().join(file), text);
            remarks.into_iter().map(|(line, _)| line).collect()
        };

        let good = "[a](docs/a.md) [b](docs/a.md#part \"title\") [c](https://example.org/x)\n\
                    [d](#here) [e](mailto:a@example.org) `[f](gone.md)`\n\
                    ```\n[g](gone.md)\n```\n[h]: docs/a.md\n[folder](docs)\n";
        assert_eq!(lines("README.md", good), NONE);
        assert_eq!(
            lines("docs/a.md", "[a](a.md) [b](../docs/a.md) [c](/docs/a.md)"),
            NONE
        );

        assert_eq!(lines("README.md", "\n[a](docs/gone.md)"), [2]);
        assert_eq!(lines("README.md", "[a](docs/a.md) and [b](gone.md#x)"), [1]);
        assert_eq!(lines("README.md", "[a]: gone.md"), [1]);
        assert_eq!(lines("docs/a.md", "[a](docs/a.md)"), [1]);
        assert_eq!(lines("README.md", "~~~\n```\n~~~\n[a](gone.md)"), [4]);
    }
}
