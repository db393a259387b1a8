//! `.npy` vectors with their ids and metadata from an NDJSON file: row i belongs to line i.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Map, Value};
use vecgrid_client::Entry;

use super::{Bad, Row, ndjson::Lines, npy::NpyReader};

/// Vectors of one file, each with its line.
pub struct NpyRows<R, L> {
    vectors: NpyReader<R>,
    lines: Option<Lines<L>>,
    id_field: Option<String>,
    next_row: u64,
    ended: bool,
}

impl NpyRows<BufReader<File>, BufReader<File>> {
    /// Opens the files. Without `metadata`, entries have none. `id_field` names the id inside a
    /// line; without it the row's number is the id.
    pub fn open(
        path: &Path,
        metadata: Option<&Path>,
        id_field: Option<&str>,
        first_row: u64,
    ) -> Result<Self> {
        let vectors = NpyReader::open(path)?;
        let lines = match metadata {
            Some(path) => Some(File::open(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        Ok(Self::new(vectors, lines.map(BufReader::new), id_field, first_row))
    }
}

impl<R: std::io::Read, L: BufRead> NpyRows<R, L> {
    pub fn new(vectors: NpyReader<R>, lines: Option<L>, id_field: Option<&str>, first_row: u64) -> Self {
        let (lines, id_field) = (lines.map(Lines::new), id_field.map(str::to_owned));
        Self { vectors, lines, id_field, next_row: first_row, ended: false }
    }

    fn row(&mut self) -> Result<Option<Row>> {
        let Some(vector) = self.vectors.next_row()? else {
            self.check_end()?;
            return Ok(None);
        };
        let number = self.next_row;
        self.next_row += 1;
        let Some(lines) = &mut self.lines else {
            let entry = Entry::new(number.to_string()).vector(vector).metadata(Map::new());
            return Ok(Some(Row { number, content: Ok(entry) }));
        };
        let Some(line) = lines.next_line()? else {
            bail!(
                "the metadata ends after line {}, the array has {} rows",
                lines.line(),
                self.vectors.rows()
            );
        };
        let id_field = self.id_field.as_deref();
        let content = line.and_then(|text| {
            let bad = |reason| Bad { reason, text: text.to_owned() };
            let mut fields: Map<String, Value> =
                serde_json::from_str(text).map_err(|e| bad(e.to_string()))?;
            let id = match id_field {
                None => number.to_string(),
                Some(name) => match fields.remove(name) {
                    Some(Value::String(id)) => id,
                    Some(Value::Number(id)) if id.is_i64() || id.is_u64() => id.to_string(),
                    Some(_) => return Err(bad(format!("the field `{name}` is neither text nor an integer"))),
                    None => return Err(bad(format!("there is no field `{name}` to take the id from"))),
                },
            };
            Ok(Entry::new(id).vector(vector).metadata(fields))
        });
        Ok(Some(Row { number, content }))
    }

    fn check_end(&mut self) -> Result<()> {
        if let Some(lines) = &mut self.lines {
            let more = lines.next_line()?.is_some();
            ensure!(
                !more,
                "the metadata goes on after the array's {} rows: do they belong together?",
                self.vectors.rows()
            );
        }
        Ok(())
    }
}

impl<R: std::io::Read, L: BufRead> Iterator for NpyRows<R, L> {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        if self.ended {
            return None;
        }
        let row = self.row().transpose();
        self.ended = !matches!(row, Some(Ok(_)));
        row
    }
}
