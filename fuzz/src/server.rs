//! Requests to the page, over a connection as a client's.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use bptt_serve::{Options, Server};
use bptt_train::Run;
use bptt_view::report::Report;

use crate::runs;

/// Reads the run and the text, and makes no report.
fn refuse(
    folder: &Path,
    text: Option<&str>,
    steps: Option<usize>,
    _: &dyn Fn() -> bool,
) -> Result<Report, String> {
    let run = Run::open(folder).map_err(|error| error.to_string())?;
    let vocabulary = run.vocabulary().map_err(|error| error.to_string())?;
    let ids = vocabulary.encode(text.unwrap_or("the cat")).map_err(|error| error.to_string())?;
    Err(format!("{} of {steps:?} steps", vocabulary.decode(&ids)))
}

/// The address of the server, which has one run.
fn address() -> SocketAddr {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let start = || {
        let folder = crate::folder().join("served/mine");
        std::fs::create_dir_all(&folder).expect("a folder can be created");
        runs::write(&folder, runs::files(true));
        let runs = vec![crate::folder().join("served")];
        let options = Options { runs, port: Some(0), make_report: refuse, ..Options::default() };
        Server::start(options, None).expect("a port is free")
    };
    SERVER.get_or_init(start).address()
}

fn connect() -> TcpStream {
    loop {
        // All ports may be waiting for their last packets.
        match TcpStream::connect(address()) {
            Ok(stream) => {
                stream.set_read_timeout(Some(Duration::from_secs(9))).expect("it is not zero");
                stream.set_nodelay(true).expect("it is a TCP stream");
                return stream;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

thread_local! {
    static OPEN: RefCell<Option<BufReader<TcpStream>>> = const { RefCell::new(None) };
}

/// Sends a request over the open connection, and reads the answer.
///
/// # Panics
/// If there is none, or it says that the server failed.
fn send(request: &[u8]) {
    OPEN.with_borrow_mut(|open| {
        for _ in 0..2 {
            let stream = open.get_or_insert_with(|| BufReader::new(connect()));
            if stream.get_mut().write_all(request).is_ok()
                && let Some((status, closes)) = answer(stream)
            {
                assert!(status < 500, "status {status}");
                if closes {
                    *open = None;
                }
                return;
            }
            *open = None;
        }
        panic!("no answer");
    });
}

/// The status, and whether the connection ends with it.
fn answer(stream: &mut BufReader<TcpStream>) -> Option<(u16, bool)> {
    let mut line = String::new();
    stream.read_line(&mut line).ok()?;
    let status = line.split(' ').nth(1)?.parse().ok()?;
    let (mut length, mut closes) = (0, false);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        closes |= line == "connection: close";
        if let Some(given) = line.strip_prefix("content-length: ") {
            length = given.parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some((status, closes))
}

/// Posts JSON.
pub fn post(path: &str, body: &[u8]) {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        address(),
        body.len()
    );
    send(&[head.as_bytes(), body].concat());
}

/// Gets a path; what cannot stand in one is left out.
pub fn get(path: &[u8]) {
    let path: String =
        path.iter().filter(|byte| byte.is_ascii_graphic()).map(|&byte| char::from(byte)).collect();
    send(format!("GET /{path} HTTP/1.1\r\nHost: {}\r\n\r\n", address()).as_bytes());
}

/// Sends bytes over a connection of their own. `@` stands for the server's address.
///
/// # Panics
/// If the server does not end the connection.
pub fn raw(bytes: &[u8]) {
    let own = address().to_string();
    let bytes: Vec<u8> = bytes
        .iter()
        .flat_map(|byte| if *byte == b'@' { own.as_bytes() } else { std::slice::from_ref(byte) })
        .copied()
        .collect();
    let mut stream = connect();
    if stream.write_all(&bytes).is_err() || stream.shutdown(Shutdown::Write).is_err() {
        return;
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert!(error.kind() != std::io::ErrorKind::WouldBlock, "the connection stays open");
    }
    assert!(!answer.starts_with(b"HTTP/1.1 50"), "{}", String::from_utf8_lossy(&answer));
}
