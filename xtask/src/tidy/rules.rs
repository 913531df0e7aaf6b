//! Rules about one Rust file.

use std::path::Path;

use super::{Remarks, code};

/// The longest file that still reads as one thing.
const MOST_LINES: usize = 400;

/// Code that is not finished, or a test that is not run. Written in halves, as this file is
/// checked too.
const UNFINISHED: [&str; 3] = ["todo!", "unimplemented!", "dbg!"];
const MARKS: [&str; 2] = [concat!("FIX", "ME"), concat!("XX", "X")];

/// Ways to ask which version the kernel is.
const VERSIONS: [&str; 3] = ["uname", "kernel_version", "KernelVersion"];

/// What the rules say about a file.
pub fn check(file: &Path, text: &str) -> Remarks {
    let mut remarks = Remarks::new();
    if !text.starts_with("//!") {
        let message = "the file does not begin with `//!`: say in its first line what it is for";
        remarks.push((1, message.to_owned()));
    }
    let lines = text.lines().count();
    if lines > MOST_LINES {
        let message = format!("{lines} lines, and {MOST_LINES} are the most: split it by concern");
        remarks.push((MOST_LINES + 1, message));
    }
    let code = code::without_comments_and_literals(text);
    for word in UNFINISHED {
        for line in code::lines_with_word(&code, word) {
            remarks.push((
                line,
                format!("`{word}` is left: finish it or return an error"),
            ));
        }
    }
    for word in MARKS {
        for line in code::lines_with_word(text, word) {
            remarks.push((
                line,
                format!("`{word}` is left: do it, or file it and say so in words"),
            ));
        }
    }
    for (at, line) in code.lines().enumerate() {
        let line: String = line.split_whitespace().collect();
        if line.contains("#[ignore]") || line.contains("#[ignore=") {
            let message = "an ignored test is a silent skip: run it, or let it print its reason \
                           as `SKIPPED: …`";
            remarks.push((at + 1, message.to_owned()));
        }
    }
    if file.starts_with("tracer-userspace") || file.starts_with("tracer-ebpf") {
        for word in VERSIONS {
            for line in code::lines_with_word(&code, word) {
                let message = format!(
                    "`{word}`: a kernel is judged by what it has (BTF, files), never by its \
                     version; to show the version, read /proc/sys/kernel/osrelease"
                );
                remarks.push((line, message));
            }
        }
    }
    remarks
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: [usize; 0] = [];

    /// The lines of the remarks about a file of the user space.
    fn lines(text: &str) -> Vec<usize> {
        lines_in("tracer-userspace/src/kernel/host.rs", text)
    }

    fn lines_in(file: &str, text: &str) -> Vec<usize> {
        check(Path::new(file), text)
            .into_iter()
            .map(|(line, _)| line)
            .collect()
    }

    #[test]
    fn a_good_file_has_no_remark() {
        let text = "//! A file.\n\n// A todo! in a comment, an uname too.\nfn a() -> &'static str {\n    \
                    \"dbg! #[ignore]\"\n}\nfn my_todo() {}\nconst T: &str = \"tmp.XXXXXX\";\n";
        assert_eq!(lines(text), NONE);
    }

    #[test]
    fn a_header_is_needed() {
        assert_eq!(lines("use std::fs;\n"), [1]);
        assert_eq!(lines("// A file.\n"), [1]);
        assert_eq!(lines(""), [1]);
    }

    #[test]
    fn length_is_limited() {
        let text = |lines| format!("//! A file.\n{}", "\n".repeat(lines - 1));
        assert_eq!(lines(&text(MOST_LINES)), NONE);
        assert_eq!(lines(&text(MOST_LINES + 1)), [MOST_LINES + 1]);
    }

    #[test]
    fn nothing_unfinished_stays() {
        for word in UNFINISHED {
            assert_eq!(
                lines(&format!("//! A file.\nfn a() {{ {word}() }}\n")),
                [2],
                "{word}"
            );
        }
        for word in MARKS {
            assert_eq!(
                lines(&format!("//! A file.\n\n// {word}: later\n")),
                [3],
                "{word}"
            );
        }
    }

    #[test]
    fn no_test_is_ignored() {
        assert_eq!(lines("//! A file.\n#[test]\n#[ignore]\nfn a() {}\n"), [3]);
        assert_eq!(lines("//! A file.\n#[ignore = \"slow\"]\nfn a() {}\n"), [2]);
        assert_eq!(lines("//! A file.\n#[ignored]\nfn a() {}\n"), NONE);
    }

    #[test]
    fn the_tracer_asks_no_version() {
        let text = "//! A file.\nlet a = rustix::system::uname();\nlet b = kernel_version();\n";
        assert_eq!(lines(text), [2, 3]);
        assert_eq!(lines_in("tracer-ebpf/src/main.rs", text), [2, 3]);
        assert_eq!(lines_in("tests/src/lib.rs", text), NONE);
    }
}
