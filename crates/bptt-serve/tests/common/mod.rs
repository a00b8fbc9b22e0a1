//! A test server, and requests as bytes.
#![allow(dead_code)] // each test file uses some of it

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use bptt_serve::{Limits, Options, Server};
use serde_json::Value;

/// A server on a free port.
pub fn server(runs: Vec<PathBuf>, limits: Limits) -> Server {
    Server::start(Options { runs, port: Some(0), limits, ..Options::default() }, None).unwrap()
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream
}

/// All bytes until the other side closes.
pub fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset connection also ends.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The answer to a request with these headers (with `Host`, if there is to be one) and this body.
pub fn request(address: SocketAddr, line: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut stream = connect(address);
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{line} HTTP/1.1\r\n{headers}{length}Connection: close\r\n\r\n{body}");
    stream.write_all(head.as_bytes()).unwrap();
    rest(&mut stream)
}

pub fn get(address: SocketAddr, path: &str) -> String {
    request(address, &format!("GET {path}"), &[("Host", &address.to_string())], "")
}

pub fn post(address: SocketAddr, path: &str, body: &str) -> String {
    let host = address.to_string();
    let headers = [("Host", host.as_str()), ("Content-Type", "application/json")];
    request(address, &format!("POST {path}"), &headers, body)
}

pub fn status(answer: &str) -> u16 {
    answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or_else(|| panic!("no status: {answer:?}"))
}

pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

pub fn json(answer: &str) -> Value {
    serde_json::from_str(body(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

/// The message of a refusal with this status.
pub fn refused(answer: &str, code: u16) -> String {
    assert_eq!(status(answer), code, "{answer}");
    json(answer)["error"].as_str().unwrap().to_owned()
}
