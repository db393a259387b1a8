//! A daemon with one collection that holds the data set, as an app beside it uses it.
//!
//! The collection is created over REST, because index options are JSON there, and used over gRPC on
//! the Unix socket. The client has one thread: it runs on the cores it measures.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use vecgrid_client::{Coverage, Hit, Search, SearchAnswer};
use vecgrid_proto::v1 as pb;

use super::{K, verdict::median};
use crate::{
    daemon::{Daemon, Options},
    grpc::{self, Client},
    load,
    sample::DataSet,
};

/// The collection.
pub const COLLECTION: &str = "vecgrid-bench";
/// Linking all rows takes a minute or two in the slowest engine.
const BUILD_LIMIT: Duration = Duration::from_secs(900);
/// How often it is asked whether all is linked.
const POLL: Duration = Duration::from_millis(20);

/// What an import took.
#[derive(Debug, Clone, Copy)]
pub struct Import {
    /// Until the last row was acknowledged: durable and searchable.
    pub acknowledged: Duration,
    /// Until every row was in the graph.
    pub complete: Duration,
}

/// The daemon, and one client.
pub struct Served {
    /// The daemon.
    pub daemon: Daemon,
    runtime: Runtime,
    client: Client,
}

impl Served {
    /// A fresh daemon without collections.
    ///
    /// # Errors
    /// When the client cannot be made.
    pub fn start(partitions: u16, args: Vec<String>) -> Result<Self> {
        let daemon = Daemon::start_with(Options { partitions, args, ..Options::default() });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let client = grpc::client(runtime.block_on(daemon.socket_channel()));
        Ok(Self { daemon, runtime, client })
    }

    /// Makes the collection.
    ///
    /// # Errors
    /// What the daemon said when it refused, as when it does not know an index option.
    pub fn create(&self, dimension: usize, index: &Value) -> Result<()> {
        let body = json!({"dimension": dimension, "metric": "cosine", "durability": "sync", "index": index});
        let answer = self.daemon.rest().put(&format!("/v1/collections/{COLLECTION}"), &body);
        ensure!((200..300).contains(&answer.status), "the daemon refused {index}: {}", answer.text().trim());
        Ok(())
    }

    /// Sends all requests over one stream and waits until the graph is whole.
    ///
    /// # Errors
    /// When it does not become so.
    pub fn import(&self, requests: Vec<pb::UpsertRequest>, flat: bool) -> Result<Import> {
        let begun = Instant::now();
        let acknowledged = self.runtime.block_on(load::upsert_stream(&mut self.client.clone(), requests));
        self.wait_complete(flat)?;
        Ok(Import { acknowledged, complete: begun.elapsed() })
    }

    /// Waits until the graph is whole.
    ///
    /// # Errors
    /// When it does not become so in a quarter of an hour.
    pub fn wait_complete(&self, flat: bool) -> Result<()> {
        let begun = Instant::now();
        while !self.complete(flat)? {
            ensure!(begun.elapsed() < BUILD_LIMIT, "the graph is not whole after {BUILD_LIMIT:?}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }

    /// Is every row in the graph, and nothing being built?
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn complete(&self, flat: bool) -> Result<bool> {
        let info = self.info()?;
        if flat {
            return Ok(true);
        }
        if info.indexed < info.count {
            return Ok(false);
        }
        // Scraped only now: it costs more than a question.
        let metrics = self.daemon.admin().get("/metrics").text();
        Ok(["vecgrid_index_tail_rows", "vecgrid_index_building"]
            .iter()
            .all(|name| gauge(&metrics, name) == Some(0.0)))
    }

    /// What the daemon says of the collection.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn info(&self) -> Result<pb::CollectionInfo> {
        let request = pb::GetCollectionRequest { name: COLLECTION.into() };
        Ok(self.runtime.block_on(self.client.clone().get_collection(request))?.into_inner())
    }

    /// Private memory of the process, without files: the part that nobody else can use.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn anonymous_bytes(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.daemon.ports().pid))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("no RssAnon")?;
        let kib: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kib * 1024)
    }

    /// A connection over which the daemon has answered. While nobody drives it, as when a peer is measured, no pings
    /// are answered, and after a while the daemon cuts it.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn connect(&self, door: Door) -> Result<Line> {
        self.runtime.block_on(async {
            Ok(match door {
                Door::Unary(flight) => Line::Unary(self.call().await?, flight),
                Door::Stream(flight) => Line::Stream(self.call().await?, flight),
                Door::Client(flight) => {
                    let endpoint = format!("unix:{}", self.daemon.ports().socket.display());
                    let client = vecgrid_client::Client::connect(endpoint).await?;
                    client.get_collection(COLLECTION).await?;
                    Line::Client(client, flight)
                }
            })
        })
    }

    async fn call(&self) -> Result<Client> {
        let client = grpc::client(self.daemon.socket_channel().await);
        let request = pb::GetCollectionRequest { name: COLLECTION.into() };
        client.clone().get_collection(request).await?;
        Ok(client)
    }

    /// Asks all searches over a connection of their own; answers in order, each with its time, and the time of all.
    ///
    /// # Errors
    /// The first search that failed.
    pub fn ask(&self, door: Door, searches: Vec<pb::SearchRequest>) -> Result<Answers> {
        self.ask_over(&self.connect(door)?, searches)
    }

    /// The same, over a connection that there is.
    ///
    /// # Errors
    /// The first search that failed.
    pub fn ask_over(&self, line: &Line, searches: Vec<pb::SearchRequest>) -> Result<Answers> {
        match line {
            Line::Unary(client, flight) => {
                self.time(load::search_all(client, searches, *flight), std::convert::identity)
            }
            Line::Stream(client, flight) => {
                self.time(load::search_stream(client, searches, *flight), std::convert::identity)
            }
            Line::Client(client, flight) => {
                let searches = searches.iter().map(as_app).collect();
                self.time(load::search_as_app(client, searches, *flight), as_wire)
            }
        }
    }

    fn time<A, E: Into<anyhow::Error>>(
        &self,
        asking: impl Future<Output = Result<Vec<(A, Duration)>, E>>,
        wire: impl Fn(A) -> pb::SearchResponse,
    ) -> Result<Answers> {
        let begun = Instant::now();
        let answers = self.runtime.block_on(asking).map_err(Into::into)?;
        let took = begun.elapsed();
        let (answers, times) = answers.into_iter().map(|(answer, time)| (wire(answer), time)).unzip();
        Ok(Answers { answers, times, took })
    }

    /// Ends the daemon, starts it again on the same data, and gives the time from the start until
    /// `/readyz` says so.
    ///
    /// # Errors
    /// When it does not become ready.
    pub fn restart(&mut self, kill: bool) -> Result<Duration> {
        if kill {
            self.daemon.kill9();
        } else {
            self.daemon.stop();
        }
        self.daemon.restart();
        let begun = Instant::now();
        while self.daemon.admin().get("/readyz").status != 200 {
            ensure!(begun.elapsed() < BUILD_LIMIT, "not ready after {BUILD_LIMIT:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
        let ready = self.daemon.start_time() + begun.elapsed();
        self.client = grpc::client(self.runtime.block_on(self.daemon.socket_channel()));
        Ok(ready)
    }
}

/// How searches go over the socket, and how many are in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// One call each.
    Unary(usize),
    /// All over one bidirectional stream.
    Stream(usize),
    /// Calls of the project's client, which shares a stream among them.
    Client(usize),
}

impl Door {
    /// For the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unary(_) => "unary",
            Self::Stream(_) => "stream",
            Self::Client(_) => "client-rs",
        }
    }
}

/// A connection, and how it is used.
pub enum Line {
    /// One call each.
    Unary(Client, usize),
    /// One stream for each list of searches.
    Stream(Client, usize),
    /// The project's client.
    Client(vecgrid_client::Client, usize),
}

/// What came back.
pub struct Answers {
    /// In the order of the searches.
    pub answers: Vec<pb::SearchResponse>,
    /// What the client waited for each.
    pub times: Vec<Duration>,
    /// All of them together.
    pub took: Duration,
}

impl Answers {
    /// Queries per second.
    pub fn rate(&self) -> f64 {
        self.answers.len() as f64 / self.took.as_secs_f64()
    }

    /// Median time in microseconds.
    pub fn median_us(&self) -> f64 {
        median(self.times.iter().map(|time| time.as_secs_f64() * 1e6).collect()).unwrap_or_default()
    }

    /// Row numbers of the hits.
    ///
    /// # Errors
    /// When an answer did not cover all partitions.
    pub fn rows(&self, data: &DataSet) -> Result<Vec<Vec<usize>>> {
        let one = |answer: &pb::SearchResponse| {
            let coverage = answer.coverage.unwrap_or_default();
            if coverage.answered != coverage.partitions {
                bail!("an answer covers {} of {} partitions", coverage.answered, coverage.partitions);
            }
            Ok(answer.hits.iter().map(|hit| data.row_of(&hit.id)).collect())
        };
        self.answers.iter().map(one).collect()
    }
}

/// The requests that put all rows with their metadata: entry `i` gets the vector of row `vector(i)`.
pub fn upserts(
    data: &DataSet,
    order: impl Iterator<Item = usize>,
    id: impl Fn(usize) -> String,
    vector: impl Fn(usize) -> usize,
    batch: usize,
) -> Vec<pb::UpsertRequest> {
    let entries: Vec<pb::Entry> = order
        .map(|i| {
            let metadata = Value::Object(data.rows[i % data.rows.len()].metadata.clone());
            grpc::entry(&id(i), data.base.row(vector(i)), &metadata)
        })
        .collect();
    let request = |entries: &[pb::Entry]| pb::UpsertRequest {
        collection: COLLECTION.into(),
        entries: entries.to_vec(),
        request_id: String::new(),
    };
    entries.chunks(batch).map(request).collect()
}

/// All rows as they are.
pub fn all_rows(data: &DataSet) -> Vec<pb::UpsertRequest> {
    upserts(data, 0..data.base.rows(), |row| data.rows[row].id.clone(), |row| row, load::BATCH)
}

/// One search for each query.
///
/// # Errors
/// When a number is too large for the wire.
pub fn searches(data: &DataSet, ef: usize) -> Result<Vec<pb::SearchRequest>> {
    let (k, ef) = (u32::try_from(K)?, u32::try_from(ef)?);
    let one = |query: usize| pb::SearchRequest {
        ef: Some(ef),
        ..grpc::search(COLLECTION, data.queries.row(query), k)
    };
    Ok((0..data.queries.rows()).map(one).collect())
}

/// The same search, of an app.
fn as_app(search: &pb::SearchRequest) -> Search {
    let vector = search.vector.as_ref().map(grpc::floats).unwrap_or_default();
    let same = Search::new(search.collection.as_str(), vector).k(search.k).include_metadata(false);
    match search.ef {
        Some(ef) => same.ef(ef),
        None => same,
    }
}

/// The same answer, as far as it is looked at.
fn as_wire(answer: SearchAnswer) -> pb::SearchResponse {
    let hit = |hit: Hit| pb::Hit { id: hit.id, distance: hit.distance, ..Default::default() };
    let Coverage { answered, partitions } = answer.coverage;
    pb::SearchResponse {
        hits: answer.hits.into_iter().map(hit).collect(),
        coverage: Some(pb::Coverage { answered, partitions }),
        ..Default::default()
    }
}

/// A gauge of the collection.
fn gauge(metrics: &str, name: &str) -> Option<f64> {
    let of_ours = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(COLLECTION);
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    metrics.lines().find(of_ours).and_then(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gauges_are_read_by_collection() {
        let text = "# HELP vecgrid_index_tail_rows x\nvecgrid_index_tail_rows{collection=\"vecgrid-bench\"} 7\n\
                    vecgrid_index_tail_rows{collection=\"other\"} 9\n";
        assert_eq!(gauge(text, "vecgrid_index_tail_rows"), Some(7.0));
        assert_eq!(gauge(text, "vecgrid_index_building"), None);
    }
}
