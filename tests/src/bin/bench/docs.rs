//! docs/overhead.md: the figures between two markers, the rest is people's.

use std::{fs, path::Path};

use anyhow::{Context, Result, bail};

use crate::figures::Section;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Puts the figures into the file.
pub fn write(path: &Path, sections: &[Section]) -> Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let figures: Vec<String> = sections.iter().map(Section::markdown).collect();
    let text = replaced(&text, &figures.join("\n"))
        .with_context(|| format!("putting the figures into {}", path.display()))?;
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

fn replaced(text: &str, figures: &str) -> Result<String> {
    let (Some(begin), Some(end)) = (text.find(BEGIN), text.find(END)) else {
        bail!("it needs a line {BEGIN} and one {END}, between which the figures go");
    };
    let from = begin + BEGIN.len();
    if end < from {
        bail!("{END} stands before {BEGIN}");
    }
    Ok(format!("{}\n\n{figures}\n{}", &text[..from], &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_between_the_markers_is_replaced() {
        let text = format!("# Title\n\n{BEGIN}\n{END}\n\nThe end.\n");
        let once = replaced(&text, "figures").unwrap();
        assert!(once.starts_with("# Title") && once.contains("figures"));
        let twice = replaced(&once, "others").unwrap();
        assert!(twice.contains("others") && !twice.contains("figures"));
        assert_eq!(replaced(&twice, "others").unwrap(), twice);
        assert!(replaced("no markers", "x").is_err());
        assert!(replaced(&format!("{END}{BEGIN}"), "x").is_err());
    }
}
