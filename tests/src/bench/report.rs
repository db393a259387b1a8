//! What a measurement is, how it is printed and kept.

use std::{
    fs::File,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Serialize;
use serde_json::Value;

use crate::load::percentile;

/// One line of the table. The first eight fields are fixed: others read them.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Who was measured.
    pub engine: String,
    /// Breadth of the walk; 0 where there is none.
    pub ef: usize,
    /// Queries per second, all clients together.
    pub qps: f64,
    /// Median time of one query, microseconds.
    pub p50_us: f64,
    /// 99th percentile, microseconds.
    pub p99_us: f64,
    /// Share of the `k` nearest that was found, by distance.
    pub recall: f64,
    /// Time to build the index, seconds.
    pub build_s: f64,
    /// Memory per row, bytes.
    pub bytes_per_row: f64,
    /// `in-process`, `socket`, `stream` (also over the socket) or `peer`.
    pub place: &'static str,
    /// Queries in flight.
    pub concurrency: usize,
    /// Hits per query.
    pub k: usize,
    /// Rows in the index.
    pub rows: usize,
    /// Components per vector.
    pub dimension: usize,
    /// `cosine`, `euclidean` or `dot`.
    pub metric: &'static str,
    /// Threads that built.
    pub build_threads: usize,
    /// Rows per second taken with `durability = sync`; only over a socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub import_rows_per_s: Option<f64>,
    /// Package and version; only of peers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Times of single queries and of all of them together.
#[derive(Debug)]
pub struct Clock {
    begun: Instant,
    times: Vec<Duration>,
}

impl Default for Clock {
    fn default() -> Self {
        Self { begun: Instant::now(), times: Vec::new() }
    }
}

impl Clock {
    /// Runs and times one query.
    pub fn time<T>(&mut self, query: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let answer = query();
        self.times.push(begun.elapsed());
        answer
    }

    /// Queries per second, median and 99th percentile in microseconds.
    pub fn summary(mut self) -> (f64, f64, f64) {
        let took = self.begun.elapsed();
        summary(&mut self.times, took)
    }
}

/// Queries per second, median and 99th percentile in microseconds.
pub fn summary(times: &mut [Duration], took: Duration) -> (f64, f64, f64) {
    let qps = times.len() as f64 / took.as_secs_f64().max(1e-9);
    let us = |time: Duration| time.as_secs_f64() * 1e6;
    let p50 = us(percentile(times, 0.5));
    (round(qps, 1), round(p50, 1), round(us(percentile(times, 0.99)), 1))
}

/// Keeps tables and files readable.
pub fn round(value: f64, digits: i32) -> f64 {
    let factor = 10f64.powi(digits);
    (value * factor).round() / factor
}

/// Prints each row as it comes, and writes it to a file.
#[derive(Debug)]
pub struct Report {
    file: Option<File>,
    rows: usize,
}

impl Report {
    /// Starts a table; with a path, also a file of one JSON object per line.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn new(path: Option<&Path>) -> Result<Self> {
        let file =
            path.map(|path| File::create(path).with_context(|| path.display().to_string())).transpose()?;
        println!(
            "{:<22}{:<12}{:>5}{:>5}{:>10}{:>10}{:>10}{:>9}{:>9}{:>8}{:>11}",
            "engine",
            "place",
            "conc",
            "ef",
            "qps",
            "p50_us",
            "p99_us",
            "recall",
            "build_s",
            "B/row",
            "import/s"
        );
        Ok(Self { file, rows: 0 })
    }

    /// Adds a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, row: &Row) -> Result<()> {
        let import = row.import_rows_per_s.map(|rate| format!("{rate:.0}")).unwrap_or_default();
        println!(
            "{:<22}{:<12}{:>5}{:>5}{:>10.0}{:>10.1}{:>10.1}{:>9.4}{:>9.1}{:>8.0}{import:>11}",
            row.engine,
            row.place,
            row.concurrency,
            row.ef,
            row.qps,
            row.p50_us,
            row.p99_us,
            row.recall,
            row.build_s,
            row.bytes_per_row
        );
        self.rows += 1;
        self.write(&serde_json::to_value(row)?)
    }

    /// Notes that somebody could not be measured, and why.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn missing(&mut self, line: &Value) -> Result<()> {
        println!("{line}");
        self.write(line)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    fn write(&mut self, line: &Value) -> Result<()> {
        if let Some(file) = &mut self.file {
            writeln!(file, "{line}")?;
        }
        Ok(())
    }
}
