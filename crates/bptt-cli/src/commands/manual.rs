//! `bptt completions` and `bptt man`: what shells and manuals need to know of the command line.

use std::path::Path;

use bptt_io::files;
use clap::CommandFactory;

use super::print;
use crate::Failure;
use crate::args::Cli;

/// Prints the completions for a shell.
pub(crate) fn completions(shell: clap_complete::Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bptt", &mut script);
    print(&String::from_utf8_lossy(&script))
}

/// Writes `bptt.1` and one page for each command, `bptt-NAME.1`.
pub(crate) fn pages(folder: &Path) -> Result<(), Failure> {
    files::create_folder(folder)?;
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
        Failure::Other(format!("cannot write manual pages to {}: {error}", folder.display()))
    })?;
    print(&format!("wrote the manual pages to {}\n", folder.display()))
}
