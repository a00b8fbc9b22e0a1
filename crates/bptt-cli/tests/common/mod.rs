//! Running the command and reading what it says.

use std::path::Path;
use std::process::{Command, Output};

/// Runs `bptt` in `folder`.
pub fn bptt(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bptt"))
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .output()
        .expect("the command starts")
}

pub fn stdout(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Exit code and the error on stderr, on one line.
pub fn refusal(output: &Output) -> (i32, String) {
    assert!(output.stdout.is_empty(), "a refusal prints nothing on stdout");
    let text = String::from_utf8_lossy(&output.stderr);
    let error = text.split_once("error: ").map_or(&*text, |(_, error)| error);
    let words: Vec<&str> = error.split_whitespace().collect();
    (output.status.code().unwrap(), words.join(" "))
}
