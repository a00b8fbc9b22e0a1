//! Connections, with limits on their number and on slow clients.

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

/// The largest number of bytes of a request head, and of buffered output.
const BUFFER: usize = 16 * 1024;

/// Wait when the system has no free sockets.
const ACCEPT_RETRY: Duration = Duration::from_millis(50);

/// Accepts connections.
pub(crate) async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_RETRY).await;
            continue;
        };
        // Connections above the limit are closed.
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else { continue };
        let router = router.clone();
        tokio::spawn(async move {
            connection(stream, router, limits.timeout).await;
            drop(slot);
        });
    }
}

/// Serves one connection until it ends or a client is too slow to send a head or to receive an answer.
async fn connection(stream: TcpStream, router: Router, timeout: Duration) {
    // Events are small and are sent without delay.
    let _ = stream.set_nodelay(true);
    let mut stream = TimeoutWriter::new(stream);
    stream.set_timeout(Some(timeout));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(timeout)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(Box::pin(stream)), TowerToHyperService::new(router));
    // A broken connection needs no handling.
    let _ = served.await;
}
