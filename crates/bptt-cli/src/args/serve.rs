//! Arguments of the page.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Args;

#[derive(Debug, Args)]
#[cfg_attr(not(feature = "serve"), allow(dead_code, reason = "options of what is refused"))]
#[command(after_help = "Examples:
  bptt serve                                    # serves the runs in runs/
  bptt serve runs/demo --open
  bptt serve --host 0.0.0.0 --token \"$(openssl rand -hex 16)\"

The server only reads runs. Without --host it answers this machine only. Ctrl-C stops it.")]
pub(crate) struct ServeArgs {
    /// Folders of runs, or folders that contain runs
    #[arg(default_value = "runs", value_name = "RUNS")]
    pub runs: Vec<PathBuf>,
    #[command(flatten)]
    pub page: PageOptions,
    /// Open the page in the browser
    #[arg(long)]
    pub open: bool,
}

/// Address of the page and access to it.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Page")]
pub(crate) struct PageOptions {
    /// Port [default: 8377, or a free one if that is taken]
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// Address to listen on; any other than a loopback address needs --token [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    pub host: Option<IpAddr>,
    /// Secret of at least 16 letters or digits that clients have to send
    #[arg(long, value_name = "SECRET")]
    pub token: Option<String>,
}
