//! What the API server of Kubernetes tells of its objects is Go code that is generated from comments in
//! the source, and is not part of it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use anyhow::{Context, Result};

/// The package of the generator.
pub const GENERATOR: &str = "k8s.io/kubernetes/vendor/k8s.io/kube-openapi/cmd/openapi-gen";
/// What a comment begins with where the package is one to generate from.
const MARK: &str = "// +k8s:openapi-gen=";
/// Folders with such packages.
const ROOTS: [&str; 4] = [
    "pkg",
    "cmd",
    "staging/src/k8s.io",
    "vendor/k8s.io/kube-openapi",
];
/// Parts of paths with packages that are no part of the API, as the project's own
/// `Makefile.generated_files` leaves them out.
const LEFT_OUT: [&str; 7] = [
    "_examples",
    "/testdata",
    "openapi-gen",
    "sample-",
    "code-generator",
    "test/integration",
    "apiserver-builder",
];

/// The generator, run over everything.
pub fn command(generator: &Path, folder: &Path, source: &Path) -> Result<Command> {
    let mut packages = BTreeSet::new();
    for root in ROOTS {
        find(source, Path::new(root), &mut packages)?;
    }
    let packages: Vec<String> = packages.into_iter().collect();
    let mut command = Command::new(generator);
    command
        .args(["--logtostderr", "-h"])
        .arg("hack/boilerplate/boilerplate.generatego.txt")
        .args(["-O", "zz_generated.openapi"])
        .args(["-p", "k8s.io/kubernetes/pkg/generated/openapi"])
        .args(["-i", &packages.join(",")])
        .arg("-r")
        .arg(folder.join("violations"))
        .current_dir(source);
    super::old_style(&mut command, folder);
    Ok(command)
}

/// Finds the marked packages below a folder of the source.
fn find(source: &Path, below: &Path, packages: &mut BTreeSet<String>) -> Result<()> {
    let folder = source.join(below);
    let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    let mut marked = false;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = below.join(entry.file_name());
        if kind.is_dir() {
            find(source, &path, packages)?;
        } else if kind.is_file() && !marked && path.extension().is_some_and(|end| end == "go") {
            let text = fs::read(entry.path())?;
            let text = String::from_utf8_lossy(&text);
            marked = text.lines().any(|line| line.starts_with(MARK));
        }
    }
    let package = package(&below.display().to_string());
    if marked && !LEFT_OUT.iter().any(|part| package.contains(part)) {
        packages.insert(package);
    }
    Ok(())
}

/// How Go calls the package in a folder of the source. What is staged is reached by links among the
/// vendors.
fn package(folder: &str) -> String {
    match folder.strip_prefix("staging/src/") {
        Some(staged) => format!("k8s.io/kubernetes/vendor/{staged}"),
        None => format!("k8s.io/kubernetes/{folder}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_marked_packages_are_generated_from() -> Result<()> {
        let source = tempfile::tempdir()?;
        for root in ROOTS {
            fs::create_dir_all(source.path().join(root))?;
        }
        for (file, text) in [
            (
                "pkg/a/doc.go",
                "// Package a.\n// +k8s:openapi-gen=true\npackage a\n",
            ),
            ("pkg/b/doc.go", "package b\n"),
            ("pkg/testdata/doc.go", "// +k8s:openapi-gen=true\n"),
            (
                "staging/src/k8s.io/api/v1/doc.go",
                "// +k8s:openapi-gen=true\n",
            ),
        ] {
            let file = source.path().join(file);
            fs::create_dir_all(file.parent().context("a folder")?)?;
            fs::write(file, text)?;
        }
        let command = command(Path::new("generator"), source.path(), source.path())?;
        let args: Vec<_> = command.get_args().collect();
        let wanted = "k8s.io/kubernetes/pkg/a,k8s.io/kubernetes/vendor/k8s.io/api/v1";
        assert!(args.iter().any(|arg| *arg == wanted), "{args:?}");
        Ok(())
    }
}
