//! Requests without access and expensive requests are refused.

mod common;

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use bptt_serve::{Error, Limits, Options, Server};
use common::{body, connect, get, json, post, refused, request, rest, server, status};
use serde_json::Value;

#[test]
fn a_foreign_host_name_is_refused() {
    let server = server(Vec::new(), Limits::default());
    let address = server.address();
    for host in
        ["evil.example", "evil.example:80", &format!("evil.example:{}", address.port()), "127.0.0.1", ""]
    {
        let answer = request(address, "GET /api/runs", &[("Host", host)], "");
        assert!(refused(&answer, 403).contains("does not name this server"), "{host}");
    }
    let twice = [("Host", address.to_string()), ("Host", "evil.example".into())];
    let twice: Vec<(&str, &str)> = twice.iter().map(|(name, value)| (*name, value.as_str())).collect();
    assert!([400, 403].contains(&status(&request(address, "GET /api/runs", &twice, ""))));
    assert!([400, 403].contains(&status(&request(address, "GET /api/runs", &[], ""))));
    let localhost = format!("localhost:{}", address.port());
    assert_eq!(status(&request(address, "GET /api/runs", &[("Host", &localhost)], "")), 200);
}

#[test]
fn other_sites_are_refused() {
    let server = server(Vec::new(), Limits::default());
    let (address, host) = (server.address(), server.address().to_string());
    let asked = |line: &str, header: (&str, &str)| {
        let headers = [("Host", host.as_str()), ("Content-Type", "application/json"), header];
        request(address, line, &headers, if line.starts_with("POST") { r#"{"action":"stop"}"# } else { "" })
    };
    for origin in
        ["http://evil.example", "null", "https://127.0.0.1", &format!("http://localhost:{}", address.port())]
    {
        refused(&asked("POST /api/live/ask", ("Origin", origin)), 403);
        refused(&asked("GET /api/runs", ("Origin", origin)), 403);
    }
    refused(&asked("GET /assets/plotly.js", ("Sec-Fetch-Site", "cross-site")), 403);
    refused(&asked("POST /api/lab", ("Sec-Fetch-Site", "same-site")), 403);
    let own = format!("http://{host}");
    assert_eq!(status(&asked("GET /api/runs", ("Origin", &own))), 200);
    // A second Origin counts, too.
    for pair in [[own.as_str(), "http://evil.example"], ["http://evil.example", own.as_str()]] {
        let headers = [("Host", host.as_str()), ("Origin", pair[0]), ("Origin", pair[1])];
        refused(&request(address, "GET /api/runs", &headers, ""), 403);
    }
    // The names of types have no case.
    let upper = [("Host", host.as_str()), ("Content-Type", "Application/JSON; charset=UTF-8")];
    let answer = request(address, "POST /api/lab", &upper, "{}");
    assert!(status(&answer) != 415, "{answer}");
    // A form of another site cannot send JSON.
    let form = [("Host", host.as_str()), ("Content-Type", "text/plain")];
    refused(&request(address, "POST /api/live/ask", &form, r#"{"action":"stop"}"#), 415);
    let preflight = asked("OPTIONS /api/lab", ("Access-Control-Request-Method", "POST"));
    assert!(!preflight.to_lowercase().contains("access-control-allow"), "{preflight}");
}

#[test]
fn every_answer_has_security_headers() {
    let server = server(Vec::new(), Limits::default());
    for path in ["/lab", "/api/runs", "/nowhere", "/assets/lab.js"] {
        let answer = get(server.address(), path).to_lowercase();
        assert!(
            answer.contains("script-src 'self';") && answer.contains("frame-ancestors 'none'"),
            "{answer}"
        );
        assert!(answer.contains("x-content-type-options: nosniff"));
    }
    let page = get(server.address(), "/lab");
    assert!(!page.contains("<script>") && !page.contains("http://") && !page.contains("https://"));
}

#[test]
fn no_path_leads_out_of_the_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (runs, outside) = (folder.path().join("runs"), folder.path().join("secret"));
    for run in [&runs.join("mine"), &outside] {
        fs::create_dir_all(run).unwrap();
        fs::write(run.join("config.toml"), "").unwrap();
        fs::write(run.join("metrics.jsonl"), "{\"event\":\"step\",\"step\":7,\"loss_bits\":1.5}\n").unwrap();
    }
    #[cfg(unix)]
    std::os::unix::fs::symlink(&outside, runs.join("link")).unwrap();
    let server = server(vec![runs], Limits::default());
    let address = server.address();
    let list = json(&get(address, "/api/runs"));
    let names: Vec<&str> =
        list["runs"].as_array().unwrap().iter().map(|run| run["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["mine"]);
    assert_eq!(json(&get(address, "/api/runs/curves?run=mine"))["steps"][0][0], 7);
    let names = [
        "../secret",
        "..%2fsecret",
        "mine/../../secret",
        "link",
        "",
        ".",
        "/etc",
        "mine%00",
        "%2e%2e%2fsecret",
    ];
    for name in names {
        for path in ["/api/runs/curves?run=", "/api/runs/verdict?run=", "/report/"] {
            refused(&get(address, &format!("{path}{name}")), 404);
        }
        let asked = format!(r#"{{"run":"{name}"}}"#);
        refused(&post(address, "/api/explore", &asked), 404);
    }
    for path in [
        "/assets/../../Cargo.toml",
        "/assets/..%2f..%2fCargo.toml",
        "/../../etc/passwd",
        "/assets//etc/passwd",
        "/%2e%2e/etc/passwd",
        "/etc/passwd",
        "/assets/",
    ] {
        let answer = get(address, path);
        assert_eq!(status(&answer), 404, "{path}: {answer}");
    }
}

/// Opening a FIFO waits for a writer: two such requests would take both places for computations, for good.
#[cfg(unix)]
#[test]
fn fifos_and_links_in_the_folder_of_a_run_are_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("planted");
    fs::create_dir_all(run.join("checkpoints")).unwrap();
    fs::write(run.join("config.toml"), "hidden = 7\n").unwrap();
    let server = server(vec![folder.path().into()], Limits::default());
    let listed = || json(&get(server.address(), "/api/runs"))["runs"][0].clone();
    assert_eq!((&listed()["name"], &listed()["hidden"]), (&Value::from("planted"), &Value::from(7)));
    let files =
        ["metrics.jsonl", "run.json", "vocabulary.json", "model.safetensors", "checkpoints/00000002.json"];
    for file in files {
        for makes in [&["mkfifo"][..], &["ln", "-s", "/etc/passwd"]] {
            let path = run.join(file);
            let made = std::process::Command::new(makes[0]).args(&makes[1..]).arg(&path).status();
            assert!(made.unwrap().success());
            for request in
                ["/api/runs/curves?run=planted", "/api/runs/verdict?run=planted", "/report/planted"]
            {
                let message = refused(&get(server.address(), request), 422);
                assert_eq!(message, format!("{file} in the folder of planted is no regular file"));
            }
            assert!(listed()["hidden"].is_null());
            fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(listed()["hidden"], 7);
}

#[test]
fn a_body_of_a_hundred_megabytes_is_refused() {
    let server = server(Vec::new(), Limits::default());
    let address = server.address();
    let head = |length: &str| {
        format!(
            "POST /api/lab HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
        )
    };
    let mut announced = connect(address);
    announced.write_all(head("Content-Length: 104857600\r\nConnection: close").as_bytes()).unwrap();
    let began = Instant::now();
    let megabyte = vec![b' '; 1 << 20];
    let sent = (0..100).take_while(|_| announced.write_all(&megabyte).is_ok()).count();
    assert!(sent < 100 && began.elapsed() < Duration::from_secs(5), "{sent} MB were taken");

    let mut unannounced = connect(address);
    unannounced.write_all(head("Transfer-Encoding: chunked").as_bytes()).unwrap();
    let chunk = [b"100000\r\n".as_slice(), &megabyte, b"\r\n"].concat();
    let sent = (0..100).take_while(|_| unannounced.write_all(&chunk).is_ok()).count();
    assert!(sent < 100, "{sent} MB were taken");

    // Just above the limit the answer still arrives.
    let answer = post(address, "/api/lab", &" ".repeat(65 * 1024));
    assert_eq!(status(&answer), 413, "{answer}");
    assert_eq!(status(&get(address, "/lab")), 200);
}

#[test]
fn the_number_of_connections_is_limited() {
    let limits = Limits { connections: 32, ..Limits::default() };
    let server = server(Vec::new(), limits);
    let mut held = VecDeque::new();
    for i in 0..10_000 {
        if i % 50 == 0 {
            // A connection that finds the queue of the system full is retried after a second.
            std::thread::sleep(Duration::from_millis(1));
        }
        held.push_back(TcpStream::connect(server.address()).unwrap());
        if held.len() > 400 {
            held.pop_front();
        }
    }
    // Connections above the limit are closed, long before a client is too slow. Which ones have a place depends on when the
    // server notices that others left.
    let is_open = |mut stream: &TcpStream| {
        stream.set_nonblocking(true).unwrap();
        stream.read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    };
    let until = Instant::now() + limits.timeout / 2;
    while held.iter().filter(|stream| is_open(stream)).count() > limits.connections {
        assert!(Instant::now() < until, "more connections are open than the limit");
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(held);
    let answered = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        get(server.address(), "/lab").starts_with("HTTP/1.1 200")
    });
    assert!(answered, "the server does not recover");
}

#[test]
fn slow_clients_are_disconnected() {
    // One slot: while a slow client holds it, no other client is served.
    let limits = Limits { connections: 1, timeout: Duration::from_millis(200) };
    let server = server(Vec::new(), limits);
    let address = server.address();
    let recovers = || {
        let until = Instant::now() + Duration::from_secs(10);
        while !get(address, "/lab").starts_with("HTTP/1.1 200") {
            assert!(Instant::now() < until, "the place is still taken");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    recovers();

    // Requests far more than the buffers of the system hold, and reads nothing.
    let mut reader = connect(address);
    let asked = format!("GET /assets/plotly.js HTTP/1.1\r\nHost: {address}\r\n\r\n").repeat(20);
    reader.write_all(asked.as_bytes()).unwrap();
    recovers();

    let mut head = connect(address);
    head.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
    recovers();

    let mut sender = connect(address);
    let begun = format!(
        "POST /api/lab HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{{"
    );
    sender.write_all(begun.as_bytes()).unwrap();
    let answer = rest(&mut sender);
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    recovers();
}

#[test]
fn invalid_requests_are_refused_with_a_message() {
    let server = server(Vec::new(), Limits::default());
    let address = server.address();
    for broken in ["{", "[1,", "\u{0}", "{\"example\":\"text\"", "nul"] {
        refused(&post(address, "/api/lab", broken), 400);
    }
    let deep = "[".repeat(60_000);
    assert_eq!(status(&post(address, "/api/lab", &deep)) / 100, 4);
    for wrong in [
        "{}",
        "[]",
        "null",
        r#"{"example":"text","cell":"rnn","init":"uniform","steps":"many"}"#,
        r#"{"action":"explode"}"#,
    ] {
        refused(&post(address, "/api/lab", wrong), 422);
    }
    assert!(
        refused(&post(address, "/api/lab/formula", r#"{"lab":{},"k":0,"t":0}"#), 422)
            .contains("missing field")
    );
    refused(&post(address, "/api/live/ask", r#"{"action":"stop"}"#), 404);
    assert_eq!(status(&request(address, "DELETE /api/runs", &[("Host", &address.to_string())], "")), 405);
}

#[test]
fn the_cost_of_a_request_is_limited() {
    let server = server(Vec::new(), Limits::default());
    let address = server.address();
    let lab = |change: &str| {
        let text = "a text to read";
        let body = format!(
            r#"{{"example":"text","text":"{text}","cell":"rnn","init":"uniform","hidden":8,"steps":5"#
        );
        let body = format!("{body}}}");
        let (from, to) = change.split_once(" => ").unwrap();
        body.replace(from, to)
    };
    let began = Instant::now();
    let refusals = [
        (r#""steps":5 => "steps":1000000000"#, "steps: 1000000000 is not possible; expected 1 to 200"),
        (r#""steps":5 => "steps":0"#, "steps: 0 is not possible"),
        (r#""steps":5 => "steps":1e300"#, ""),
        (r#""steps":5 => "steps":-1"#, ""),
        (r#""hidden":8 => "hidden":100000"#, "hidden: 100000 is not possible; expected 1 to 128"),
        (r#""hidden":8 => "hidden":8,"sigma_max":-1"#, "sigma_max: -1 is not possible"),
        (r#""hidden":8 => "hidden":8,"sigma_max":1e9"#, "sigma_max: 1000000000 is not possible"),
        (r#""cell":"rnn" => "cell":"perceptron""#, "rnn_relu"),
        (r#""init":"uniform" => "init":"zeros""#, "orthogonal"),
        ("a text to read => a", "at least two symbols"),
    ];
    for (change, words) in refusals {
        let answer = post(address, "/api/lab", &lab(change));
        assert!(refused(&answer, 422).contains(words), "{change}: {answer}");
    }
    let long = post(address, "/api/explore", r#"{"run":"a","steps":1000000000}"#);
    assert!(refused(&long, 422).contains("expected 1 to 200"));
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn other_machines_need_the_token() {
    let open = |host: IpAddr, token: Option<&str>| {
        let token = token.map(str::to_owned);
        Server::start(Options { host, token, port: Some(0), ..Options::default() }, None)
    };
    let everywhere = Ipv4Addr::UNSPECIFIED.into();
    assert!(matches!(open(everywhere, None), Err(Error::NoToken(_))));
    assert!(matches!(open(everywhere, Some("short")), Err(Error::WeakToken)));
    assert!(matches!(open(everywhere, Some("a token; with what no cookie has")), Err(Error::WeakToken)));

    let token = "0123456789abcdef";
    let server = open(Ipv4Addr::LOCALHOST.into(), Some(token)).unwrap();
    let (address, host) = (server.address(), server.address().to_string());
    assert!(server.url().ends_with(&format!("/?token={token}")));
    for path in ["/lab", "/api/runs", "/assets/lab.js", "/?token=0123456789abcdeX", "/?token="] {
        refused(&get(address, path), 401);
    }
    let with = |header: (&str, &str)| request(address, "GET /api/runs", &[("Host", &host), header], "");
    assert_eq!(status(&with(("Authorization", &format!("Bearer {token}")))), 200);
    assert_eq!(status(&with(("Authorization", "Bearer wrong"))), 401);
    let entered = get(address, &format!("//evil.example/?a=b&token={token}"));
    assert_eq!(status(&entered), 303);
    let header = |name: &str| {
        let line = entered.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap();
        line.split_once(": ").unwrap().1.to_owned()
    };
    assert_eq!(header("location"), "/evil.example/?a=b");
    let cookie = header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"));
    assert_eq!(status(&with(("Cookie", cookie.split(';').next().unwrap()))), 200);
    assert!(body(&with(("Cookie", "bptt-1=0123456789abcdef"))).contains("token"));
}
