//! What is written is read again as the same: tables as CSV and Parquet, ledgers as NumPy's arrays and as JSON.

mod common;

use std::collections::HashMap;
use std::io::{Cursor, Read};

use bptt::{Ledger, ScanOptions};
use bptt_view::columns::{Column, Table};
use bptt_view::json;
use proptest::option::of as maybe;
use proptest::prelude::*;
use serde_json::Value;

fn cases(cases: u32) -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_245);
    ProptestConfig { cases, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
}

type Row = (Option<String>, Option<i64>, Option<f64>);

/// Rows of a name, a count and a number, each there or not; an infinite number, too.
fn rows() -> impl Strategy<Value = Vec<Row>> {
    let text = prop_oneof!["(?s).{1,9}", "[a,\"\r\n]{1,5}"];
    let real = prop_oneof![
        any::<f64>().prop_filter("a number", |x| !x.is_nan()),
        Just(f64::NEG_INFINITY),
        Just(-0.0)
    ];
    proptest::collection::vec((maybe(text), maybe(any::<i64>()), maybe(real)), 0..12)
}

fn table(rows: &[Row]) -> Table {
    Table::new(
        "bptt.sample/1",
        vec![
            ("name", Column::Text(rows.iter().map(|row| row.0.clone().map(Into::into)).collect())),
            ("k", Column::Integer(rows.iter().map(|row| row.1).collect())),
            ("x", Column::Real(rows.iter().map(|row| row.2).collect())),
        ],
    )
}

/// The fields of CSV (RFC 4180).
fn fields(csv: &str) -> Vec<Vec<String>> {
    let (mut rows, mut row, mut field, mut quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = csv.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut field)),
            '\n' if !quoted => {
                row.push(std::mem::take(&mut field));
                rows.push(std::mem::take(&mut row));
            }
            _ => field.push(letter),
        }
    }
    assert!(row.is_empty() && field.is_empty() && !quoted, "the last line has an end");
    rows
}

/// The numbers of each array of an archive, which are f64 behind a header of format 1.0.
fn arrays(bytes: Vec<u8>) -> HashMap<String, Vec<f64>> {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into()).collect();
    let read = |name: String| {
        let mut bytes = Vec::new();
        archive.by_name(&name).unwrap().read_to_end(&mut bytes).unwrap();
        let begin = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
        let numbers = bytes[begin..].as_chunks().0.iter().map(|number| f64::from_le_bytes(*number)).collect();
        (name.trim_end_matches(".npy").to_owned(), numbers)
    };
    names.into_iter().map(read).collect()
}

fn ledgers() -> impl Strategy<Value = Ledger> {
    let cells = proptest::sample::select(vec!["rnn", "lstm", "gru", "lstm_peephole", "lstm_layer_norm"]);
    (cells, 1..9usize, 1e-3..3.0, 1..5usize, any::<bool>()).prop_map(|(cell, steps, scale, every, burns)| {
        let detach = ScanOptions::<f64>::detach_every(every, steps);
        let burn_in = usize::from(burns && steps > 1);
        common::ledger(cell, steps, scale, ScanOptions { detach, burn_in, ..ScanOptions::default() })
    })
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn a_table_comes_back_from_csv(rows in rows()) {
        let read = fields(&table(&rows).csv());
        prop_assert_eq!(&read[0], &["name", "k", "x"]);
        prop_assert_eq!(read.len(), rows.len() + 1);
        for (read, (name, k, x)) in read[1..].iter().zip(&rows) {
            prop_assert_eq!(&read[0], &name.clone().unwrap_or_default());
            prop_assert_eq!(read[1].parse::<i64>().ok(), *k);
            prop_assert_eq!(read[2].parse::<f64>().ok().map(f64::to_bits), x.map(f64::to_bits));
        }
    }

    #[cfg(feature = "parquet")]
    #[test]
    fn a_table_comes_back_from_parquet(rows in rows()) {
        use parquet::file::reader::{FileReader, SerializedFileReader};
        use parquet::record::RowAccessor;

        let reader = SerializedFileReader::new(bytes::Bytes::from(table(&rows).parquet().unwrap())).unwrap();
        let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read.len(), rows.len());
        for (read, (name, k, x)) in read.iter().zip(&rows) {
            prop_assert_eq!(read.get_string(0).ok(), name.as_ref());
            prop_assert_eq!(read.get_long(1).ok(), *k);
            prop_assert_eq!(read.get_double(2).ok().map(f64::to_bits), x.map(f64::to_bits));
        }
    }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_ledger_comes_back_from_its_arrays(ledger in ledgers()) {
        let arrays = arrays(bptt_view::npz::ledger(&ledger).unwrap());
        let steps = ledger.steps();
        for entry in ledger.entries() {
            let name = |what: &str| format!("{}_{what}_{}", entry.parameter.as_str(), entry.cell.suffix());
            let (norms, logs, shares) = (&arrays[&name("norm")], &arrays[&name("log10_norm")], &arrays[&name("share")]);
            for (k, t) in (0..steps).flat_map(|k| (0..steps).map(move |t| (k, t))) {
                let bits = |number: Option<f64>| number.unwrap_or(f64::NAN).to_bits();
                prop_assert_eq!(norms[k * steps + t].to_bits(), bits(entry.norm(k, t)));
                prop_assert_eq!(logs[k * steps + t].to_bits(), bits(entry.log10_norm(k, t)));
                prop_assert_eq!(shares[k * steps + t].to_bits(), bits(entry.share(k, t)));
            }
        }
    }

    #[test]
    fn a_ledger_comes_back_from_its_json(ledger in ledgers()) {
        let written = Value::Object(json::ledger(&ledger, &json::Context::default()));
        let read: Value = serde_json::from_str(&written.to_string()).unwrap();
        prop_assert_eq!(&read, &written);
        for (read, entry) in read["entries"].as_array().unwrap().iter().zip(ledger.entries()) {
            prop_assert_eq!(&read["parameter"], entry.parameter.as_str());
            for (k, t) in (0..ledger.steps()).flat_map(|k| (0..ledger.steps()).map(move |t| (k, t))) {
                let bits = |number: Option<f64>| number.filter(|x| x.is_finite()).map(f64::to_bits);
                prop_assert_eq!(bits(read["norm"][k][t].as_f64()), bits(entry.norm(k, t)));
                prop_assert_eq!(bits(read["share"][k][t].as_f64()), bits(entry.share(k, t)));
            }
        }
    }
}
