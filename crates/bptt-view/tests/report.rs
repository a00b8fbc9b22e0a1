//! The report contains the numbers of its ledgers, and none of its texts is interpreted as markup.

use std::io::Read;

use base64::Engine;
use bptt::{
    CellParams, EntryState, Inputs, ItemizeOptions, Ledger, Losses, Network, ScanOptions, Sequence, Weights,
    cell_by_name,
};
use bptt_view::report::{LossUnit, Report, Stage, Subject, html};
use serde_json::Value;

/// An LSTM of two units that reads one number a step, and losses whose gradients are all one.
fn ledger(steps: usize, gates: bool, options: ScanOptions<f64>) -> Ledger {
    let cell = cell_by_name("lstm").unwrap();
    let mut layer = CellParams::<f64>::zeros(cell.spec(), 1, 2);
    for matrix in &mut layer.tensors_mut()[..2] {
        for (i, w) in matrix.data_mut().iter_mut().enumerate() {
            *w = 0.9 - 0.13 * (i as f64 * 1.7).sin();
        }
    }
    let weights = Weights { cells: vec![layer], bidirectional: false, readout: None };
    let network = Network::new(cell, weights).unwrap();
    let x: Vec<f64> = (0..steps).map(|t| (t as f64).cos()).collect();
    let inputs = Inputs::Dense(Sequence::new(steps, 1, 1, &x[..]).unwrap());
    let trace = network.scan_with(inputs, &network.zero_state(1), options).unwrap();
    let losses = Losses::from_seeds(Sequence::new(steps, 1, 2, &vec![1.0; 2 * steps][..]).unwrap());
    let options = ItemizeOptions { gates, sequences: false, ..ItemizeOptions::default() };
    network.itemize(&trace, &losses, &options).unwrap()
}

fn subject(name: &str, stages: Vec<Stage>) -> Subject {
    let steps = stages[0].ledger.steps();
    Subject {
        name: name.into(),
        cell: "lstm".into(),
        facts: vec![("Text".into(), name.into())],
        verdict: vec!["A verdict.".into()],
        symbols: (0..steps).map(|t| format!("{name}{t}")).collect(),
        targets: None,
        losses: None,
        unit: LossUnit::Bits,
        k: steps - 1,
        blocks: Vec::new(),
        saturation: Vec::new(),
        metrics: Vec::new(),
        stages,
    }
}

fn report(subject: Subject) -> Report {
    Report { title: "a title".into(), program: "bptt".into(), reproduce: Vec::new(), subjects: vec![subject] }
}

/// The content of the page's script element with this id.
fn element<'a>(page: &'a str, id: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("id=\"{id}\">")).unwrap();
    rest.split_once("</script>").unwrap().0
}

fn numbers(page: &str) -> Vec<u8> {
    let packed = base64::engine::general_purpose::STANDARD.decode(element(page, "numbers")).unwrap();
    let mut bytes = Vec::new();
    flate2::read::ZlibDecoder::new(&packed[..]).read_to_end(&mut bytes).unwrap();
    bytes
}

/// Float `i` of an array of `length` that begins at byte `at`, plane by plane.
fn float(bytes: &[u8], at: usize, length: usize, i: usize) -> f64 {
    f64::from(f32::from_be_bytes([0, 1, 2, 3].map(|plane| bytes[at + plane * length + i])))
}

#[test]
fn the_numbers_put_in_are_those_of_the_ledger() {
    let steps = 9;
    let detach = ScanOptions::<f64>::detach_every(5, steps);
    let options = ScanOptions { detach, burn_in: 2, ..ScanOptions::default() };
    let ledger = ledger(steps, true, options);
    let page = html(&report(subject("w", vec![Stage { step: None, ledger: ledger.clone() }]))).unwrap();
    let data: Value = serde_json::from_str(element(&page, "data")).unwrap();
    assert_eq!(data["schema"], "bptt.report/1");
    assert!(bptt_view::glossary::WORDS.iter().all(|(word, meaning)| data["glossary"][word] == *meaning));
    let stage = &data["subjects"][0]["stages"][0];
    assert_eq!(stage["losses"], serde_json::json!([2, 3, 4, 5, 6, 7, 8]));
    let bytes = numbers(&page);
    let length = steps * (steps + 1) / 2;
    let close = |packed: f64, exact: f64| {
        assert!(
            packed == exact
                || (packed.is_nan() && exact.is_nan())
                || (packed - exact).abs() <= 1e-6 * exact.abs(),
            "{packed} is not {exact}"
        );
    };
    for (entry, shown) in ledger.entries().iter().zip(stage["entries"].as_array().unwrap()) {
        assert_eq!(shown["parameter"], entry.parameter.as_str());
        assert_eq!(shown["total_norm"], entry.total_norm());
        assert_eq!(shown["horizon"].as_u64(), entry.horizon(0.99).map(|lag| lag as u64));
        let at = usize::try_from(shown["at"].as_u64().unwrap()).unwrap();
        let pairs = (0..steps).flat_map(|k| (0..=k).map(move |t| (k, t)));
        for (i, (k, t)) in pairs.enumerate() {
            let letter = match entry.state(k, t) {
                EntryState::Value => b'v',
                EntryState::Zero => b'0',
                EntryState::Cut(_) => b'c',
                EntryState::Masked => b'm',
                other => panic!("no such state is expected here: {other:?}"),
            };
            assert_eq!(bytes[at + i], letter);
            let array = |n: usize| float(&bytes, at + length * (1 + 4 * n), length, i);
            close(array(0), entry.log10_norm(k, t).unwrap_or(f64::NAN));
            close(array(1), entry.share(k, t).unwrap_or(f64::NAN));
            for gate in 0..entry.gates().len() {
                close(array(2 + gate), entry.gate_norm(k, t, gate).map_or(f64::NAN, f64::log10));
            }
        }
    }
}

#[test]
fn a_text_of_the_user_cannot_become_markup() {
    let evil = "</script><script>alert(1)</script>";
    let stages = vec![Stage { step: None, ledger: ledger(3, false, ScanOptions::default()) }];
    let page = html(&Report { title: evil.into(), ..report(subject(evil, stages)) }).unwrap();
    assert!(!page.contains("alert(1)</script>"));
    let data: Value = serde_json::from_str(element(&page, "data")).unwrap();
    assert_eq!(data["subjects"][0]["symbols"][1], format!("{evil}1"));
}

#[test]
fn many_stages_are_thinned_but_the_first_and_the_last_stay() {
    let ledger = ledger(150, false, ScanOptions::default());
    let stages = (0..12).map(|step| Stage { step: Some(step), ledger: ledger.clone() }).collect();
    let page = html(&report(subject("w", stages))).unwrap();
    assert!(page.len() < 8_000_000);
    let data: Value = serde_json::from_str(element(&page, "data")).unwrap();
    let kept =
        data["subjects"][0]["stages"].as_array().unwrap().iter().map(|stage| stage["step"].as_u64().unwrap());
    assert_eq!(kept.collect::<Vec<_>>(), [0, 1, 3, 5, 7, 9, 11]);
}
