//! `cargo xtask arrows`: packages and folders import in one direction only.

mod crates;
mod folders;
mod modules;
mod source;

use std::path::Path;
use std::process::ExitCode;

use folders::{Findings, Order};
use modules::Modules;

/// Each package and the packages of the workspace it may use.
const PACKAGES: [(&str, &[&str]); 7] = [
    ("bptt", &[]),
    ("bptt-io", &["bptt"]),
    ("bptt-train", &["bptt", "bptt-io"]),
    ("bptt-view", &["bptt"]),
    ("bptt-serve", &["bptt", "bptt-io", "bptt-train", "bptt-view"]),
    ("bptt-python", &["bptt", "bptt-io", "bptt-train", "bptt-view"]),
    ("bptt-cli", &["bptt", "bptt-io", "bptt-train", "bptt-view", "bptt-serve"]),
];

/// Packages that are no part of what is published; they may use all others.
const TOOLS: [&str; 2] = ["bptt-bench", "xtask"];

/// The crate whose folders have an order.
const CORE: &str = "crates/bptt/src";

const FOLDERS: Order<'_> = Order {
    folders: &[
        &["control"],
        &["array"],
        &["kernel"],
        &["model"],
        &["forward"],
        &["reverse"],
        &["gradient"],
        &["ledger"],
        &["analysis", "dynamics"],
        &["methods"],
        &["in_f64"],
    ],
    // The memory horizon, of dynamics, is shown beside the learning horizon.
    beside: &[("analysis", "dynamics")],
    below_all: "error",
};

/// Prints what imports from what, and fails if an import points up the order or files import each other in a circle.
pub fn run(root: &Path) -> ExitCode {
    match report(root) {
        Ok((text, problems)) => {
            print!("{text}");
            for problem in &problems {
                eprintln!("{problem}");
            }
            if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

/// The tables and the problems.
fn report(root: &Path) -> Result<(String, Vec<String>), String> {
    let packages = crates::read(root)?;
    let mut problems = crates::problems(&packages, &PACKAGES, &TOOLS);
    let mut text = "packages, and those of the workspace that they use\n".to_owned();
    for (package, _) in PACKAGES {
        let used = packages.get(package).map(|used| used.join(", ")).unwrap_or_default();
        text += &format!("  {package:<12}{used}\n");
    }
    let findings = folders::check(&Modules::read(root, CORE)?, FOLDERS);
    text += &format!("\nfolders of {CORE}, and how many imports they have from others\n");
    text += &table(&findings);
    problems.extend(findings.problems);
    Ok((text, problems))
}

/// A line for each folder, lowest first, with its imports from lower ones before those that should not be.
fn table(findings: &Findings) -> String {
    let order = || FOLDERS.folders.iter().flat_map(|row| row.iter().copied());
    let line = |from: &str| {
        let counts = std::iter::once(FOLDERS.below_all).chain(order()).filter_map(|into| {
            let count = findings.arrows.get(&(from.to_owned(), into.to_owned()))?;
            Some(format!("{into} {count}"))
        });
        format!("  {from:<12}{}\n", counts.collect::<Vec<_>>().join(", "))
    };
    order().map(line).collect()
}
