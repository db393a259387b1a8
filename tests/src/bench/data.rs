//! What every run measures on: rows, queries, truth.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use crate::{
    npy::{self, Matrix},
    truth::{Judge, Metric},
};

/// Options of every run.
#[derive(Debug, Clone, Args)]
pub struct Data {
    /// Vectors of the rows: an .npy of f16 or f32
    #[arg(long, value_name = "B.npy")]
    pub base: PathBuf,
    /// Vectors of the queries
    #[arg(long, value_name = "Q.npy")]
    pub queries: PathBuf,
    /// Nearest rows of each query, i32, nearest first; computed exactly when absent
    #[arg(long, value_name = "T.npy")]
    pub truth: Option<PathBuf>,
    /// cosine, euclidean or dot
    #[arg(long, default_value = "cosine")]
    pub metric: Metric,
    /// Hits per query
    #[arg(long, default_value_t = 10)]
    pub k: usize,
    /// Take only the first rows; a given truth does not fit then and is computed anew
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,
    /// Take only the first queries
    #[arg(long, value_name = "QUERIES")]
    pub limit_queries: Option<usize>,
    /// Breadths of the walk, comma-separated
    #[arg(long, value_delimiter = ',', default_value = "16,32,64,128,256")]
    pub ef: Vec<usize>,
    /// Links per node
    #[arg(long, default_value_t = 16)]
    pub m: u32,
    /// Breadth of the build
    #[arg(long, default_value_t = 200)]
    pub ef_construction: u32,
    /// Threads that build
    #[arg(long, default_value_t = 2)]
    pub build_threads: usize,
    /// Write one JSON object per line to this file
    #[arg(long, value_name = "OUT")]
    pub json: Option<PathBuf>,
}

/// Loaded.
#[derive(Debug)]
pub struct Set {
    /// Rows.
    pub base: Matrix<f32>,
    /// Queries.
    pub queries: Matrix<f32>,
    /// The truth of each query, at least `k` long.
    pub truth: Matrix<i32>,
    /// How distances are measured.
    pub metric: Metric,
}

impl Data {
    /// Reads the files; computes the truth when there is none that fits.
    ///
    /// # Errors
    /// When a file is absent, damaged, or does not fit the others.
    pub fn load(&self) -> Result<Set> {
        let mut base = npy::read_f32(&self.base)?;
        let mut queries = npy::read_f32(&self.queries)?;
        let whole = base.rows();
        base.truncate(self.limit.unwrap_or(whole).min(whole));
        queries.truncate(self.limit_queries.unwrap_or(queries.rows()).min(queries.rows()));
        ensure!(base.rows() > 0 && queries.rows() > 0, "there are no rows or no queries");
        ensure!(
            base.columns == queries.columns,
            "rows have {} components, queries {}",
            base.columns,
            queries.columns
        );
        let given = match &self.truth {
            Some(path) if base.rows() == whole => Some(npy::read_i32(path)?),
            Some(_) => {
                eprintln!("--limit changes the truth: computing it");
                None
            }
            None => None,
        };
        let truth = match given {
            Some(truth) => truth,
            None => super::index::exact(&base, &queries, self.metric, self.k)?,
        };
        ensure!(
            truth.columns >= self.k.min(base.rows()),
            "the truth has {} rows per query, not {}",
            truth.columns,
            self.k
        );
        ensure!(
            truth.rows() >= queries.rows(),
            "the truth is of {} queries, not {}",
            truth.rows(),
            queries.rows()
        );
        Ok(Set { base, queries, truth, metric: self.metric })
    }
}

impl Set {
    /// Mean recall of answers, one per query, in order.
    pub fn recall(&self, k: usize, answers: &[Vec<usize>]) -> f64 {
        let one = |(query, found): (usize, &Vec<usize>)| {
            let (query, truth) = (self.queries.row(query), self.truth.row(query));
            Judge { base: &self.base, metric: self.metric, query, truth }.recall(k, found)
        };
        let sum: f64 = answers.iter().enumerate().map(one).sum();
        super::report::round(sum / answers.len().max(1) as f64, 5)
    }
}
