//! The options of the page.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[command(after_help = "Examples:
  bptt serve                                    # the runs in runs/
  bptt serve runs/demo --open
  bptt serve --host 0.0.0.0 --token \"$(openssl rand -hex 16)\"

Runs are read only. Without --host nobody but this machine is answered. Ctrl-C ends it.")]
pub(crate) struct ServeArgs {
    /// Runs' folders, or folders with runs in them
    #[arg(default_value = "runs", value_name = "RUNS")]
    pub runs: Vec<PathBuf>,
    #[command(flatten)]
    pub page: PageOptions,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
}

/// Where the page is and who is answered.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Page")]
pub(crate) struct PageOptions {
    /// The port [default: 8377, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The address to listen on; any but this machine's own needs --token [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<IpAddr>,
    /// A secret of at least 16 letters or digits that the page's address has to have
    #[arg(long, value_name = "SECRET")]
    pub token: Option<String>,
}
