//! Parquet: one column is the id, one the vector; the others become metadata with their types.
//!
//! A text column called `metadata` whose cells are JSON objects is unfolded instead, which is what
//! `export` writes. Null cells of the other columns are left out: a table's "nothing here" is a
//! missing field, not a field that is null.

use std::{fs::File, path::Path};

use anyhow::{Context as _, Result, bail};
use arrow_array::{Array, ArrayRef, RecordBatch, cast::AsArray, types};
use arrow_schema::{DataType, Schema};
use parquet::{
    arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder},
    file::reader::ChunkReader,
};
use serde_json::{Map, Value};
use vecgrid_client::Entry;

use super::{Bad, Row, parquet_value};
use crate::exit::Failure;

/// Rows that are decoded at a time.
const BATCH_ROWS: usize = 256;
/// The column that `export` writes metadata to.
pub const METADATA: &str = "metadata";

/// Which columns are what.
#[derive(Debug, Clone)]
pub struct Columns {
    pub id: String,
    pub vector: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self { id: "id".into(), vector: "vector".into() }
    }
}

/// Entries of a Parquet file.
pub struct ParquetRows {
    batches: ParquetRecordBatchReader,
    batch: Option<RecordBatch>,
    /// Next row of the batch.
    at: usize,
    columns: Columns,
    next_row: u64,
}

/// What is known of a file before it is read.
pub struct Opened {
    pub rows: ParquetRows,
    pub total: u64,
}

/// Opens a file.
pub fn open(path: &Path, columns: &Columns, first_row: u64) -> Result<Opened> {
    let open = || read(File::open(path)?, columns, first_row);
    open().with_context(|| path.display().to_string())
}

fn read(source: impl ChunkReader + 'static, columns: &Columns, first_row: u64) -> Result<Opened> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(source).context("not a Parquet file")?;
    check(builder.schema(), columns)?;
    let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or(0);
    let batches = builder.with_batch_size(BATCH_ROWS).build()?;
    let rows = ParquetRows { batches, batch: None, at: 0, columns: columns.clone(), next_row: first_row };
    Ok(Opened { rows, total })
}

fn check(schema: &Schema, columns: &Columns) -> Result<()> {
    let names = || schema.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>().join(", ");
    let find = |name: &str, flag: &str| {
        schema.field_with_name(name).map_err(|_| {
            Failure::usage(format!("there is no column `{name}`; the columns are: {}", names()))
                .hint(format!("Name the column: {flag} NAME"))
        })
    };
    let id = find(&columns.id, "--id-column")?.data_type();
    if !matches!(id, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) && !id.is_integer() {
        bail!("column `{}` is {id}; an id is text or an integer", columns.id);
    }
    let vector = find(&columns.vector, "--vector-column")?.data_type();
    let element = match vector {
        DataType::List(field) | DataType::LargeList(field) | DataType::FixedSizeList(field, _) => {
            field.data_type()
        }
        other => other,
    };
    if element == vector || !element.is_floating() {
        bail!("column `{}` is {vector}; a vector is a list of floats", columns.vector);
    }
    for field in schema.fields() {
        if *field.name() != columns.vector && !parquet_value::is_supported(field.data_type()) {
            bail!("column `{}` is {}, which has no JSON form", field.name(), field.data_type());
        }
    }
    Ok(())
}

impl Iterator for ParquetRows {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let batch = loop {
            match self.batch.take() {
                Some(batch) if self.at < batch.num_rows() => break batch,
                _ => match self.batches.next()? {
                    Ok(batch) => (self.batch, self.at) = (Some(batch), 0),
                    Err(error) => return Some(Err(error.into())),
                },
            }
        };
        let content = entry(&batch, self.at, &self.columns);
        let row = Row { number: self.next_row, content };
        (self.batch, self.at, self.next_row) = (Some(batch), self.at + 1, self.next_row + 1);
        Some(Ok(row))
    }
}

fn entry(batch: &RecordBatch, row: usize, columns: &Columns) -> Result<Entry, Bad> {
    let mut id = None;
    let mut vector = None;
    let mut metadata = Map::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let name = field.name();
        let bad = |reason: String| Bad { reason: format!("column `{name}`: {reason}"), text: String::new() };
        if *name == columns.id {
            id = match parquet_value::value(column, row).map_err(bad)? {
                Value::String(text) => Some(text),
                Value::Number(number) => Some(number.to_string()),
                _ => return Err(bad("the id is null".into())),
            };
        } else if *name == columns.vector {
            vector = floats(column, row).map_err(bad)?;
        } else {
            match parquet_value::value(column, row).map_err(bad)? {
                Value::Null => {}
                Value::String(text) if name == METADATA => {
                    let fields: Map<String, Value> =
                        serde_json::from_str(&text).map_err(|e| bad(format!("not a JSON object: {e}")))?;
                    for (key, value) in fields {
                        set(&mut metadata, key, value).map_err(bad)?;
                    }
                }
                value => set(&mut metadata, name.clone(), value).map_err(bad)?,
            }
        }
    }
    let mut entry = Entry::new(id.unwrap_or_default()).metadata(metadata);
    entry.vector = vector;
    Ok(entry)
}

fn set(metadata: &mut Map<String, Value>, key: String, value: Value) -> Result<(), String> {
    if metadata.contains_key(&key) {
        return Err(format!("the field `{key}` is there twice"));
    }
    metadata.insert(key, value);
    Ok(())
}

/// The vector of a row; `None` where the cell is null.
fn floats(column: &ArrayRef, row: usize) -> Result<Option<Vec<f32>>, String> {
    if column.is_null(row) {
        return Ok(None);
    }
    let cell = match column.data_type() {
        DataType::List(_) => column.as_list::<i32>().value(row),
        DataType::LargeList(_) => column.as_list::<i64>().value(row),
        _ => column.as_fixed_size_list().value(row),
    };
    if cell.null_count() > 0 {
        return Err("a component is null".into());
    }
    Ok(Some(match cell.data_type() {
        DataType::Float16 => {
            cell.as_primitive::<types::Float16Type>().values().iter().map(|x| x.to_f32()).collect()
        }
        DataType::Float64 => {
            cell.as_primitive::<types::Float64Type>().values().iter().map(|x| *x as f32).collect()
        }
        _ => cell.as_primitive::<types::Float32Type>().values().to_vec(),
    }))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow_array::{
        BooleanArray, DictionaryArray, FixedSizeListArray, Float64Array, Int64Array, LargeStringArray,
        ListArray, StringArray, TimestampMicrosecondArray, UInt64Array, builder::LargeListBuilder,
        builder::PrimitiveBuilder,
    };
    use half::f16;
    use parquet::arrow::ArrowWriter;
    use serde_json::json;

    use super::*;

    fn rows(columns: Vec<(&str, ArrayRef)>) -> Result<Vec<Row>> {
        let batch = RecordBatch::try_from_iter(columns)?;
        let mut file = Vec::new();
        let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None)?;
        writer.write(&batch)?;
        writer.close()?;
        read(bytes::Bytes::from(file), &Columns::default(), 0)?.rows.collect()
    }

    fn ids(n: usize) -> ArrayRef {
        Arc::new(StringArray::from_iter_values((0..n).map(|i| i.to_string())))
    }

    fn lists(rows: &[Option<Vec<Option<f32>>>]) -> ArrayRef {
        Arc::new(ListArray::from_iter_primitive::<types::Float32Type, _, _>(rows.to_vec()))
    }

    #[test]
    fn every_other_column_becomes_metadata_with_its_type() {
        let vectors = lists(&vec![Some(vec![Some(1.0), Some(2.0)]); 2]);
        let got = rows(vec![
            ("id", ids(2)),
            ("vector", vectors),
            ("yes", Arc::new(BooleanArray::from(vec![true, false]))),
            ("big", Arc::new(UInt64Array::from(vec![u64::MAX, 0]))),
            ("x", Arc::new(Float64Array::from(vec![Some(0.1), None]))),
            ("text", Arc::new(LargeStringArray::from(vec!["ä", ""]))),
            ("kind", Arc::new(vec!["a", "b"].into_iter().collect::<DictionaryArray<types::Int32Type>>())),
            ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_500_000, 0]).with_timezone("UTC"))),
            ("metadata", Arc::new(StringArray::from(vec![Some("{\"deep\":[1]}"), None]))),
        ]);
        let got: Vec<Entry> = got.unwrap().into_iter().map(|row| row.content.unwrap()).collect();
        let first = json!({"yes": true, "big": u64::MAX, "x": 0.1, "text": "ä", "kind": "a",
            "at": "1970-01-01T00:00:01.500Z", "deep": [1]});
        assert_eq!(got[0], Entry::new("0").vector([1.0, 2.0]).metadata(first));
        let second = json!({"yes": false, "big": 0, "text": "", "kind": "b", "at": "1970-01-01T00:00:00Z"});
        assert_eq!(got[1].metadata, second);
    }

    #[test]
    fn vectors_come_in_every_list_and_width() {
        let fixed = FixedSizeListArray::from_iter_primitive::<types::Float64Type, _, _>(
            vec![Some(vec![Some(0.5)])],
            1,
        );
        let got =
            rows(vec![("id", Arc::new(Int64Array::from(vec![-7]))), ("vector", Arc::new(fixed))]).unwrap();
        assert_eq!(got[0].content, Ok(Entry::new("-7").vector([0.5]).metadata(json!({}))));

        let mut builder = LargeListBuilder::new(PrimitiveBuilder::<types::Float16Type>::new());
        builder.append_value([Some(f16::from_f32(0.25))]);
        let got = rows(vec![("id", ids(1)), ("vector", Arc::new(builder.finish()))]).unwrap();
        assert_eq!(got[0].content.as_ref().unwrap().vector.as_deref(), Some(&[0.25][..]));
    }

    #[test]
    fn bad_cells_make_bad_rows_and_the_rest_goes_on() {
        let vectors =
            lists(&[Some(vec![Some(1.0), None]), None, Some(vec![Some(1.0)]), Some(vec![Some(1.0)])]);
        let metadata = StringArray::from(vec!["{}", "{}", "[]", "{\"x\":1}"]);
        let x = Float64Array::from(vec![Some(1.0), Some(f64::NAN), None, Some(2.0)]);
        let got = rows(vec![
            ("id", ids(4)),
            ("vector", vectors),
            ("x", Arc::new(x)),
            ("metadata", Arc::new(metadata)),
        ]);
        let reasons: Vec<String> =
            got.unwrap().into_iter().map(|row| row.content.unwrap_err().reason).collect();
        let wanted = ["component is null", "NaN has no JSON form", "not a JSON object", "there twice"];
        for (reason, wanted) in reasons.iter().zip(wanted) {
            assert!(reason.contains(wanted), "{reason}");
        }
    }

    #[test]
    fn wrong_columns_are_refused_at_once() {
        let refusal = |columns| format!("{:#}", rows(columns).unwrap_err());
        assert!(
            refusal(vec![("key", ids(1)), ("vector", lists(&[None]))]).contains("columns are: key, vector")
        );
        assert!(refusal(vec![("id", ids(1)), ("vector", ids(1))]).contains("list of floats"));
        let flat: ArrayRef = Arc::new(Float64Array::from(vec![1.0]));
        assert!(
            refusal(vec![("id", flat.clone()), ("vector", lists(&[None]))]).contains("text or an integer")
        );
        assert!(refusal(vec![("id", ids(1)), ("vector", flat)]).contains("list of floats"));
        assert!(read(bytes::Bytes::from_static(b"PAR1 or so"), &Columns::default(), 0).is_err());
    }
}
