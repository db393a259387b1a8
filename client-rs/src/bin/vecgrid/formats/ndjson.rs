//! NDJSON: `{"id": …, "vector": […], "metadata": {…}}`, one entry per line.
//!
//! Unknown fields are refused, as over REST: a misspelt `metdata` would vanish silently otherwise.
//! `version` is read over, so that answers of the daemon can be fed back.

use std::io::{BufRead, Write};

use anyhow::{Context as _, Result};
use serde::Deserialize;
use serde_json::{Map, Value};
use vecgrid_client::Entry;

use super::{Bad, Row, Writer};
use crate::output;

/// Longest line; larger than any entry that the daemon takes.
const MAX_LINE_BYTES: usize = 8 << 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    #[serde(default)]
    vector: Option<Vec<f32>>,
    #[serde(default)]
    metadata: Option<Map<String, Value>>,
    #[serde(default, rename = "version")]
    _version: serde::de::IgnoredAny,
}

/// Lines of a text file, none longer than memory allows, without the empty ones.
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// Lines read so far, empty ones too.
    line: u64,
}

impl<R: BufRead> Lines<R> {
    pub fn new(source: R) -> Self {
        Self { source, buffer: Vec::new(), line: 0 }
    }

    /// Number of the line that was read last, from 1.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// The next line; `None` at the end.
    pub fn next_line(&mut self) -> Result<Option<Result<&str, Bad>>> {
        loop {
            self.buffer.clear();
            let mut limited = std::io::Read::take(&mut self.source, MAX_LINE_BYTES as u64 + 1);
            let read = limited
                .read_until(b'\n', &mut self.buffer)
                .with_context(|| format!("after line {}", self.line))?;
            if read == 0 {
                return Ok(None);
            }
            self.line += 1;
            if self.buffer.len() > MAX_LINE_BYTES {
                self.skip_rest_of_line()?;
                let reason = format!("the line is longer than {MAX_LINE_BYTES} bytes");
                return Ok(Some(Err(Bad { reason, text: String::new() })));
            }
            if !self.buffer.trim_ascii().is_empty() {
                break;
            }
        }
        let line = self.buffer.trim_ascii();
        Ok(Some(std::str::from_utf8(line).map_err(|e| Bad {
            reason: format!("not UTF-8: {e}"),
            text: String::from_utf8_lossy(line).into_owned(),
        })))
    }

    fn skip_rest_of_line(&mut self) -> Result<()> {
        while self.buffer.last() != Some(&b'\n') {
            self.buffer.clear();
            let mut limited = std::io::Read::take(&mut self.source, MAX_LINE_BYTES as u64);
            if limited.read_until(b'\n', &mut self.buffer)? == 0 {
                break;
            }
        }
        Ok(())
    }
}

/// Entries of an NDJSON file.
pub struct Reader<R> {
    lines: Lines<R>,
    next_row: u64,
}

impl<R: BufRead> Reader<R> {
    /// `first_row`: number of the first row, when other files come before.
    pub fn new(source: R, first_row: u64) -> Self {
        Self { lines: Lines::new(source), next_row: first_row }
    }
}

impl<R: BufRead> Iterator for Reader<R> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        let content = match self.lines.next_line() {
            Ok(Some(line)) => line.and_then(entry),
            Ok(None) => return None,
            Err(error) => return Some(Err(error)),
        };
        let row = Row { number: self.next_row, content };
        self.next_row += 1;
        Some(Ok(row))
    }
}

fn entry(text: &str) -> Result<Entry, Bad> {
    let line: Line =
        serde_json::from_str(text).map_err(|e| Bad { reason: e.to_string(), text: text.to_owned() })?;
    let mut entry = Entry::new(line.id).metadata(Value::Object(line.metadata.unwrap_or_default()));
    entry.vector = line.vector;
    Ok(entry)
}

/// Writes an NDJSON file.
pub struct NdjsonWriter<W> {
    out: W,
}

impl<W: Write> NdjsonWriter<W> {
    pub fn new(out: W) -> Self {
        Self { out }
    }
}

impl<W: Write + Send> Writer for NdjsonWriter<W> {
    fn write(&mut self, mut entry: Entry) -> Result<()> {
        entry.version = None;
        // As an I/O error, so that a pipe that nobody reads any more is told from a real one.
        serde_json::to_writer(&mut self.out, &output::entry_json(&entry)).map_err(std::io::Error::from)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.out.flush()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(text: &[u8]) -> Vec<Row> {
        Reader::new(text, 0).collect::<Result<_>>().unwrap()
    }

    fn reason(row: &Row) -> &str {
        &row.content.as_ref().unwrap_err().reason
    }

    #[test]
    fn entries_are_read_and_bad_lines_do_not_stop_the_rest() {
        let rows = read(
            b"{\"id\":\"a\",\"vector\":[1,2.5],\"metadata\":{\"n\":1}}\n\n  {\"id\":\"b\",\"version\":\"1-2\"}\r\n\
              nonsense\n{\"id\":1}\n{\"id\":\"c\",\"metdata\":{}}\n{\"id\":\"d\",\"metadata\":[]}\n\xff\n{\"id\":\"e\"}",
        );
        assert_eq!(rows.iter().map(|row| row.number).collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
        let a = rows[0].content.as_ref().unwrap();
        assert_eq!((a.vector.as_deref(), &a.metadata), (Some(&[1.0, 2.5][..]), &json!({"n": 1})));
        assert_eq!(rows[1].content.as_ref().unwrap(), &Entry::new("b").metadata(json!({})));
        assert_eq!(rows[2].content.as_ref().unwrap_err().text, "nonsense");
        assert!(reason(&rows[3]).contains("expected a string"));
        assert!(reason(&rows[4]).contains("metdata"));
        assert!(rows[5].content.is_err());
        assert!(reason(&rows[6]).contains("UTF-8"));
        assert_eq!(rows[7].content.as_ref().unwrap().id, "e");
    }

    #[test]
    fn a_line_without_end_is_not_kept_in_memory() {
        let mut text = vec![b'x'; MAX_LINE_BYTES * 2 + 5];
        text.extend(b"\n{\"id\":\"a\"}\n");
        let rows = read(&text);
        assert!(reason(&rows[0]).contains("longer"));
        assert_eq!(rows[1].content.as_ref().unwrap().id, "a");
        assert_eq!(rows.len(), 2);
    }

    #[test]
    fn writing_and_reading_is_lossless() {
        // Every exponent of f32, with awkward mantissas; then doubles that lazy parsers round.
        let mut vector: Vec<f32> = Vec::new();
        let mut bits: u32 = 1;
        while vector.len() < 20_000 {
            bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            vector.extend(Some(f32::from_bits(bits)).filter(|x| x.is_finite()));
        }
        vector.extend([0.0, -0.0, f32::MIN_POSITIVE, 1e-45, f32::MAX, f32::MIN]);
        let metadata = json!({
            "doubles": [0.1, 1.0 / 3.0, 5e-324, 1.797_693_134_862_315_7e308, 2.225_073_858_507_201e-308, 8.41e21],
            "integers": [u64::MAX, i64::MIN, 0, 9_007_199_254_740_993_i64],
            "text": "ä\u{0}\n\"\\\u{1f600}\u{2028}", "null": null, "deep": {"a": [{"b": []}]},
        });
        let entries = [
            Entry::new("a\n\u{0}../ä").vector(vector).metadata(metadata),
            Entry::new("no vector").metadata(json!({})),
            Entry::new("empty vector").vector([]).metadata(json!({"x": 1})),
        ];
        let mut file = Vec::new();
        let mut writer = Box::new(NdjsonWriter::new(&mut file));
        for entry in &entries {
            writer.write(entry.clone()).unwrap();
        }
        writer.finish().unwrap();
        let back: Vec<Entry> = read(&file).into_iter().map(|row| row.content.unwrap()).collect();
        assert_eq!(back, entries);
        let bits = |e: &Entry| e.vector.as_ref().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert!(bits(&back[0]) == bits(&entries[0]));
    }
}
