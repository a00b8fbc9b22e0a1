//! A training that is watched and controlled over the server.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use bptt_serve::{Live, Options, Server};
use bptt_train::{Config, DataSource, Ending, Event, run, train};
use common::{connect, post, refused, status};
use serde_json::Value;

/// Reads the next message of an event stream: its name and data.
fn next(lines: &mut impl BufRead) -> (String, Value) {
    let (mut name, mut line) = (String::new(), String::new());
    loop {
        line.clear();
        assert!(lines.read_line(&mut line).unwrap() > 0, "the stream ends");
        if let Some(event) = line.strip_prefix("event: ") {
            event.trim().clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            return (name, serde_json::from_str(data).unwrap());
        }
    }
}

#[test]
fn a_training_is_watched_paused_changed_and_stopped() {
    let config = Config {
        sentences: 50,
        hidden: 6,
        window: 8,
        batch: 2,
        steps: 10_000_000,
        trace_every: 50,
        evaluate_every: 0,
        ..Config::default()
    };
    let text = run::load_text(&config).unwrap();
    let (vocabulary, corpus) = run::prepare(&config, &text).unwrap();
    let symbols = vocabulary.len();
    let live = Live::new("mine".into(), Vec::new(), Some(vocabulary), "rnn".into(), config.steps);
    let server =
        Server::start(Options { port: Some(0), ..Options::default() }, Some(Arc::clone(&live))).unwrap();
    let address = server.address();
    let (rates, seen) = channel();
    let training = std::thread::spawn(move || {
        let data = DataSource::Text { corpus: &corpus, symbols };
        let outcome = train(&config, &data, &mut |event: &Event<'_>| {
            if let Event::Step { step, learning_rate, .. } = event {
                let _ = rates.send((*step, *learning_rate));
            }
            live.event(event, &|| false)
        });
        live.end("stopped".into());
        outcome.unwrap()
    });
    let mut stream = connect(address);
    stream.write_all(format!("GET /api/live HTTP/1.1\r\nHost: {address}\r\n\r\n").as_bytes()).unwrap();
    let mut lines = BufReader::new(stream);
    let (name, whole) = next(&mut lines);
    assert_eq!(
        (name.as_str(), &whole["name"], &whole["status"]),
        ("everything", &"mine".into(), &"training".into())
    );
    // Every update arrives, in order.
    let mut last = None;
    let mut ledgers = 0;
    while ledgers < 2 {
        let (name, data) = next(&mut lines);
        if name == "ledger" {
            ledgers += 1;
            assert_eq!(data["step"].as_u64().unwrap() % 50, 0);
            assert_eq!(data["data"]["subjects"][0]["symbols"].as_array().unwrap().len(), 8);
            continue;
        }
        for point in data["steps"].as_array().unwrap() {
            let step = point[0].as_u64().unwrap();
            assert!(last.is_none_or(|last| step == last + 1), "{step} after {last:?}");
            assert!(point[2].as_f64() >= point[3].as_f64());
            last = Some(step);
        }
    }

    let ask = |question: &str| post(address, "/api/live/ask", question);
    assert_eq!(status(&ask(r#"{"action":"pause"}"#)), 200);
    while next(&mut lines).1["status"] != "paused" {}
    std::thread::sleep(Duration::from_millis(300));
    let before = seen.try_iter().last().unwrap();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(seen.try_iter().count(), 0, "a paused training makes no update");

    assert!(refused(&ask(r#"{"action":"learning_rate","value":-1}"#), 422).contains("above 0"));
    assert_eq!(status(&ask(r#"{"action":"learning_rate","value":0.25}"#)), 200);
    assert_eq!(status(&ask(r#"{"action":"resume"}"#)), 200);
    let (step, rate) = seen.recv_timeout(Duration::from_secs(20)).unwrap();
    assert_eq!((step, rate), (before.0 + 1, 0.25));

    assert_eq!(status(&ask(r#"{"action":"stop"}"#)), 200);
    let outcome = training.join().unwrap();
    assert_eq!(outcome.ending, Ending::Stopped);
    assert!(outcome.steps > before.0);
    while next(&mut lines).1["status"] != "ended" {}
    // A new ledger is sent before the end, if the training made one.
    let after = next(&mut lines).0;
    let last = if after == "ledger" { next(&mut lines).0 } else { after };
    assert_eq!(last, "end");
    assert!(refused(&ask(r#"{"action":"pause"}"#), 422).contains("has ended"));
    let began = Instant::now();
    server.stop(Duration::from_millis(10));
    assert!(began.elapsed() < Duration::from_secs(2));
}
