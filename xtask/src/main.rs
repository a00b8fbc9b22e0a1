//! The project's chores: `cargo xtask ci` is what has to pass before a commit, and each of its parts can be run alone.

mod arrows;
mod bench;
mod book;
mod browser;
mod deny;
mod figures;
mod pictures;
mod python;
mod readers;
mod sbom;
mod shell;
mod verdicts;

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, ExitCode};

/// One call of cargo.
struct Task {
    name: &'static str,
    about: &'static str,
    args: &'static [&'static str],
    /// Environment variables it is called with.
    env: &'static [(&'static str, &'static str)],
}

/// The parts of `ci`, in the order in which they run: what fails soonest comes first.
const TASKS: [Task; 8] = [
    Task { name: "fmt", about: "is everything formatted?", args: &["fmt", "--all", "--check"], env: &[] },
    Task {
        name: "arrows",
        about: "do packages and folders import in one direction only? prints how many imports there are",
        args: &["xtask", "arrows"],
        env: &[],
    },
    Task {
        name: "book",
        about: "do links and includes of the documents resolve? builds the book if mdbook is installed",
        args: &["xtask", "book"],
        env: &[],
    },
    Task {
        name: "deny",
        about: "do dependencies keep to the policy in deny.toml? needs cargo-deny",
        args: &["xtask", "deny"],
        env: &[],
    },
    Task {
        name: "lint",
        about: "clippy without a warning, tests included",
        args: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--features",
            "bptt-cli/parquet",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
        env: &[],
    },
    Task {
        name: "small",
        about: "clippy of the command without its features",
        args: &["clippy", "-p", "bptt-cli", "--no-default-features", "--locked", "--", "-D", "warnings"],
        env: &[],
    },
    Task {
        name: "test",
        about: "all tests, those in the documentation included",
        args: &["test", "--workspace", "--features", "bptt-cli/parquet", "--locked"],
        env: &[],
    },
    Task {
        name: "doc",
        about: "the documentation without a warning",
        args: &["doc", "--workspace", "--no-deps", "--locked"],
        env: &[("RUSTDOCFLAGS", "-D warnings")],
    },
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] | ["help" | "-h" | "--help"] => {
            print!("{}", usage());
            ExitCode::SUCCESS
        }
        ["ci"] => run(TASKS.iter()),
        ["arrows"] => arrows::run(root()),
        ["book"] => book::run(root()),
        ["bench", ..] => bench::run(root(), Path::new(&cargo()), &args[1..]),
        ["same-numbers", ..] => bench::drive(root(), Path::new(&cargo()), &args),
        ["browser"] => browser::run(root(), Path::new(&cargo())),
        ["readers"] => readers::run(root(), Path::new(&cargo())),
        ["python"] => python::run(root()),
        ["deny"] => deny::run(root(), Path::new(&cargo())),
        ["sbom"] => sbom::run(root(), Path::new(&cargo()), None),
        ["sbom", package] => sbom::run(root(), Path::new(&cargo()), Some(package)),
        ["figures"] => figures::run(root(), Path::new(&cargo()), false),
        ["figures", "--seeds"] => figures::run(root(), Path::new(&cargo()), true),
        ["pictures"] => pictures::run(root(), Path::new(&cargo())),
        ["verdicts"] => verdicts::run(root(), Path::new(&cargo()), false),
        ["verdicts", "--check"] => verdicts::run(root(), Path::new(&cargo()), true),
        [name] if TASKS.iter().any(|task| task.name == name) => {
            run(TASKS.iter().filter(|task| task.name == name))
        }
        _ => {
            eprint!("xtask: there is no task {:?}\n\n{}", args.join(" "), usage());
            ExitCode::from(2)
        }
    }
}

/// Runs tasks in order up to the first that fails.
fn run<'a>(tasks: impl Iterator<Item = &'a Task>) -> ExitCode {
    for task in tasks {
        let call = task.call();
        eprintln!("== {call}");
        let problem = match task.command().status() {
            Ok(status) if status.success() => continue,
            Ok(status) => status.to_string(),
            Err(error) => format!("cannot be run: {error}"),
        };
        eprintln!("\nxtask: {} failed ({problem}). Again by itself: cargo xtask {0}", task.name);
        return ExitCode::FAILURE;
    }
    eprintln!("== all passed");
    ExitCode::SUCCESS
}

impl Task {
    /// The command, in the workspace's root and with the cargo that called.
    fn command(&self) -> Command {
        let mut command = Command::new(cargo());
        command.current_dir(root()).args(self.args).envs(self.env.iter().copied());
        command
    }

    /// The command as one would type it.
    fn call(&self) -> String {
        let env = self.env.iter().map(|(name, value)| format!("{name}={value:?}"));
        env.chain(["cargo".into(), self.args.join(" ")]).collect::<Vec<_>>().join(" ")
    }
}

/// The workspace's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies inside the workspace")
}

/// The cargo that called.
fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn usage() -> String {
    let parts = TASKS.iter().map(|task| format!("  {:<6} {}\n", task.name, task.about));
    let head = "cargo xtask TASK\n\n  ci     all of the following, up to the first that fails\n".to_owned();
    let bench = "\n  bench [compare | builds | costs | scale] [OPTIONS]    measures bptt and its baselines, which it fetches and builds first\n";
    let browser =
        "  browser    opens the pages in a browser and tries them; needs Node 20 or newer and Chromium\n";
    let same_numbers =
        "  same-numbers --old BPTT --new BPTT    whether two builds of the command compute the same bits\n";
    let readers = "  readers    pandas, pyarrow and TensorBoard read tables and events; fetches them first\n";
    let python = "  python     builds the Python package, checks its types and runs its tests; fetches PyTorch first\n";
    let figures = "  figures [--seeds]    makes the demo's numbers in the README and the book, and the pictures, anew; with --seeds bench/results/demo.md\n";
    let pictures = "  pictures   draws the README's pictures anew\n";
    let sbom = "  sbom [PACKAGE]    prints what bptt-cli or another package is built from, as CycloneDX\n";
    let verdicts = "  verdicts [--check]    makes the book's table of verdicts and advice anew, or holds the program against it\n";
    std::iter::once(head)
        .chain(parts)
        .chain(
            [bench, same_numbers, browser, readers, python, figures, pictures, sbom, verdicts]
                .map(str::to_owned),
        )
        .collect()
}
