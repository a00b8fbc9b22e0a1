//! A local web page: a list of runs with their verdicts and reports, a running training, a laboratory in which the settings
//! of a network can be changed, and the ledgers of runs.
//!
//! The server listens on a loopback address unless a host and a token are given. It answers only requests that name it as
//! their host and come from its own pages, reads only the runs it was started with, and limits the resources of clients:
//! connections, request bodies, computation and time.

#![deny(clippy::print_stdout, clippy::print_stderr)]

mod access;
mod assets;
mod connections;
mod explore;
mod formula;
mod lab;
mod live;
mod problem;
mod routes;
mod runs;
mod verdicts;
mod work;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bptt_train::diagnose::Verdict;
use bptt_view::report::Report;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use live::Live;

/// The default port.
pub const PORT: u16 = 8377;

/// The smallest length of a token.
pub const SHORTEST_TOKEN: usize = 16;

/// Makes the report of the run in a folder, on a text or on a number of steps of its held-out data; without either, on as
/// many as a report usually has. The last argument says whether the client is gone.
pub type MakeReport = fn(&Path, Option<&str>, Option<usize>, &dyn Fn() -> bool) -> Result<Report, String>;

/// What [`bptt_train::diagnose::diagnose`] says of the run in a folder.
pub type Judge = fn(&Path) -> Result<Verdict, String>;

/// The options of a server.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folders that are runs or contain runs.
    pub runs: Vec<PathBuf>,
    /// The address to listen on; any other than a loopback address needs a token.
    pub host: IpAddr,
    /// The port, 0 for any free one; `None` for [`PORT`], or a free one if it is taken.
    pub port: Option<u16>,
    /// The secret that clients have to send.
    pub token: Option<String>,
    /// How reports of runs are made.
    pub make_report: MakeReport,
    /// How runs are judged.
    pub judge: Judge,
    /// Limits for clients.
    pub limits: Limits,
}

/// Limits for all clients together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The largest number of connections; further ones are closed.
    pub connections: usize,
    /// The largest time for receiving a request, and for sending a part of the answer.
    pub timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, timeout: Duration::from_secs(10) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            host: Ipv4Addr::LOCALHOST.into(),
            port: None,
            token: None,
            make_report: |_, _, _, _| Err("there are no runs".into()),
            judge: |_| Err("there are no runs".into()),
            limits: Limits::default(),
        }
    }
}

/// Why a server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Other machines would have access without a token.
    #[error(
        "--host {0} gives other machines access; expected --token with a secret of at least {SHORTEST_TOKEN} letters or digits"
    )]
    NoToken(IpAddr),
    /// The token is too short, or has characters that an address cannot have.
    #[error("--token is not possible; expected at least {SHORTEST_TOKEN} letters, digits, - or _")]
    WeakToken,
    /// The address cannot be used.
    #[error("cannot listen on {address}: {source}; try another --port")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: std::io::Error,
    },
    /// Threads cannot be started.
    #[error("cannot start the server: {0}")]
    Threads(std::io::Error),
}

/// A running server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    /// The threads.
    runtime: Runtime,
    address: SocketAddr,
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts a server on its own threads.
    ///
    /// # Errors
    /// If the options would give access to other machines without a token, or the address cannot be used.
    pub fn start(options: Options, live: Option<Arc<Live>>) -> Result<Self, Error> {
        if let Some(token) = &options.token {
            let fits = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
            if token.len() < SHORTEST_TOKEN || !token.chars().all(fits) {
                return Err(Error::WeakToken);
            }
        } else if !options.host.is_loopback() {
            return Err(Error::NoToken(options.host));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .max_blocking_threads(8)
            .thread_name("bptt-serve")
            .enable_all()
            .build()
            .map_err(Error::Threads)?;
        let listener = runtime.block_on(listen(options.host, options.port))?;
        let address = listener.local_addr().map_err(Error::Threads)?;
        let query = options.token.as_ref().map(|token| format!("?token={token}")).unwrap_or_default();
        let url = format!("http://{address}/{query}");
        let limits = options.limits;
        let router = {
            let _inside = runtime.enter();
            routes::router(options, address, live)
        };
        let serving = runtime.spawn(connections::serve(listener, router, limits));
        Ok(Self { runtime, address, url, serving })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The URL to open in a browser, with the token if there is one.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until the process ends.
    pub fn wait(self) {
        // It never ends.
        let _ = self.runtime.block_on(self.serving);
    }

    /// Stops after `grace`, in which pending answers can be sent.
    pub fn stop(self, grace: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(grace).await });
        self.runtime.shutdown_timeout(grace);
    }
}

async fn listen(host: IpAddr, port: Option<u16>) -> Result<TcpListener, Error> {
    let bind = async |port| {
        let address = SocketAddr::new(host, port);
        TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
    };
    match port {
        Some(port) => bind(port).await,
        None => match bind(PORT).await {
            Ok(listener) => Ok(listener),
            Err(_) => bind(0).await,
        },
    }
}
