//! Comparison of the numbers by which participants show that they computed the same.

use serde_json::Value;

/// The first number that differs by more than a relative 1e-4. In a list, numbers below 1e-12 of the largest are not compared.
pub fn difference(expected: &Value, found: &Value) -> Option<String> {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let differs =
                |(key, a): (&String, &Value)| difference(a, b.get(key)?).map(|what| format!("{key}: {what}"));
            a.iter().find_map(differs)
        }
        (Value::Array(a), Value::Array(b)) => {
            let largest = a.iter().filter_map(Value::as_f64).fold(0.0, |m: f64, v| m.max(v.abs()));
            a.iter().zip(b).find_map(|(a, b)| match (a.as_f64(), b.as_f64()) {
                (Some(x), Some(y)) => unequal(x, y, 1e-12 * largest),
                _ => difference(a, b),
            })
        }
        (a, b) => unequal(a.as_f64()?, b.as_f64().unwrap_or(f64::NAN), 0.0),
    }
}

fn unequal(x: f64, y: f64, least: f64) -> Option<String> {
    let near = (x - y).abs() <= 1e-4 * x.abs() + least;
    (!near).then(|| format!("{y} instead of {x}"))
}
