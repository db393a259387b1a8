//! `vecgrid bench`: how fast the daemon answers, as an application beside it would see.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use vecgrid_client::{Client, Search};

use crate::{context::Context, exit, exit::Failure, formats::npy::NpyReader, inputs, output};

/// Queries that are read from the file at most.
const MAX_QUERIES: usize = 100_000;

/// Measure searches per second, and how long they take
#[derive(Debug, Args)]
#[command(after_long_help = "\
Examples:
  vecgrid bench films --queries queries.npy
  vecgrid bench films --queries queries.npy --k 100 --ef 200 --concurrency 1,4,16
  vecgrid bench films --queries queries.npy --filter '{\"genre\": \"sf\"}' --json

Times are measured at this end of the connection and include it. A Unix socket is faster than TCP:
--endpoint unix:/run/vecgridd/vecgridd.sock")]
pub struct Bench {
    /// The collection
    collection: String,
    /// An .npy file of query vectors
    #[arg(long, value_name = "FILE")]
    queries: PathBuf,
    /// How many hits
    #[arg(long, short, default_value_t = 10)]
    k: u32,
    /// Breadth of the walk [default: the collection's]
    #[arg(long)]
    ef: Option<u32>,
    /// Recall to reach on average, 0.5 to 0.999, instead of --ef [default: the collection's]
    #[arg(long, value_name = "SHARE", conflicts_with = "ef")]
    target_recall: Option<f64>,
    /// Only entries that match
    #[arg(long, short, value_name = "JSON", value_parser = inputs::object)]
    filter: Option<Value>,
    /// Scan everything instead of walking the graph
    #[arg(long)]
    exact: bool,
    /// Requests in flight, one run for each
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "1,16", value_parser = clap::value_parser!(u16).range(1..=1024))]
    concurrency: Vec<u16>,
    /// Requests per run
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    requests: u32,
}

/// What one run measured.
#[derive(Debug, Serialize)]
struct Run {
    concurrency: u16,
    requests: usize,
    qps: f64,
    p50_us: u128,
    p99_us: u128,
    max_us: u128,
    hits: usize,
}

impl Bench {
    pub async fn run(self, context: &Context) -> Result<u8> {
        let searches = Arc::new(self.searches()?);
        let client = context.client().await?;
        let mut runs = Vec::new();
        for &concurrency in &self.concurrency {
            // Warm: connection, caches, and a check that the queries fit.
            let warm_up = (self.requests as usize / 10).clamp(1, 200);
            drive(&client, &searches, concurrency, warm_up).await?;
            runs.push(drive(&client, &searches, concurrency, self.requests as usize).await?);
        }
        if context.json() {
            output::json(&json!({
                "endpoint": client.endpoint().to_string(), "collection": self.collection, "k": self.k, "ef": self.ef,
                "target_recall": self.target_recall,
                "exact": self.exact, "filter": self.filter, "runs": runs,
            }))?;
            return Ok(exit::OK);
        }
        let ms = |us: u128| format!("{:.3}", us as f64 / 1e3);
        let rows: Vec<Vec<String>> = runs
            .iter()
            .map(|run| {
                let qps = format!("{:.0}", run.qps);
                vec![run.concurrency.to_string(), qps, ms(run.p50_us), ms(run.p99_us), ms(run.max_us)]
            })
            .collect();
        output::table(&["in flight", "searches/s", "p50 ms", "p99 ms", "max ms"], &rows)?;
        Ok(exit::OK)
    }

    fn searches(&self) -> Result<Vec<Search>> {
        let mut reader = NpyReader::open(&self.queries)?;
        let mut searches = Vec::new();
        while let Some(vector) = reader.next_row()? {
            let mut search =
                Search::new(&self.collection, vector).k(self.k).exact(self.exact).include_metadata(false);
            (search.ef, search.target_recall, search.filter) =
                (self.ef, self.target_recall, self.filter.clone());
            searches.push(search);
            if searches.len() >= MAX_QUERIES {
                break;
            }
        }
        if searches.is_empty() {
            return Err(Failure::usage(format!("{} has no rows", self.queries.display())).into());
        }
        Ok(searches)
    }
}

/// Sends `requests` searches with `concurrency` of them in flight, the queries in turn.
async fn drive(
    client: &Client,
    searches: &Arc<Vec<Search>>,
    concurrency: u16,
    requests: usize,
) -> Result<Run> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut workers = JoinSet::new();
    let started = Instant::now();
    for _ in 0..concurrency {
        let (client, searches, next) = (client.clone(), Arc::clone(searches), Arc::clone(&next));
        workers.spawn(async move {
            let (mut times, mut hits) = (Vec::new(), 0);
            loop {
                let at = next.fetch_add(1, Ordering::Relaxed);
                if at >= requests {
                    return Ok::<_, vecgrid_client::Error>((times, hits));
                }
                let Some(search) = searches.get(at % searches.len()) else { return Ok((times, hits)) };
                let asked = Instant::now();
                hits += client.search(search.clone()).await?.hits.len();
                times.push(asked.elapsed());
            }
        });
    }
    let (mut times, mut hits): (Vec<Duration>, usize) = (Vec::with_capacity(requests), 0);
    while let Some(worker) = workers.join_next().await {
        let (worker_times, worker_hits) = worker.context("a worker failed")??;
        times.extend(worker_times);
        hits += worker_hits;
    }
    let seconds = started.elapsed().as_secs_f64();
    times.sort_unstable();
    let qps = times.len() as f64 / seconds;
    let (p50_us, p99_us, max_us) = (percentile(&times, 50), percentile(&times, 99), percentile(&times, 100));
    Ok(Run { concurrency, requests: times.len(), qps, p50_us, p99_us, max_us, hits })
}

/// The smallest time that `percent` of all do not exceed, in microseconds.
fn percentile(sorted: &[Duration], percent: usize) -> u128 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).map_or(0, Duration::as_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_nearest_ranks() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_micros).collect();
        assert_eq!([50, 99, 100].map(|percent| percentile(&times, percent)), [100, 198, 200]);
        assert_eq!(percentile(&times[..1], 50), 1);
        assert_eq!(percentile(&[], 99), 0);
    }
}
