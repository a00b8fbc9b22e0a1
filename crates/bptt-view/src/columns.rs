//! Tables with typed columns, as text, CSV or Parquet.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;

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

    /// The bytes of a Parquet file: one row group, optional columns, the schema's name as metadata `schema`.
    ///
    /// # Errors
    /// If the encoder fails; the file is made in memory.
    pub fn parquet(&self) -> io::Result<Vec<u8>> {
        let field = |(name, column): &(&str, Column)| {
            let (physical, logical) = match column {
                Column::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
                Column::Integer(_) => (Physical::INT64, None),
                Column::Real(_) => (Physical::DOUBLE, None),
            };
            let field = Type::primitive_type_builder(name, physical);
            field.with_repetition(Repetition::OPTIONAL).with_logical_type(logical).build().map(Arc::new)
        };
        let fields = self.columns.iter().map(field).collect::<Result<_, _>>()?;
        let schema = Arc::new(Type::group_type_builder("schema").with_fields(fields).build()?);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("bptt".into())
            .set_key_value_metadata(Some(vec![KeyValue::new("schema".into(), self.schema.to_owned())]))
            .build();
        let mut file = SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties))?;
        let mut group = file.next_row_group()?;
        for (_, column) in &self.columns {
            match column {
                Column::Text(values) => {
                    let bytes = |text: &Cow<'static, str>| ByteArray::from(text.as_bytes().to_vec());
                    let values = values.iter().map(|value| value.as_ref().map(bytes)).collect();
                    write::<ByteArrayType, _>(&mut group, values)?;
                }
                Column::Integer(values) => write::<Int64Type, _>(&mut group, values.clone())?,
                Column::Real(values) => write::<DoubleType, _>(&mut group, values.clone())?,
            }
        }
        group.close()?;
        Ok(file.into_inner()?)
    }
}

/// Writes the next column of a row group: the values that exist, and a definition level (1 or 0) for each row.
fn write<D: DataType, W: io::Write + Send>(
    group: &mut parquet::file::writer::SerializedRowGroupWriter<'_, W>,
    values: Vec<Option<D::T>>,
) -> io::Result<()> {
    let levels: Vec<i16> = values.iter().map(|value| i16::from(value.is_some())).collect();
    let values: Vec<D::T> = values.into_iter().flatten().collect();
    let mut column = group.next_column()?.expect("the schema has a column for each of the table");
    column.typed::<D>().write_batch(&values, Some(&levels), None)?;
    Ok(column.close()?)
}

#[cfg(test)]
mod tests {
    use parquet::file::reader::{FileReader, SerializedFileReader};
    use parquet::record::RowAccessor;

    use super::*;

    fn sample() -> Table {
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

    #[test]
    fn parquet_reads_back_as_it_was() {
        let reader = SerializedFileReader::new(bytes(&sample())).unwrap();
        let metadata = reader.metadata().file_metadata();
        let own = metadata.key_value_metadata().unwrap().iter().find(|pair| pair.key == "schema").unwrap();
        assert_eq!(own.value.as_deref(), Some("bptt.sample/1"));
        let rows: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 3);
        assert_eq!(
            (rows[0].get_string(0).unwrap().as_str(), rows[0].get_long(1).unwrap()),
            ("a \"b\", c", 1)
        );
        assert_eq!(
            (rows[0].get_double(2).unwrap(), rows[1].get_double(2).unwrap()),
            (0.1, f64::NEG_INFINITY)
        );
        // A null has no value of its type.
        assert!(rows[1].get_string(0).is_err() && rows[1].get_long(1).is_err());
        assert!(rows[2].get_double(2).is_err());
        assert_eq!((rows[2].get_string(0).unwrap().as_str(), rows[2].get_long(1).unwrap()), ("ü", 3));
    }

    fn bytes(table: &Table) -> bytes::Bytes {
        table.parquet().unwrap().into()
    }

    #[test]
    fn the_same_table_gives_the_same_bytes() {
        assert_eq!(sample().parquet().unwrap(), sample().parquet().unwrap());
    }
}
