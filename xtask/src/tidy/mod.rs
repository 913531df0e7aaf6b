//! `cargo xtask tidy`: the project's conventions as failures, each with its place and its remedy.

mod code;
mod imports;
mod links;
mod manifests;
mod rules;

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail};

use crate::workspace::Workspace;

/// A breach of a convention.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    /// Relative to the workspace's root.
    pub file: PathBuf,
    /// From 1.
    pub line: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file.display(), self.line, self.message)
    }
}

/// What the rules have to say about one file: line and message.
type Remarks = Vec<(usize, String)>;

/// Runs the command.
pub fn run() -> Result<ExitCode> {
    check(&Workspace::find()?)?;
    Ok(ExitCode::SUCCESS)
}

/// Checks everything; findings are printed and make an error.
pub fn check(workspace: &Workspace) -> Result<()> {
    let mut files = Vec::new();
    walk(&workspace.root, &workspace.target, &mut files)?;
    files.sort();

    let mut findings = Vec::new();
    for file in &files {
        let shown = file.strip_prefix(&workspace.root).unwrap_or(file);
        let remarks = match file.extension().and_then(|extension| extension.to_str()) {
            Some("rs") => {
                let text = read(file)?;
                let mut remarks = rules::check(shown, &text);
                remarks.extend(imports::check(shown, &text));
                remarks
            }
            Some("md") => links::check(&workspace.root, file, &read(file)?),
            _ => continue,
        };
        findings.extend(remarks.into_iter().map(|remark| finding(shown, remark)));
    }
    for package in &workspace.packages {
        let file = &package.manifest_path;
        let shown = file.strip_prefix(&workspace.root).unwrap_or(file);
        let remarks = manifests::check(&read(file)?);
        findings.extend(remarks.into_iter().map(|remark| finding(shown, remark)));
    }

    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} breaches of conventions", findings.len());
    }
    println!("tidy: {} files looked at", files.len());
    Ok(())
}

fn finding(file: &Path, (line, message): (usize, String)) -> Finding {
    Finding {
        file: file.to_owned(),
        line,
        message,
    }
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// All files but the build's own and hidden ones.
fn walk(folder: &Path, target: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        let path = entry.path();
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") || name == "target" || path == target {
            continue;
        }
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot look at {}", path.display()));
        let kind = kind?;
        if kind.is_dir() {
            walk(&path, target, files)?;
        } else if kind.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
