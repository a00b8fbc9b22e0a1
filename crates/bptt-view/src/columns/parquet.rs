//! A table as a Parquet file.

use std::borrow::Cow;
use std::io;
use std::sync::Arc;

use parquet::basic::{Compression, LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::{Column, Table};

impl Table {
    /// The bytes of a Parquet file: one row group, optional columns, the schema's name as metadata `schema`.
    ///
    /// # Errors
    /// Never for want of space on disk: the file is made in memory.
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

/// Writes the next column of a row group: the values that are there, and a definition level (1 or 0) for each row.
fn write<D: DataType, W: io::Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
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
    use crate::columns::tests::sample;

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
