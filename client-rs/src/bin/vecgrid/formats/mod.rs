//! Files of entries: NDJSON, `.npy` with an NDJSON of metadata, Parquet; each with a reader and a
//! writer that agree with each other to the last bit.
//!
//! A reader is an iterator of [`Row`]s. A row that is no entry is a [`Bad`] row and the reader goes
//! on; an error ends it, because the file itself is broken. Readers hold a chunk, never a file.

pub mod ndjson;
pub mod npy;
pub mod npy_rows;
pub mod npy_writer;
pub mod parquet_reader;
pub mod parquet_value;
pub mod parquet_writer;

use std::{fmt, path::Path};

use anyhow::Result;
use vecgrid_client::Entry;

use crate::exit::Failure;

/// One row of a file.
#[derive(Debug)]
pub struct Row {
    /// Its position in all files together, from 0.
    pub number: u64,
    /// What it holds.
    pub content: Result<Entry, Bad>,
}

/// A row that is no entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Bad {
    /// Why.
    pub reason: String,
    /// The row as text, as far as there is one.
    pub text: String,
}

/// A file's rows.
pub type Rows = Box<dyn Iterator<Item = Result<Row>> + Send>;

/// What a file is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object per line
    Ndjson,
    /// A numpy array of vectors, metadata beside it
    Npy,
    /// Apache Parquet
    Parquet,
}

impl Format {
    /// The format that was asked for, else by the file's extension; standard input is NDJSON.
    pub fn of(path: &Path, asked: Option<Self>) -> Result<Self> {
        if let Some(format) = asked {
            return Ok(format);
        }
        if path == Path::new("-") {
            return Ok(Self::Ndjson);
        }
        let extension = path.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        match extension.as_deref() {
            Some("ndjson" | "jsonl") => Ok(Self::Ndjson),
            Some("npy") => Ok(Self::Npy),
            Some("parquet" | "pq") => Ok(Self::Parquet),
            _ => {
                let message = format!("{}: the extension tells no format", path.display());
                Err(Failure::usage(message).hint("Say it: --format ndjson, npy or parquet").into())
            }
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ndjson => "NDJSON",
            Self::Npy => "npy",
            Self::Parquet => "Parquet",
        })
    }
}

/// Takes entries, and makes a whole file of them at the end.
pub trait Writer: Send {
    /// Adds an entry.
    fn write(&mut self, entry: Entry) -> Result<()>;
    /// Completes the file.
    fn finish(self: Box<Self>) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_extension_tells_the_format_unless_told_otherwise() {
        let of = |name: &str| Format::of(Path::new(name), None).ok();
        assert_eq!(of("a.jsonl"), Some(Format::Ndjson));
        assert_eq!(of("a.NDJSON"), Some(Format::Ndjson));
        assert_eq!(of("-"), Some(Format::Ndjson));
        assert_eq!(of("base.f16.npy"), Some(Format::Npy));
        assert_eq!(of("a.parquet"), Some(Format::Parquet));
        assert_eq!(of("a.csv"), None);
        assert_eq!(Format::of(Path::new("a.csv"), Some(Format::Npy)).ok(), Some(Format::Npy));
    }
}
