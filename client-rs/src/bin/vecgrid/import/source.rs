//! The files as one sequence of rows, numbered from 0 across all of them.

use std::{
    collections::VecDeque,
    fs::File,
    io::BufReader,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use super::Import;
use crate::{
    exit::Failure,
    formats::{Format, Row, Rows, ndjson, npy::NpyReader, npy_rows::NpyRows, parquet_reader},
};

/// So many rows are looked at in search of a first vector.
const PEEK_ROWS: usize = 1_000;

pub struct Source {
    files: VecDeque<(PathBuf, Format)>,
    metadata: Option<PathBuf>,
    id_field: Option<String>,
    columns: parquet_reader::Columns,
    current: Option<Rows>,
    next_row: u64,
    /// Rows that were looked at already.
    peeked: VecDeque<Result<Row>>,
    ended: bool,
}

impl Source {
    /// Finds out what the files are; does not read them yet.
    pub fn open(import: &Import) -> Result<Self> {
        let with_format = |path: &PathBuf| Ok((path.clone(), Format::of(path, import.format)?));
        let files: VecDeque<(PathBuf, Format)> =
            import.files.iter().map(with_format).collect::<Result<_>>()?;
        if import.metadata.is_some()
            && !(files.len() == 1 && files.iter().all(|(_, format)| *format == Format::Npy))
        {
            return Err(Failure::usage("--metadata goes with exactly one .npy file").into());
        }
        Ok(Self {
            files,
            metadata: import.metadata.clone(),
            id_field: import.id_field.clone(),
            columns: parquet_reader::Columns {
                id: import.id_column.clone(),
                vector: import.vector_column.clone(),
            },
            current: None,
            next_row: 0,
            peeked: VecDeque::new(),
            ended: false,
        })
    }

    /// How many rows there are, when the files tell. Notices files that are missing or broken.
    pub fn total(&self) -> Result<Option<u64>> {
        let mut total = Some(0);
        for (path, format) in &self.files {
            let rows = match format {
                Format::Npy => Some(NpyReader::open(path)?.rows()),
                Format::Parquet => Some(parquet_reader::open(path, &self.columns, 0)?.total),
                Format::Ndjson if path == Path::new("-") => None,
                Format::Ndjson => {
                    File::open(path).with_context(|| path.display().to_string())?;
                    None
                }
            };
            total = total.zip(rows).map(|(total, rows)| total + rows);
        }
        Ok(total)
    }

    /// Components of the first vector.
    pub fn dimension(&mut self) -> Result<Option<usize>> {
        let mut at = 0;
        while at < PEEK_ROWS && self.peek(at) {
            if let Some(Ok(Row { content: Ok(entry), .. })) = self.peeked.get(at)
                && let Some(vector) = &entry.vector
            {
                return Ok(Some(vector.len()));
            }
            at += 1;
        }
        Ok(None)
    }

    /// Whether metadata lines have ids, and nobody said to use them.
    pub fn forgot_id_field(&mut self) -> Result<bool> {
        if self.metadata.is_none() || self.id_field.is_some() || !self.peek(0) {
            return Ok(false);
        }
        let first = self.peeked.front();
        Ok(matches!(first, Some(Ok(Row { content: Ok(entry), .. })) if entry.metadata.get("id").is_some()))
    }

    /// Whether there is a row at this distance; it is kept for later.
    fn peek(&mut self, at: usize) -> bool {
        while self.peeked.len() <= at {
            match self.read() {
                Some(row) => self.peeked.push_back(row),
                None => return false,
            }
        }
        true
    }

    fn read(&mut self) -> Option<Result<Row>> {
        loop {
            if self.ended {
                return None;
            }
            if self.current.is_none() {
                let (path, format) = self.files.pop_front()?;
                match self.rows(&path, format) {
                    Ok(rows) => self.current = Some(rows),
                    Err(error) => {
                        self.ended = true;
                        return Some(Err(error));
                    }
                }
            }
            match self.current.as_mut().and_then(Iterator::next) {
                Some(Ok(row)) => {
                    self.next_row = row.number + 1;
                    return Some(Ok(row));
                }
                // After an error nothing of the file is worth reading.
                Some(Err(error)) => {
                    self.ended = true;
                    return Some(Err(error));
                }
                None => self.current = None,
            }
        }
    }

    fn rows(&self, path: &Path, format: Format) -> Result<Rows> {
        let first = self.next_row;
        Ok(match format {
            Format::Npy => {
                Box::new(NpyRows::open(path, self.metadata.as_deref(), self.id_field.as_deref(), first)?)
            }
            Format::Parquet => Box::new(parquet_reader::open(path, &self.columns, first)?.rows),
            Format::Ndjson if path == Path::new("-") => {
                Box::new(ndjson::Reader::new(BufReader::new(std::io::stdin()), first))
            }
            Format::Ndjson => {
                let file = File::open(path).with_context(|| path.display().to_string())?;
                Box::new(ndjson::Reader::new(BufReader::with_capacity(1 << 20, file), first))
            }
        })
    }
}

impl Iterator for Source {
    type Item = Result<Row>;

    fn next(&mut self) -> Option<Result<Row>> {
        match self.peeked.pop_front() {
            Some(row) => Some(row),
            None => self.read(),
        }
    }
}
