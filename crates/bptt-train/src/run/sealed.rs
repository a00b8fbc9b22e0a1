//! JSON with its own digest, and digests of files.

use std::path::Path;

use bptt_io::files;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Error;

/// BLAKE3 of some bytes, in hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Two lines: the value as JSON, and the digest of the first line.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), Error> {
    let json = serde_json::to_string(value).expect("numbers and names are JSON");
    Ok(files::write(path, format!("{json}\n{}\n", digest(json.as_bytes())).as_bytes())?)
}

/// Reads what [`write`] wrote, with this schema.
pub(super) fn read<V: DeserializeOwned>(path: &Path, schema: &str) -> Result<V, Error> {
    let problem = |problem: String| Error::RunFile { path: path.into(), problem };
    let bytes = files::read(path)?;
    let text = str::from_utf8(&bytes).map_err(|_| problem("it is not text".into()))?;
    let parts = text.strip_suffix('\n').and_then(|text| text.split_once('\n'));
    let (json, given) = parts.ok_or_else(|| problem("it is cut off".into()))?;
    if given != digest(json.as_bytes()) {
        return Err(problem(CHANGED.into()));
    }
    serde_json::from_str(json)
        .map_err(|error| error.to_string())
        .and_then(|value| of_schema(value, schema))
        .map_err(problem)
}

/// What is said of a file or a line with another checksum.
pub(crate) const CHANGED: &str = "it was changed: its checksum is another";

/// A value whose `schema` has to be this one.
///
/// # Errors
/// In words.
pub(crate) fn of_schema<V: DeserializeOwned>(value: Value, schema: &str) -> Result<V, String> {
    if value["schema"] != schema {
        return Err(format!("its schema is {}, expected {schema:?}", value["schema"]));
    }
    serde_json::from_value(value).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Sealed {
        schema: String,
        values: BTreeMap<String, (String, u64)>,
    }

    fn cases() -> ProptestConfig {
        let rng_seed = proptest::test_runner::RngSeed::Fixed(20_244);
        ProptestConfig { cases: 64, failure_persistence: None, rng_seed, ..ProptestConfig::default() }
    }

    proptest! {
        #![proptest_config(cases())]

        #[test]
        fn it_is_read_as_it_was_written_or_not_at_all(
            values in proptest::collection::btree_map("(?s).{0,9}", ("(?s).{0,9}", any::<u64>()), 0..5),
            place in any::<prop::sample::Index>(), bit in 0..8,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("sealed.json");
            let value = Sealed { schema: "bptt.sealed/1".into(), values };
            write(&path, &value).unwrap();
            prop_assert_eq!(read::<Sealed>(&path, "bptt.sealed/1").unwrap(), value);
            prop_assert!(read::<Sealed>(&path, "bptt.sealed/2").is_err());

            let mut bytes = std::fs::read(&path).unwrap();
            let place = place.index(bytes.len());
            bytes[place] ^= 1_u8 << bit;
            std::fs::write(&path, &bytes).unwrap();
            prop_assert!(read::<Sealed>(&path, "bptt.sealed/1").is_err());
            bytes.truncate(place);
            std::fs::write(&path, &bytes).unwrap();
            prop_assert!(read::<Sealed>(&path, "bptt.sealed/1").is_err());
        }
    }
}
