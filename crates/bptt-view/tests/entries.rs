//! The long table has every number of the ledger.

#![cfg(feature = "parquet")]

mod common;

use std::collections::HashMap;

use bptt::{EntryState, ScanOptions};
use bptt_view::entries::{SCHEMA, entries};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, Row};

use common::ledger;

fn number(row: &Row, name: &str) -> Option<f64> {
    match row.get_column_iter().find(|(own, _)| *own == name).unwrap().1 {
        Field::Double(value) => Some(*value),
        Field::Null => None,
        other => panic!("{name}: {other}"),
    }
}

fn text(row: &Row, name: &str) -> String {
    match row.get_column_iter().find(|(own, _)| *own == name).unwrap().1 {
        Field::Str(value) => value.clone(),
        Field::Long(value) => value.to_string(),
        Field::Null => String::new(),
        other => panic!("{name}: {other}"),
    }
}

#[test]
fn every_contribution_has_its_row() {
    let steps = 7;
    let detach = ScanOptions::<f64>::detach_every(4, steps);
    let ledger = ledger("lstm", steps, 0.6, ScanOptions { detach, burn_in: 1, ..ScanOptions::default() });
    let table = entries(&ledger);
    assert_eq!(table.schema(), SCHEMA);
    let reader = SerializedFileReader::new(bytes::Bytes::from(table.parquet().unwrap())).unwrap();
    let rows: Vec<Row> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.len(), table.rows());
    let key = |row: &Row| ["parameter", "gate", "k", "t"].map(|name| text(row, name)).join("/");
    let by_key: HashMap<String, &Row> = rows.iter().map(|row| (key(row), row)).collect();
    assert_eq!(by_key.len(), rows.len(), "no row twice");

    let mut seen = 0;
    for entry in ledger.entries() {
        let parameter = entry.parameter.as_str();
        for (k, t) in (0..steps).flat_map(|k| (0..steps).map(move |t| (k, t))) {
            let row = by_key.get(&format!("{parameter}//{k}/{t}"));
            if entry.state(k, t) == EntryState::Unreached {
                assert!(row.is_none());
                continue;
            }
            let row = row.unwrap();
            seen += 1;
            assert_eq!(number(row, "norm"), entry.norm(k, t));
            assert_eq!(number(row, "log10_norm"), entry.log10_norm(k, t));
            assert_eq!(number(row, "share"), entry.share(k, t).filter(|share| !share.is_nan()));
            assert_eq!(text(row, "lag"), k.abs_diff(t).to_string());
            assert_eq!((text(row, "layer"), text(row, "direction")), ("0".into(), "forward".into()));
            let state = match entry.state(k, t) {
                EntryState::Value => "value",
                EntryState::Zero => "zero",
                EntryState::Cut(_) => "cut",
                EntryState::Masked => "masked",
                other => panic!("{other:?}"),
            };
            assert_eq!(text(row, "state"), state);
            for (i, gate) in entry.gates().iter().enumerate() {
                let row = by_key[&format!("{parameter}/{gate}/{k}/{t}")];
                seen += 1;
                assert_eq!(number(row, "norm"), entry.gate_norm(k, t, i));
                let log10 = number(row, "log10_norm");
                assert!(
                    log10.is_none()
                        || (10f64.powf(log10.unwrap()) - number(row, "norm").unwrap()).abs() < 1e-12
                );
            }
        }
    }
    for of in ledger.per_loss() {
        for k in 0..steps {
            let row = by_key[&format!("{}//{k}/", of.parameter.as_str())];
            seen += 1;
            assert_eq!(
                (number(row, "norm"), number(row, "share")),
                (of.norm[k], of.share(k).filter(|share| !share.is_nan()))
            );
        }
    }
    assert_eq!(seen, rows.len());
}
