//! A page on this machine: a training as it goes, a laboratory where a network is changed by hand and its gradient taken
//! apart anew, and runs to look into.
//!
//! The server listens on loopback unless a host is given together with a token. It answers only requests that name it as
//! their host and come from its own pages, reads nothing but the runs it was started for, and bounds what a client can
//! cost: connections, bodies, work and patience.

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
mod work;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bptt_view::report::Report;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

pub use live::Live;

/// The port that is taken unless another is asked for.
pub const PORT: u16 = 8377;

/// A token has at least so many characters.
pub const SHORTEST_TOKEN: usize = 16;

/// Takes a run of its folder apart: a text, or so many steps of what it holds out. The last argument says whether whoever
/// asked has gone.
pub type TakeApart = fn(&Path, Option<&str>, usize, &dyn Fn() -> bool) -> Result<Report, String>;

/// What is served, and to whom.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folders that are runs or hold some.
    pub runs: Vec<PathBuf>,
    /// Where to listen; anything but a loopback address needs a token.
    pub host: IpAddr,
    /// The port, 0 for any that is free; without one [`PORT`], or a free one if that is taken.
    pub port: Option<u16>,
    /// What has to be known to be answered.
    pub token: Option<String>,
    /// How runs are taken apart.
    pub take_apart: TakeApart,
    /// What clients may cost.
    pub limits: Limits,
}

/// What clients may cost together.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time; more are closed at once.
    pub connections: usize,
    /// How long a client may take for a request, and for taking in a piece of the answer.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 256, patience: Duration::from_secs(10) }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            runs: Vec::new(),
            host: Ipv4Addr::LOCALHOST.into(),
            port: None,
            token: None,
            take_apart: |_, _, _, _| Err("there are no runs here".into()),
            limits: Limits::default(),
        }
    }
}

/// Why there is no page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Others than this machine could come in.
    #[error(
        "--host {0} lets other machines in; expected --token with a secret of at least {SHORTEST_TOKEN} letters or digits beside it"
    )]
    NoToken(IpAddr),
    /// A token that is soon guessed, or cannot stand in an address.
    #[error("--token is not possible; expected at least {SHORTEST_TOKEN} letters, digits, - or _")]
    WeakToken,
    /// The address cannot be had.
    #[error("cannot listen on {address}: {source}; another --port may be free")]
    Listen {
        /// Which one.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The system gives no threads.
    #[error("cannot start the server: {0}")]
    Threads(std::io::Error),
}

/// A server that listens; dropped, it ends.
#[derive(Debug)]
pub struct Server {
    /// Holds the threads.
    runtime: Runtime,
    address: SocketAddr,
    url: String,
    serving: tokio::task::JoinHandle<()>,
}

impl Server {
    /// Starts to serve, on threads of its own.
    ///
    /// # Errors
    /// If the options would let strangers in, or the address cannot be had.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What to open in a browser; with the token, if there is one.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Serves until the process ends.
    pub fn wait(self) {
        // It never ends by itself.
        let _ = self.runtime.block_on(self.serving);
    }

    /// Ends after what is under way has had `grace` to be sent.
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
