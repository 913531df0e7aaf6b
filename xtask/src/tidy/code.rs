//! Rust text without its comments and literals, so that rules about code see only code.

/// The text with every comment and the content of every literal blanked out. Lines stay where
/// they are.
pub fn without_comments_and_literals(text: &str) -> String {
    let characters: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    while at < characters.len() {
        let rest = &characters[at..];
        let after_word = at > 0 && is_word(characters[at - 1]);
        let length = if rest.starts_with(&['/', '/']) {
            rest.iter().position(|&c| c == '\n').unwrap_or(rest.len())
        } else if rest.starts_with(&['/', '*']) {
            block_comment(rest)
        } else if rest[0] == '"' {
            string(rest)
        } else if let (false, Some(length)) = (after_word, raw_string(rest)) {
            length
        } else if let Some(length) = character(rest) {
            length
        } else {
            out.push(rest[0]);
            at += 1;
            continue;
        };
        out.extend(
            rest[..length]
                .iter()
                .map(|&c| if c == '\n' { '\n' } else { ' ' }),
        );
        at += length;
    }
    out
}

/// Whether a character can be part of a Rust name.
pub fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The lines, from 1, on which `word` stands by itself.
pub fn lines_with_word<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.lines()
        .enumerate()
        .filter(move |(_, line)| has_word(line, word))
        .map(|(at, _)| at + 1)
}

fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        // A word that ends with a sign, as `todo!`, needs no border there.
        let ends_open = !word.ends_with(is_word);
        !before.is_some_and(is_word) && (ends_open || !after.is_some_and(is_word))
    })
}

fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with(&['/', '*']) {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with(&['*', '/']) {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn string(rest: &[char]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `r"…"`, `r#"…"#`, and the same after `b` or `c`.
fn raw_string(rest: &[char]) -> Option<usize> {
    let start = usize::from(matches!(rest[0], 'b' | 'c'));
    if rest.get(start) != Some(&'r') {
        return None;
    }
    let hashes = rest[start + 1..].iter().take_while(|&&c| c == '#').count();
    let open = start + 1 + hashes;
    if rest.get(open) != Some(&'"') {
        return None;
    }
    let mut at = open + 1;
    while at < rest.len() {
        if rest[at] == '"'
            && rest[at + 1..]
                .iter()
                .take(hashes)
                .filter(|&&c| c == '#')
                .count()
                == hashes
        {
            return Some(at + 1 + hashes);
        }
        at += 1;
    }
    Some(rest.len())
}

/// A character literal, and not a lifetime.
fn character(rest: &[char]) -> Option<usize> {
    if rest[0] != '\'' {
        return None;
    }
    if rest.get(1) == Some(&'\\') {
        let close = rest.iter().skip(3).position(|&c| c == '\'')?;
        return Some(close + 4);
    }
    (rest.get(2) == Some(&'\'')).then_some(3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(text: &str) -> String {
        let code = without_comments_and_literals(text);
        assert_eq!(
            code.lines().count(),
            text.lines().count(),
            "lines moved in {text:?}"
        );
        code.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn code_alone_is_kept() {
        assert_eq!(kept("a // b\nc /* d /* e */ f */ g"), "a c g");
        assert_eq!(kept(r#"a("b \" // c") d"#), "a( ) d");
        assert_eq!(kept("a(r#\"b \" c\"#, br\"d\\\") e"), "a( , ) e");
        assert_eq!(
            kept(r"fn a<'b>(c: &'b str) { '\'' ; '\u{1f}'; '/' } d"),
            "fn a<'b>(c: &'b str) { ; ; } d"
        );
        assert_eq!(kept("\"a\nb\" c"), "c");
        assert_eq!(kept("bar\"x\" /* open"), "bar");
    }

    #[test]
    fn words_have_borders() {
        let lines = |word| {
            lines_with_word("uname()\nmy_uname()\nunames\na.uname", word).collect::<Vec<_>>()
        };
        assert_eq!(lines("uname"), [1, 4]);
    }
}
