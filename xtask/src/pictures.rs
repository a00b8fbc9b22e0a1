//! `cargo xtask pictures`: the README's pictures, from the demo's networks.

use std::path::Path;
use std::process::{Command, ExitCode};

use crate::shell::{done, released};

/// Where they go.
const PICTURES: &str = "docs/pictures";

/// Each picture's name, and the words of `bptt plot` that make it. The demo has trained the runs.
const DRAWN: [(&str, &[&str]); 3] = [
    ("heatmap.png", &["lstm", "--kind", "heatmap", "--steps", "48"]),
    (
        "rainbow.png",
        &[
            "rnn",
            "--kind",
            "rainbow",
            "--text",
            "Because no food was available in the market, John had to skip dinner.",
        ],
    ),
    ("compare.png", &["rnn", "lstm", "--kind", "compare"]),
];

/// Trains the demo's networks and draws.
pub fn run(root: &Path, cargo: &Path) -> ExitCode {
    let Some(bptt) = released(root, cargo) else { return ExitCode::FAILURE };
    let demo = root.join("target/pictures");
    if !done(Command::new(&bptt).args(["demo", "--quiet", "--no-report", "--out"]).arg(&demo)) {
        return ExitCode::FAILURE;
    }
    for (name, words) in DRAWN {
        let picture = root.join(PICTURES).join(name);
        // From there, so that titles name the runs alone.
        if !done(Command::new(&bptt).arg("plot").args(words).arg("--out").arg(picture).current_dir(&demo)) {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
