//! Connections, so many and no more, with those that are slow.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutWriter;

use crate::Limits;

/// Bytes of a request's head, and of an answer that waits to be sent.
const BUFFER: usize = 16 * 1024;

/// How long to wait when the system has no more sockets.
const BREATH: Duration = Duration::from_millis(50);

/// Serves whoever connects.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(BREATH).await;
            continue;
        };
        // One too many is closed, not kept waiting.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            connection(stream, router, limits.patience).await;
            drop(slot);
        });
    }
}

/// Serves one connection until it ends. Whoever is slow in sending a head or in taking an answer is left.
async fn connection(stream: TcpStream, router: Router, patience: Duration) {
    // Events are small and should not wait for each other.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(patience));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    // A connection that breaks is its client's affair.
    let _ = served.await;
}
