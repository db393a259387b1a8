//! Loading a data set into a daemon, and searching it as an app does.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use futures::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use vecgrid_proto::v1 as pb;

use crate::{
    grpc::{self, Client},
    sample::DataSet,
    wait,
};

/// Rows per request of an import.
pub const BATCH: usize = 500;

/// Upserts every row over one stream; gives the time until the last acknowledgement.
///
/// # Panics
/// When the daemon refuses a row.
pub async fn import(client: &mut Client, collection: &str, data: &DataSet) -> Duration {
    let rows = data.base.rows();
    let name = collection.to_owned();
    // Requests are built before the clock runs: the daemon's speed is of interest.
    let requests: Vec<pb::UpsertRequest> = (0..rows)
        .step_by(BATCH)
        .map(|from| {
            let entry = |row: usize| {
                let text = &data.rows[row];
                grpc::entry(&text.id, data.base.row(row), &Value::Object(text.metadata.clone()))
            };
            let entries = (from..rows.min(from + BATCH)).map(entry).collect();
            pb::UpsertRequest { collection: name.clone(), entries, request_id: String::new() }
        })
        .collect();
    upsert_stream(client, requests).await
}

/// Sends requests over one stream and fails unless all are taken whole.
///
/// # Panics
/// When the daemon refuses a row.
pub async fn upsert_stream(client: &mut Client, requests: Vec<pb::UpsertRequest>) -> Duration {
    let wanted: u64 = requests.iter().map(|r| r.entries.len() as u64).sum();
    let batches = requests.len();
    let begun = Instant::now();
    let answers = client.upsert_stream(stream::iter(requests)).await;
    let mut answers = answers.unwrap_or_else(|e| panic!("upsert stream: {e:?}")).into_inner();
    let (mut stored, mut answered) = (0, 0);
    while let Some(answer) = answers.next().await {
        let answer = answer.unwrap_or_else(|e| panic!("upsert stream, batch {answered}: {e:?}"));
        assert!(answer.failure.is_none(), "batch {answered}: {:?}", answer.failure);
        let response = answer.response.unwrap_or_default();
        assert!(response.errors.is_empty(), "batch {answered}: {:?}", response.errors);
        stored += response.upserted;
        answered += 1;
    }
    assert_eq!((answered, stored), (batches, wanted), "answers and rows of the stream");
    begun.elapsed()
}

/// Waits until every entry of the collection is linked into the graph; gives the time it took.
///
/// # Panics
/// When that takes longer than `limit`.
pub async fn wait_indexed(client: &Client, collection: &str, limit: Duration) -> Duration {
    let begun = Instant::now();
    wait::until_async(&format!("all of {collection} is in the graph"), limit, || {
        let mut client = client.clone();
        let name = collection.to_owned();
        async move {
            let info = client.get_collection(pb::GetCollectionRequest { name }).await;
            let info = info.unwrap_or_else(|e| panic!("get_collection: {e:?}")).into_inner();
            (info.indexed >= info.count).then_some(())
        }
    })
    .await;
    begun.elapsed()
}

/// A search's answer, and how long the caller waited for it.
pub type Timed = (pb::SearchResponse, Duration);

/// Answers of many searches, in order. Always `concurrency` of them are in flight: the next one
/// starts when any is answered.
///
/// # Errors
/// The first search that failed.
pub async fn search_all(
    client: &Client,
    searches: Vec<pb::SearchRequest>,
    concurrency: usize,
) -> Result<Vec<Timed>, Status> {
    let run = |(number, request): (usize, pb::SearchRequest)| {
        let mut client = client.clone();
        async move {
            let begun = Instant::now();
            let answer = client.search(request).await?.into_inner();
            Ok::<_, Status>((number, (answer, begun.elapsed())))
        }
    };
    let all = stream::iter(searches.into_iter().enumerate()).map(run).buffer_unordered(concurrency);
    let mut answers: Vec<(usize, Timed)> = all.try_collect().await?;
    answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, timed)| timed).collect())
}

/// As [`search_all`], with the client library of the project, which puts them on a stream by itself.
///
/// # Errors
/// The first search that failed.
pub async fn search_as_app(
    client: &vecgrid_client::Client,
    searches: Vec<vecgrid_client::Search>,
    concurrency: usize,
) -> vecgrid_client::Result<Vec<(vecgrid_client::SearchAnswer, Duration)>> {
    let run = |(number, search): (usize, vecgrid_client::Search)| async move {
        let begun = Instant::now();
        let answer = client.search(search).await?;
        Ok::<_, vecgrid_client::Error>((number, (answer, begun.elapsed())))
    };
    let all = stream::iter(searches.into_iter().enumerate()).map(run).buffer_unordered(concurrency);
    let mut answers: Vec<_> = all.try_collect().await?;
    answers.sort_unstable_by_key(|(number, _)| *number);
    Ok(answers.into_iter().map(|(_, timed)| timed).collect())
}

/// As [`search_all`], over one bidirectional stream; answers come in the order of the searches.
///
/// # Errors
/// The first search that failed, or the stream's own failure.
pub async fn search_stream(
    client: &Client,
    searches: Vec<pb::SearchRequest>,
    concurrency: usize,
) -> Result<Vec<Timed>, Status> {
    let wanted = searches.len();
    let mut searches = searches.into_iter();
    let (sender, requests) = tokio::sync::mpsc::channel(concurrency.max(1));
    let mut sent: VecDeque<Instant> = VecDeque::with_capacity(concurrency);
    let gone = |_| Status::unavailable("the stream ended early");
    for request in searches.by_ref().take(concurrency) {
        sent.push_back(Instant::now());
        sender.send(request).await.map_err(gone)?;
    }
    let mut client = client.clone();
    let mut answers = client.search_stream(ReceiverStream::new(requests)).await?.into_inner();
    let mut done = Vec::with_capacity(wanted);
    while done.len() < wanted {
        let answer = answers.message().await?.ok_or_else(|| Status::unavailable("the stream ended early"))?;
        let begun = sent.pop_front().ok_or_else(|| Status::internal("an answer without a search"))?;
        let response = answer.response.ok_or_else(|| Status::internal(format!("{:?}", answer.failure)))?;
        done.push((response, begun.elapsed()));
        if let Some(request) = searches.next() {
            sent.push_back(Instant::now());
            sender.send(request).await.map_err(gone)?;
        }
    }
    Ok(done)
}

/// The value below which `share` of the times lie.
pub fn percentile(times: &mut [Duration], share: f64) -> Duration {
    if times.is_empty() {
        return Duration::ZERO;
    }
    times.sort_unstable();
    let at = ((times.len() as f64 * share).ceil() as usize).clamp(1, times.len());
    times[at - 1]
}
