//! Writes Parquet: `id` text, `vector` list of f32 (null where an entry has none), `metadata` JSON
//! text, which keeps every type that a column could not.

use std::{io::Write, sync::Arc};

use anyhow::Result;
use arrow_array::{
    RecordBatch,
    builder::{Float32Builder, ListBuilder, StringBuilder},
};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use vecgrid_client::Entry;

use super::{Writer, parquet_reader::METADATA};

/// Bytes of vectors and metadata that wait for a batch.
const BATCH_BYTES: usize = 4 << 20;
/// Bytes of a row group, about: it is held in memory until it is complete.
const GROUP_BYTES: usize = 64 << 20;

pub struct ParquetWriter<W: Write + Send> {
    out: ArrowWriter<W>,
    schema: SchemaRef,
    ids: StringBuilder,
    vectors: ListBuilder<Float32Builder>,
    metadata: StringBuilder,
    waiting: usize,
}

impl<W: Write + Send> ParquetWriter<W> {
    pub fn new(out: W) -> Result<Self> {
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let schema = Arc::new(Schema::new(vec![
            Field::new("id", DataType::Utf8, false),
            Field::new("vector", DataType::List(Arc::clone(&item)), true),
            Field::new(METADATA, DataType::Utf8, false),
        ]));
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            // Components hardly repeat: a dictionary of them costs memory and saves nothing.
            .set_column_dictionary_enabled("vector.list.item".into(), false)
            .build();
        Ok(Self {
            out: ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?,
            schema,
            ids: StringBuilder::new(),
            vectors: ListBuilder::new(Float32Builder::new()).with_field(item),
            metadata: StringBuilder::new(),
            waiting: 0,
        })
    }

    fn write_batch(&mut self) -> Result<()> {
        let columns: Vec<arrow_array::ArrayRef> = vec![
            Arc::new(self.ids.finish()),
            Arc::new(self.vectors.finish()),
            Arc::new(self.metadata.finish()),
        ];
        self.out.write(&RecordBatch::try_new(Arc::clone(&self.schema), columns)?)?;
        self.waiting = 0;
        if self.out.in_progress_size() >= GROUP_BYTES {
            self.out.flush()?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Writer for ParquetWriter<W> {
    fn write(&mut self, entry: Entry) -> Result<()> {
        self.ids.append_value(&entry.id);
        match &entry.vector {
            Some(vector) => {
                self.vectors.values().append_slice(vector);
                self.vectors.append(true);
            }
            None => self.vectors.append(false),
        }
        let metadata = entry.metadata.to_string();
        self.metadata.append_value(&metadata);
        self.waiting += entry.id.len() + metadata.len() + entry.vector.map_or(0, |vector| vector.len() * 4);
        if self.waiting >= BATCH_BYTES { self.write_batch() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.write_batch()?;
        self.out.close()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use serde_json::json;

    use super::{super::parquet_reader, *};

    #[test]
    fn writing_and_reading_is_lossless() {
        let mut entries = vec![
            Entry::new("ä\n\u{0}").vector([0.1, -0.0, 1e-45, f32::MAX]).metadata(json!({
                "n": u64::MAX, "x": 1.0 / 3.0, "null": null, "deep": {"a": [1, "b"]}, "id": "other", "vector": [1]
            })),
            Entry::new("no vector").metadata(json!({})),
            Entry::new("empty vector").vector([]).metadata(json!({"text": "x"})),
        ];
        // Several batches, and the readers' own batches across them.
        entries.extend(
            (0..1_600)
                .map(|i| Entry::new(format!("e{i}")).vector(vec![i as f32; 700]).metadata(json!({"i": i}))),
        );
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        let mut writer = Box::new(ParquetWriter::new(File::create(&path).unwrap()).unwrap());
        for entry in &entries {
            writer.write(entry.clone()).unwrap();
        }
        writer.finish().unwrap();
        let opened = parquet_reader::open(&path, &parquet_reader::Columns::default(), 0).unwrap();
        assert_eq!(opened.total, 1_603);
        let back: Vec<Entry> = opened.rows.map(|row| row.unwrap().content.unwrap()).collect();
        assert!(back == entries);
        assert!(back[0].vector.as_ref().unwrap()[1].is_sign_negative());
    }

    #[test]
    fn an_empty_collection_makes_an_empty_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.parquet");
        Box::new(ParquetWriter::new(File::create(&path).unwrap()).unwrap()).finish().unwrap();
        let opened = parquet_reader::open(&path, &parquet_reader::Columns::default(), 0).unwrap();
        assert_eq!((opened.total, opened.rows.count()), (0, 0));
    }
}
