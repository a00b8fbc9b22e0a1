//! `cargo xtask same-numbers`: whether two builds of the command compute the same bits on fixed inputs.
//!
//! Both builds run every case of `cases`; `documents` reads their outputs and compares them number by number.

mod cases;
mod documents;
mod inputs;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::Args;

use cases::{Case, Output};
use documents::{Comparison, Document};

/// Differing paths that are printed for each case.
const SHOWN: usize = 8;

/// One build of the command, and the folder for what it writes.
struct Build {
    command: PathBuf,
    folder: PathBuf,
}

/// The builds to compare.
#[derive(Clone, Debug, Args)]
pub struct SameNumbersArgs {
    /// The command `bptt` of the older build
    #[arg(long, value_name = "BPTT")]
    old: PathBuf,
    /// The command `bptt` of the newer build
    #[arg(long, value_name = "BPTT")]
    new: PathBuf,
    /// Only cases with one of these texts in their names; trainings always run, because others read them
    #[arg(value_name = "CASE")]
    only: Vec<String>,
}

/// Compares the builds and prints a table. Exit code 1 if a number differs or is missing.
pub fn run(args: &SameNumbersArgs) -> Result<ExitCode, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    inputs::write(&folder.path().join("inputs"))?;
    let build = |command: &Path, name: &str| -> Result<Build, Box<dyn Error>> {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder)?;
        let command = command.canonicalize().map_err(|error| format!("{}: {error}", command.display()))?;
        Ok(Build { command, folder })
    };
    let (old, new) = (build(&args.old, "old")?, build(&args.new, "new")?);
    let (mut numbers, mut unequal, mut texts, mut added) = (0, 0, 0, 0);
    println!(
        "| case | numbers | differing or missing | texts changed | added |\n| --- | ---: | ---: | ---: | ---: |"
    );
    for case in cases::all() {
        // Cases that train make the runs that other cases read.
        if !case.is_needed(&args.only) {
            continue;
        }
        let found = old.output(&case)?.compare(&new.output(&case)?);
        let wrong = found.unequal.len();
        println!(
            "| {} | {} | {wrong} | {} | {} |",
            case.name,
            found.numbers,
            found.texts.len(),
            found.added.len()
        );
        explain(case.name, &found);
        numbers += found.numbers;
        unequal += wrong;
        texts += found.texts.len();
        added += found.added.len();
    }
    println!("| all | {numbers} | {unequal} | {texts} | {added} |\n");
    println!(
        "{}",
        if unequal == 0 { "Every number is the same." } else { "The builds compute different numbers." }
    );
    Ok(if unequal == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints the paths of what differs, on stderr so that the table stays whole.
fn explain(case: &str, found: &Comparison) {
    for (kind, paths) in [("", &found.unequal), ("text: ", &found.texts), ("added: ", &found.added)] {
        for path in paths.iter().take(SHOWN) {
            eprintln!("{case}: {kind}{path}");
        }
        if paths.len() > SHOWN {
            eprintln!("{case}: {kind}and {} more", paths.len() - SHOWN);
        }
    }
}

impl Build {
    /// Runs a case and reads everything it leaves behind.
    fn output(&self, case: &Case) -> Result<Document, Box<dyn Error>> {
        let mut command = Command::new(&self.command);
        command.current_dir(&self.folder).args(["--quiet", "--threads", "2"]).args(&case.args);
        let output = command.output()?;
        let fail = |problem: &str| {
            let stderr = String::from_utf8_lossy(&output.stderr);
            format!("{}: {} {}: {problem}\n{stderr}", case.name, self.command.display(), case.args.join(" "))
        };
        if !output.status.success() && !case.may_fail {
            return Err(fail("failed").into());
        }
        let mut document = Document::default();
        document.number("exit code", &output.status.code().map_or("none".into(), |code| code.to_string()));
        let read = match &case.output {
            Output::Json => serde_json::from_slice(&output.stdout)
                .map(|json| document.json(case.schema, &json))
                .map_err(Into::into),
            Output::Table(file) => document.table(case.schema, &self.folder.join(file)),
            Output::Tensors(file) => document.tensors(case.schema, &self.folder.join(file)),
            Output::Run(folder) => document.run(&self.folder.join(folder)),
        };
        read.map_err(|error: Box<dyn Error>| fail(&error.to_string()))?;
        Ok(document)
    }
}
