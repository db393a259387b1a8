//! Writes vectors to an `.npy` file of f32, ids and metadata to an NDJSON file beside it.
//!
//! The number of rows is known at the end only, so the header is written with room and completed by
//! `finish`; until then the file is no array.

use std::io::{Seek, SeekFrom, Write};

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value};
use vecgrid_client::Entry;

use super::Writer;
use crate::exit::Failure;

/// Bytes of magic, header size and header: numpy wants a multiple of 64.
const HEADER_BYTES: usize = 128;

pub struct NpyWriter<W, L> {
    array: W,
    lines: L,
    id_field: String,
    dimension: usize,
    rows: u64,
}

impl<W: Write + Seek, L: Write> NpyWriter<W, L> {
    /// `id_field`: the name under which a line holds the id.
    pub fn new(mut array: W, lines: L, id_field: &str, dimension: usize) -> Result<Self> {
        array.write_all(&[0; HEADER_BYTES])?;
        Ok(Self { array, lines, id_field: id_field.to_owned(), dimension, rows: 0 })
    }
}

impl<W: Write + Seek + Send, L: Write + Send> Writer for NpyWriter<W, L> {
    fn write(&mut self, entry: Entry) -> Result<()> {
        let Some(vector) = &entry.vector else {
            let message = format!("entry `{}` has no vector, and an array has no gaps", entry.id);
            return Err(Failure::usage(message).hint("Export as NDJSON or Parquet instead").into());
        };
        if vector.len() != self.dimension {
            bail!("entry `{}` has {} components instead of {}", entry.id, vector.len(), self.dimension);
        }
        let mut fields = Map::new();
        fields.insert(self.id_field.clone(), Value::String(entry.id));
        if let Value::Object(metadata) = entry.metadata {
            if metadata.contains_key(&self.id_field) {
                let message = format!("metadata has a field `{}` of its own", self.id_field);
                return Err(Failure::usage(message)
                    .hint("Put the id under another name: --id-field NAME")
                    .into());
            }
            fields.extend(metadata);
        }
        let row: Vec<u8> = vector.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.array.write_all(&row)?;
        serde_json::to_writer(&mut self.lines, &fields).map_err(std::io::Error::from)?;
        self.lines.write_all(b"\n")?;
        self.rows += 1;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let dictionary = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
            self.rows, self.dimension
        );
        let room = HEADER_BYTES - 10;
        // Two numbers of 20 digits fit; the padding ends in a newline as numpy's does.
        let padded = format!("{dictionary:<width$}\n", width = room - 1);
        let size = u16::try_from(padded.len()).context("the header does not fit")?;
        let mut header = b"\x93NUMPY\x01\x00".to_vec();
        header.extend(size.to_le_bytes());
        header.extend(padded.as_bytes());
        self.array.seek(SeekFrom::Start(0))?;
        self.array.write_all(&header)?;
        self.array.flush()?;
        self.lines.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use serde_json::json;

    use super::{super::npy::NpyReader, super::npy_rows::NpyRows, *};

    fn write(entries: &[Entry], id_field: &str) -> Result<(Vec<u8>, Vec<u8>)> {
        let (mut array, mut lines) = (Cursor::new(Vec::new()), Vec::new());
        let mut writer = Box::new(NpyWriter::new(&mut array, &mut lines, id_field, 3)?);
        for entry in entries {
            writer.write(entry.clone())?;
        }
        writer.finish()?;
        Ok((array.into_inner(), lines))
    }

    fn rows<'a>(array: &'a [u8], lines: &'a [u8], id_field: Option<&str>) -> NpyRows<&'a [u8], &'a [u8]> {
        let vectors = NpyReader::new(array, Some(array.len() as u64)).unwrap();
        NpyRows::new(vectors, Some(lines), id_field, 0)
    }

    fn entries() -> Vec<Entry> {
        vec![
            Entry::new("a").vector([0.1, -0.0, f32::MAX]).metadata(json!({"id": "other", "x": 1.0 / 3.0})),
            Entry::new("ä\n").vector([1e-45, 2.0, 3.0]).metadata(json!({})),
        ]
    }

    #[test]
    fn writing_and_reading_is_lossless() {
        let (array, lines) = write(&entries(), "key").unwrap();
        assert_eq!(array.len(), HEADER_BYTES + 2 * 3 * 4);
        let back: Vec<Entry> =
            rows(&array, &lines, Some("key")).map(|row| row.unwrap().content.unwrap()).collect();
        assert_eq!(back, entries());
    }

    #[test]
    fn what_cannot_come_back_is_refused() {
        assert!(write(&entries(), "id").unwrap_err().to_string().contains("of its own"));
        assert!(write(&[Entry::new("a")], "id").unwrap_err().to_string().contains("no vector"));
        assert!(write(&[Entry::new("a").vector([1.0])], "id").is_err());
    }

    #[test]
    fn arrays_and_lines_of_unequal_length_are_refused_at_the_end() {
        let (array, lines) = write(&entries(), "key").unwrap();
        let one_line = &lines[..=lines.iter().position(|b| *b == b'\n').unwrap()];
        let error = rows(&array, one_line, None).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("ends after line 1"), "{error}");
        let three = [&lines[..], b"{}\n"].concat();
        let error = rows(&array, &three, None).find_map(Result::err).unwrap();
        assert!(error.to_string().contains("goes on"), "{error}");
    }

    #[test]
    fn without_an_id_field_the_row_number_is_the_id() {
        let (array, lines) = write(&entries(), "key").unwrap();
        let back: Vec<Entry> = rows(&array, &lines, None).map(|row| row.unwrap().content.unwrap()).collect();
        assert_eq!((back[0].id.as_str(), back[1].id.as_str()), ("0", "1"));
        assert_eq!(back[1].metadata, json!({"key": "ä\n"}));
    }
}
