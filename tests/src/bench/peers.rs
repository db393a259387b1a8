//! `bench peers`: other engines on the same vectors, by `tests/peers/peers.py`, in the same table.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::Value;

use super::{
    data::{Data, Set},
    report::{Report, Row},
};

/// Options of `bench peers`.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Shared ones.
    #[command(flatten)]
    pub data: Data,
    /// Which engines, comma-separated; default: all that peers.py knows
    #[arg(long, value_name = "NAMES")]
    pub engines: Option<String>,
}

/// Runs the script and takes its lines into the report.
///
/// # Errors
/// When the script cannot be run at all; an engine that is missing is a line of the report.
pub fn run(options: &Options, set: &Set, report: &mut Report) -> Result<()> {
    let folder = folder();
    let scratch = tempfile::tempdir()?;
    let lines = scratch.path().join("peers.json");
    // The same rows, queries and truth, even where --limit cut them.
    let base = scratch.path().join("base.npy");
    let queries = scratch.path().join("queries.npy");
    crate::npy::write_f32(&base, &set.base)?;
    crate::npy::write_f32(&queries, &set.queries)?;

    let mut command = Command::new(python(&folder)?);
    command.arg(folder.join("peers.py")).arg("--base").arg(&base).arg("--queries").arg(&queries);
    command.arg("--json").arg(&lines).args(arguments(&options.data));
    if let Some(engines) = &options.engines {
        command.args(["--engines", engines]);
    }
    if let (Some(truth), None, None) = (&options.data.truth, options.data.limit, options.data.limit_queries) {
        command.arg("--truth").arg(truth);
    }
    // Its own table would be a second one: ours has the same lines.
    let status =
        command.stdin(Stdio::null()).stdout(Stdio::null()).status().context("cannot run peers.py")?;
    let text = fs::read_to_string(&lines)
        .with_context(|| format!("peers.py ended with {status} and wrote nothing"))?;
    for line in text.lines() {
        let line: Value = serde_json::from_str(line).with_context(|| format!("peers.py wrote {line:?}"))?;
        match row(&line, &options.data, set) {
            Some(row) => report.add(&row)?,
            None => report.missing(&line)?,
        }
    }
    Ok(())
}

/// Where the scripts are.
pub fn folder() -> PathBuf {
    crate::binaries::crate_folder().join("peers")
}

/// The python that has the peers; makes its environment at the first use.
///
/// # Errors
/// When that is not possible.
pub fn python(folder: &Path) -> Result<PathBuf> {
    let setup = folder.join("setup.sh");
    let output = Command::new(&setup).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot run {}", setup.display()))?;
    ensure!(output.status.success(), "{} ended with {}", setup.display(), output.status);
    let path = String::from_utf8(output.stdout)?;
    let path = path.lines().last().context("setup.sh named no python")?;
    Ok(PathBuf::from(path.trim()))
}

fn arguments(data: &Data) -> Vec<String> {
    let ef: Vec<String> = data.ef.iter().map(ToString::to_string).collect();
    let pairs = [
        ("--metric", data.metric.name().to_owned()),
        ("--k", data.k.to_string()),
        ("--ef", ef.join(",")),
        ("--m", data.m.to_string()),
        ("--ef-construction", data.ef_construction.to_string()),
        ("--build-threads", data.build_threads.to_string()),
    ];
    pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
}

fn row(line: &Value, data: &Data, set: &Set) -> Option<Row> {
    let number = |name: &str| line[name].as_f64();
    Some(Row {
        engine: line["engine"].as_str()?.to_owned(),
        ef: usize::try_from(line["ef"].as_u64()?).ok()?,
        qps: number("qps")?,
        p50_us: number("p50_us")?,
        p99_us: number("p99_us")?,
        recall: number("recall")?,
        build_s: number("build_s")?,
        bytes_per_row: number("bytes_per_row")?,
        place: "peer",
        concurrency: 1,
        k: data.k,
        rows: set.base.rows(),
        dimension: set.base.columns,
        metric: set.metric.name(),
        build_threads: data.build_threads,
        import_rows_per_s: None,
        version: line["version"].as_str().map(str::to_owned),
    })
}
