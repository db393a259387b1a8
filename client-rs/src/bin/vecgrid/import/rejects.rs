//! Rows that were refused, here or by the daemon: counted, shown a few, kept on wish.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;
use serde_json::json;
use vecgrid_client::{Entry, EntryError};

use crate::{formats::Bad, output};

/// So many are named on standard error.
const SHOWN: u64 = 5;
/// With so many bad rows this is not the right file.
const MAX_BAD: usize = 1_000_000;

pub struct Rejects {
    file: Option<BufWriter<File>>,
    quiet: bool,
    skip: u64,
    /// Entries that went on to the daemon.
    passed: u64,
    /// For each bad row, how many entries had passed before it: tells rows from entries later.
    bad_at: Vec<u64>,
    count: u64,
    /// Why the file could not be written.
    failed: Option<std::io::Error>,
}

#[derive(Serialize)]
struct RefusedJson<'a> {
    row: u64,
    code: &'a str,
    error: &'a str,
    outcome: &'static str,
    entry: output::EntryJson<'a>,
}

impl Rejects {
    /// `skip`: number of the first row.
    pub fn create(path: Option<&Path>, skip: u64, quiet: bool) -> Result<Self> {
        let file = match path {
            Some(path) => {
                Some(BufWriter::new(File::create(path).with_context(|| path.display().to_string())?))
            }
            None => None,
        };
        Ok(Self { file, quiet, skip, passed: 0, bad_at: Vec::new(), count: 0, failed: None })
    }

    /// Notes that an entry goes on to the daemon.
    pub fn passed(&mut self, entry: Entry) -> Result<Option<Entry>> {
        self.passed += 1;
        Ok(Some(entry))
    }

    /// A row that is no sound entry.
    pub fn bad(&mut self, row: u64, bad: &Bad) -> Result<Option<Entry>> {
        self.bad_at.push(self.passed);
        self.add(
            row,
            &json!({"row": row, "code": "invalid_row", "error": bad.reason, "line": bad.text}),
            &bad.reason,
        );
        if self.bad_at.len() >= MAX_BAD {
            bail!("{MAX_BAD} bad rows: is this the right file for this collection?");
        }
        Ok(None)
    }

    /// An entry that the daemon refused.
    pub fn refused(&mut self, error: &EntryError, entry: &Entry) {
        let row = self.row_of(error.index);
        let line = RefusedJson {
            row,
            code: &error.code,
            error: &error.message,
            outcome: error.outcome.as_str(),
            entry: output::entry_json(entry),
        };
        self.add(row, &line, &error.message);
    }

    /// The row of the entry that went on as the `index`th.
    pub fn row_of(&self, index: u64) -> u64 {
        self.skip + index + self.bad_at.partition_point(|passed| *passed <= index) as u64
    }

    /// How many rows were refused.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Completes the file.
    pub fn finish(mut self) -> Result<()> {
        if let Some(file) = &mut self.file
            && self.failed.is_none()
        {
            self.failed = file.flush().err();
        }
        match self.failed {
            Some(error) => Err(error).context("the file of rejects could not be written"),
            None => Ok(()),
        }
    }

    fn add(&mut self, row: u64, line: &impl Serialize, reason: &str) {
        self.count += 1;
        if !self.quiet && self.count <= SHOWN {
            eprintln!("row {row}: {}", output::printable(reason));
        } else if !self.quiet && self.count == SHOWN + 1 {
            eprintln!("… more rows are rejected");
        }
        if let Some(file) = &mut self.file
            && self.failed.is_none()
        {
            let written = serde_json::to_writer(&mut *file, line).map_err(std::io::Error::from);
            self.failed = written.and_then(|()| file.write_all(b"\n")).err();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn rows_and_entries_are_told_apart() {
        // Rows from 10: entry, bad, bad, entry, entry, bad.
        let mut rejects = Rejects::create(None, 10, true).unwrap();
        let bad = Bad { reason: "x".into(), text: "y".into() };
        rejects.passed(Entry::new("a")).unwrap();
        rejects.bad(11, &bad).unwrap();
        rejects.bad(12, &bad).unwrap();
        rejects.passed(Entry::new("b")).unwrap();
        rejects.passed(Entry::new("c")).unwrap();
        rejects.bad(15, &bad).unwrap();
        assert_eq!([0, 1, 2, 3].map(|index| rejects.row_of(index)), [10, 13, 14, 16]);
        assert_eq!(rejects.count(), 3);
    }

    #[test]
    fn the_file_has_a_line_per_row_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bad.ndjson");
        let mut rejects = Rejects::create(Some(&path), 0, true).unwrap();
        rejects.bad(0, &Bad { reason: "odd".into(), text: "{\n".into() }).unwrap();
        rejects.finish().unwrap();
        let line: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        assert_eq!(line, json!({"row": 0, "code": "invalid_row", "error": "odd", "line": "{\n"}));
    }
}
