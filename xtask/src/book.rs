//! `cargo xtask book`: links and includes of the documents resolve; with mdbook installed, the book builds.
//!
//! Commands in the documents are checked by the tests of bptt-cli, the Rust example by the documentation tests of bptt.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Where the chapters are. Their links may not leave it, because a rendered book has nothing else.
const CHAPTERS: &str = "book/src";

/// Folders whose Markdown files are checked.
const FOLDERS: [&str; 5] = ["", "docs", "findings", "bench/results", CHAPTERS];

pub(crate) fn run(root: &Path) -> ExitCode {
    let mut problems = Vec::new();
    let mut links = 0;
    for file in FOLDERS.iter().flat_map(|folder| markdown(&root.join(folder))) {
        let text = fs::read_to_string(&file).expect("a listed file is readable");
        let shown = file.strip_prefix(root).unwrap_or(&file).display();
        let folder = file.parent().expect("a file lies in a folder");
        for target in targets(&text) {
            links += 1;
            if let Some(problem) = unresolved(root, folder, target) {
                problems.push(format!("{shown}: {target}: {problem}"));
            }
        }
        for include in includes(&text) {
            links += 1;
            if let Some(problem) = not_included(folder, include) {
                problems.push(format!("{shown}: {include}: {problem}"));
            }
        }
    }
    problems.extend(unlisted(&root.join(CHAPTERS)));
    for problem in &problems {
        eprintln!("{problem}");
    }
    if !problems.is_empty() {
        return ExitCode::FAILURE;
    }
    println!("{links} links and includes resolve");
    build(root)
}

/// The Markdown files in a folder, sorted.
fn markdown(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a readable folder").path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|e| e == "md")).collect();
    paths.sort();
    paths
}

/// The lines outside of code blocks, fenced or indented.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence && !line.starts_with("    ")
    })
}

/// The relative targets of all links and pictures, without inline code.
fn targets(text: &str) -> Vec<&str> {
    let lines = prose(text).flat_map(|line| line.split('`').step_by(2));
    let found = lines.flat_map(|part| part.split("](").skip(1));
    let found = found.filter_map(|rest| rest.split_once(')').map(|(target, _)| target));
    found.filter(|target| !target.contains("://")).collect()
}

/// What stands in `{{#include …}}`.
fn includes(text: &str) -> Vec<&str> {
    let found = text.split("{{#include ").skip(1);
    found.filter_map(|rest| rest.split_once("}}").map(|(include, _)| include.trim())).collect()
}

/// Why a link does not resolve.
fn unresolved(root: &Path, folder: &Path, target: &str) -> Option<String> {
    let (path, heading) = target.split_once('#').map_or((target, None), |(path, h)| (path, Some(h)));
    let Ok(file) = folder.join(path).canonicalize() else { return Some("there is no such file".into()) };
    let chapters = root.join(CHAPTERS);
    if folder == chapters && !file.starts_with(chapters.canonicalize().expect("the book has chapters")) {
        return Some("lies outside of the book".into());
    }
    let heading = heading.filter(|_| file.is_file())?;
    let text = fs::read_to_string(&file).ok()?;
    let exists = prose(&text).filter(|line| line.starts_with('#')).any(|line| slug(line) == heading);
    (!exists).then(|| format!("there is no heading {heading:?}"))
}

/// The fragment under which a heading is found.
fn slug(heading: &str) -> String {
    let title = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = title.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// Why an include does not resolve.
fn not_included(folder: &Path, include: &str) -> Option<String> {
    let (path, anchor) = include.split_once(':').map_or((include, None), |(path, a)| (path, Some(a)));
    let Ok(text) = fs::read_to_string(folder.join(path)) else { return Some("there is no such file".into()) };
    let anchor = anchor?;
    let marked = ["ANCHOR: ", "ANCHOR_END: "].iter().all(|mark| text.contains(&format!("{mark}{anchor} ")));
    (!marked).then(|| format!("there is no anchor {anchor:?}"))
}

/// Chapters that the summary does not list.
fn unlisted(chapters: &Path) -> Vec<String> {
    let summary = fs::read_to_string(chapters.join("SUMMARY.md")).expect("the book has a summary");
    let listed = targets(&summary);
    let names =
        markdown(chapters).into_iter().filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    let missing = names.filter(|name| name != "SUMMARY.md" && !listed.contains(&name.as_str()));
    missing.map(|name| format!("{CHAPTERS}/{name} is not in SUMMARY.md")).collect()
}

/// Builds the book where mdbook is installed.
fn build(root: &Path) -> ExitCode {
    let built = Command::new("mdbook").arg("build").arg(root.join("book")).status();
    match built {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(status) => {
            eprintln!("mdbook failed ({status})");
            ExitCode::FAILURE
        }
        Err(_) => {
            println!("mdbook is not installed, so the book is not built");
            ExitCode::SUCCESS
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_of_code_only() {
        let text = "a [b](c.md#d) `[x](y)` ![e](f.png)\n```\n[g](h)\n```\n    [k](l)\n[i](https://j)\n{{#include ../k.md:l}}";
        assert_eq!(targets(text), ["c.md#d", "f.png"]);
        assert_eq!(includes(text), ["../k.md:l"]);
        assert_eq!(slug("## Your own PyTorch model: `x`"), "your-own-pytorch-model-x");
    }

    #[test]
    fn what_does_not_resolve_is_named() {
        let root = crate::root();
        assert_eq!(unresolved(root, root, "README.md#usage"), None);
        assert!(unresolved(root, root, "README.md#nowhere").unwrap().contains("nowhere"));
        assert!(unresolved(root, root, "NOWHERE.md").is_some());
        assert!(unresolved(root, &root.join(CHAPTERS), "../../README.md").unwrap().contains("outside"));
        assert!(not_included(&root.join(CHAPTERS), "../../README.md:nowhere").is_some());
    }
}
