//! The data sets: the sample that ships with the project, and the full set when it is there.
//!
//! Both are WordNet glosses with metadata, queries, their nearest rows, and eight filters with
//! the nearest matching rows.

use std::{
    collections::HashMap,
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::{
    binaries,
    npy::{self, Matrix},
};

/// One row's texts.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its id.
    pub id: String,
    /// Everything else.
    pub metadata: Map<String, Value>,
}

/// A filter with its truth.
#[derive(Debug, Clone)]
pub struct FilterCase {
    /// In the REST form.
    pub filter: Value,
    /// How many rows match.
    pub matches: u64,
    /// Nearest matching rows of the first queries.
    pub truth: Matrix<i32>,
}

/// Vectors, texts, queries and truth.
#[derive(Debug, Clone)]
pub struct DataSet {
    /// Vectors of the rows.
    pub base: Matrix<f32>,
    /// Texts of the rows.
    pub rows: Vec<Row>,
    /// Vectors that are not among the rows.
    pub queries: Matrix<f32>,
    /// Nearest rows of each query, by cosine.
    pub truth: Matrix<i32>,
    /// Filters.
    pub filters: Vec<FilterCase>,
    by_id: HashMap<String, usize>,
}

impl DataSet {
    /// Row number of an id.
    ///
    /// # Panics
    /// When there is no such row: the daemon answered with an id that was never stored.
    pub fn row_of(&self, id: &str) -> usize {
        *self.by_id.get(id).unwrap_or_else(|| panic!("the id {id:?} was never stored"))
    }
}

/// The folder of the sample.
pub fn sample_folder() -> PathBuf {
    binaries::crate_folder().join("sample")
}

/// The sample that ships with the project.
///
/// # Panics
/// When it is not there or damaged.
pub fn sample() -> DataSet {
    let folder = sample_folder();
    let names = Names {
        base: "wordnet_8k.f16.npy",
        rows: "wordnet_8k.jsonl",
        queries: "queries.f16.npy",
        truth: "truth.npy",
        filters: "filters.json",
    };
    let filtered = |name: &str| npy::read_i32(&sample_folder().join(name));
    load(&folder, &names, filtered).unwrap_or_else(|e| panic!("the sample in {}: {e:#}", folder.display()))
}

/// Where the full set would be: `$VECGRID_DATA`, or `../shared/data` beside the workspace.
pub fn wordnet_folder() -> PathBuf {
    env::var_os("VECGRID_DATA").map_or_else(|| binaries::workspace().join("../shared/data"), PathBuf::from)
}

/// The full set; `None` when it is not on this machine.
///
/// # Panics
/// When it is there but damaged.
pub fn wordnet() -> Option<DataSet> {
    wordnet_in(&wordnet_folder())
}

/// The full set in a folder; `None` when it is not there.
///
/// # Panics
/// When it is there but damaged.
pub fn wordnet_in(folder: &Path) -> Option<DataSet> {
    let names = Names {
        base: "wordnet_base.f16.npy",
        rows: "wordnet_base.jsonl",
        queries: "wordnet_queries.f16.npy",
        truth: "wordnet_truth.npy",
        filters: "wordnet_filters.json",
    };
    if !folder.join(names.base).is_file() {
        return None;
    }
    let filtered = |name: &str| npy::read_npz_i32(&folder.join("wordnet_filtered_truth.npz"), name);
    Some(load(folder, &names, filtered).unwrap_or_else(|e| panic!("the set in {}: {e:#}", folder.display())))
}

struct Names {
    base: &'static str,
    rows: &'static str,
    queries: &'static str,
    truth: &'static str,
    filters: &'static str,
}

fn load(folder: &Path, names: &Names, filtered: impl Fn(&str) -> Result<Matrix<i32>>) -> Result<DataSet> {
    let base = npy::read_f32(&folder.join(names.base))?;
    let rows = read_rows(&folder.join(names.rows))?;
    ensure!(rows.len() == base.rows(), "{} texts for {} vectors", rows.len(), base.rows());
    let queries = npy::read_f32(&folder.join(names.queries))?;
    let truth = npy::read_i32(&folder.join(names.truth))?;
    ensure!(truth.rows() == queries.rows(), "{} truths for {} queries", truth.rows(), queries.rows());
    let filters = read_filters(&folder.join(names.filters), filtered)?;
    let by_id: HashMap<_, _> = rows.iter().enumerate().map(|(index, row)| (row.id.clone(), index)).collect();
    ensure!(by_id.len() == rows.len(), "an id appears twice");
    Ok(DataSet { base, rows, queries, truth, filters, by_id })
}

fn read_rows(path: &Path) -> Result<Vec<Row>> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let mut rows = Vec::new();
    for line in BufReader::new(file).lines() {
        let mut metadata: Map<String, Value> = serde_json::from_str(&line?)?;
        let id = metadata.remove("id").context("a row has no id")?;
        let id = id.as_str().context("an id is no string")?.to_owned();
        rows.push(Row { id, metadata });
    }
    Ok(rows)
}

fn read_filters(path: &Path, truth: impl Fn(&str) -> Result<Matrix<i32>>) -> Result<Vec<FilterCase>> {
    let bytes = fs::read(path).with_context(|| path.display().to_string())?;
    let list: Vec<Value> = serde_json::from_slice(&bytes)?;
    let case = |entry: &Value| {
        let name = entry["truth"].as_str().context("a filter without the name of its truth")?;
        let matches = entry["matches"].as_u64().context("a filter without its number of matches")?;
        Ok(FilterCase { filter: entry["filter"].clone(), matches, truth: truth(name)? })
    };
    list.iter().map(case).collect()
}
