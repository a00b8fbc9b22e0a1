//! Tables with typed columns, as text, CSV or Parquet.

#[cfg(feature = "parquet")]
mod parquet;

use std::borrow::Cow;

use crate::table::{Align, number, table};

/// The values of a column; `None` for absent ones.
#[derive(Clone, Debug, PartialEq)]
pub enum Column {
    /// Names.
    Text(Vec<Option<Cow<'static, str>>>),
    /// Counts and indexes.
    Integer(Vec<Option<i64>>),
    /// Measurements; the logarithm of zero is −∞.
    Real(Vec<Option<f64>>),
}

impl Column {
    /// A column of counts or indexes.
    pub fn counts(values: impl IntoIterator<Item = Option<usize>>) -> Self {
        let count = |n: usize| i64::try_from(n).expect("what fits in memory can be counted");
        Self::Integer(values.into_iter().map(|value| value.map(count)).collect())
    }

    /// A column of numbers without absent values.
    pub fn reals(values: impl IntoIterator<Item = f64>) -> Self {
        Self::Real(values.into_iter().map(Some).collect())
    }

    /// A column of names without absent values.
    pub fn names(values: impl IntoIterator<Item = String>) -> Self {
        Self::Text(values.into_iter().map(|name| Some(name.into())).collect())
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        match self {
            Self::Text(values) => values.len(),
            Self::Integer(values) => values.len(),
            Self::Real(values) => values.len(),
        }
    }

    /// A value in full precision for CSV; empty if it is absent.
    fn exact(&self, row: usize) -> Cow<'_, str> {
        match self {
            Self::Text(values) => values[row].as_deref().map_or("".into(), quoted),
            Self::Integer(values) => values[row].map_or("".into(), |value| value.to_string().into()),
            // The shortest form that parses to the same number; Python also parses "inf" and "NaN".
            Self::Real(values) => values[row].map_or("".into(), |value| format!("{value:e}").into()),
        }
    }

    /// A value for a table.
    fn shown(&self, row: usize) -> String {
        match self {
            Self::Text(values) => values[row].as_deref().unwrap_or("–").to_owned(),
            Self::Integer(values) => values[row].map_or("–".into(), |value| value.to_string()),
            Self::Real(values) => values[row].map_or("–".into(), number),
        }
    }

    fn align(&self) -> Align {
        if matches!(self, Self::Text(_)) { Align::Left } else { Align::Right }
    }
}

/// A field of CSV (RFC 4180).
fn quoted(text: &str) -> Cow<'_, str> {
    if text.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\"")).into()
    } else {
        text.into()
    }
}

/// Named columns with the same number of rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    schema: &'static str,
    columns: Vec<(&'static str, Column)>,
}

impl Table {
    /// A table. `schema` names the meaning of the columns and its version.
    ///
    /// # Panics
    /// If the columns have different numbers of rows.
    pub fn new(schema: &'static str, columns: Vec<(&'static str, Column)>) -> Self {
        let rows = columns.first().map_or(0, |(_, column)| column.rows());
        assert!(columns.iter().all(|(_, column)| column.rows() == rows), "columns of one length");
        Self { schema, columns }
    }

    /// The schema, with its version.
    pub fn schema(&self) -> &'static str {
        self.schema
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, column)| column.rows())
    }

    /// The column called `name`.
    pub fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|(own, _)| *own == name).map(|(_, column)| column)
    }

    /// The table as aligned text.
    pub fn text(&self) -> String {
        let header: Vec<_> = self.columns.iter().map(|(name, column)| (*name, column.align())).collect();
        let row = |row| self.columns.iter().map(|(_, column)| column.shown(row)).collect();
        table(&header, &(0..self.rows()).map(row).collect::<Vec<_>>())
    }

    /// The table as CSV with a header; numbers in full precision, absent values empty.
    pub fn csv(&self) -> String {
        let mut csv = self.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(",") + "\n";
        for row in 0..self.rows() {
            for (i, (_, column)) in self.columns.iter().enumerate() {
                if i > 0 {
                    csv.push(',');
                }
                csv.push_str(&column.exact(row));
            }
            csv.push('\n');
        }
        csv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn sample() -> Table {
        Table::new(
            "bptt.sample/1",
            vec![
                ("name", Column::Text(vec![Some("a \"b\", c".into()), None, Some("ü".into())])),
                ("k", Column::counts([Some(1), None, Some(3)])),
                ("x", Column::Real(vec![Some(0.1), Some(f64::NEG_INFINITY), None])),
            ],
        )
    }

    #[test]
    fn csv_quotes_and_leaves_out() {
        assert_eq!(sample().csv(), "name,k,x\n\"a \"\"b\"\", c\",1,1e-1\n,,-inf\nü,3,\n");
    }
}
