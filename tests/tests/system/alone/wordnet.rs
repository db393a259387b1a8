//! The full WordNet set (115,659 rows), imported through the Unix socket with `durability=sync`.
//!
//! It does not ship with the project. Where it is absent the test says so, loudly, and is no
//! proof of anything; `VECGRID_DATA` names its folder. Numbers are printed, not asserted.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    daemon::{Daemon, Options},
    filters, grpc, load, report,
    sample::{self, DataSet},
    truth::{Judge, Metric},
};

const COLLECTION: &str = "wordnet";
const K: usize = 10;
const RECALL: f64 = 0.97;
/// Searches in flight while answers, not times, are of interest.
const IN_FLIGHT: usize = 4;
/// `hnsw_rs` needs minutes for this on two cores.
const INDEX_LIMIT: Duration = Duration::from_secs(1_500);

fn judge<'a>(data: &'a DataSet, query: usize, truth: &'a [i32]) -> Judge<'a> {
    Judge { base: &data.base, metric: Metric::Cosine, query: data.queries.row(query), truth }
}

fn rows_of(data: &DataSet, answer: &pb::SearchResponse) -> Vec<usize> {
    answer.hits.iter().map(|hit| data.row_of(&hit.id)).collect()
}

fn requests(data: &DataSet, queries: usize, exact: bool, filter: Option<&Value>) -> Vec<pb::SearchRequest> {
    let request = |query| {
        let mut request = grpc::search(COLLECTION, data.queries.row(query), K as u32);
        request.exact = exact;
        request.filter_json = filter.map(Value::to_string).unwrap_or_default();
        request
    };
    (0..queries).map(request).collect()
}

/// Runs searches and prints what an app would see.
async fn run(
    client: &grpc::Client,
    what: &str,
    requests: Vec<pb::SearchRequest>,
    in_flight: usize,
) -> Vec<pb::SearchResponse> {
    let count = requests.len();
    let begun = Instant::now();
    let answers = load::search_all(client, requests, in_flight).await.unwrap();
    let took = begun.elapsed();
    let (answers, mut times): (Vec<_>, Vec<_>) = answers.into_iter().unzip();
    report!(
        "{what}: {:.0} queries/s with {in_flight} in flight, p50 {} µs, p99 {} µs",
        count as f64 / took.as_secs_f64(),
        load::percentile(&mut times, 0.5).as_micros(),
        load::percentile(&mut times, 0.99).as_micros()
    );
    answers
}

async fn check_unfiltered(client: &grpc::Client, data: &DataSet) {
    let queries = data.queries.rows();
    let exact = run(client, "exact", requests(data, queries, true, None), IN_FLIGHT).await;
    for (query, answer) in exact.iter().enumerate() {
        let judge = judge(data, query, data.truth.row(query));
        judge.same(K, &rows_of(data, answer)).unwrap_or_else(|e| panic!("query {query}: {e}"));
    }
    // Once alone for the times, once together for the rate.
    let walked = run(client, "default search", requests(data, queries, false, None), 1).await;
    run(client, "default search", requests(data, queries, false, None), 16).await;
    let recall = |(query, answer): (usize, &pb::SearchResponse)| {
        judge(data, query, data.truth.row(query)).recall(K, &rows_of(data, answer))
    };
    let recall = walked.iter().enumerate().map(recall).sum::<f64>() / queries as f64;
    report!("recall@10 of the default search: {recall:.4}");
    assert!(recall >= RECALL, "recall@10 is {recall:.4}");
}

async fn check_filters(client: &grpc::Client, data: &DataSet) {
    for case in &data.filters {
        let filter_json = case.filter.to_string();
        let request = pb::CountRequest { collection: COLLECTION.into(), filter_json: filter_json.clone() };
        let count = client.clone().count(request).await.unwrap().into_inner().count;
        assert_eq!(count, case.matches, "count of {filter_json}");

        let queries = case.truth.rows();
        let exact = requests(data, queries, true, Some(&case.filter));
        let exact = run(client, &format!("exact, {filter_json}"), exact, IN_FLIGHT).await;
        let walked = requests(data, queries, false, Some(&case.filter));
        let walked = run(client, &format!("default, {filter_json}"), walked, IN_FLIGHT).await;
        let mut sum = 0.0;
        for (query, (exact, walked)) in exact.iter().zip(&walked).enumerate() {
            let judge = judge(data, query, case.truth.row(query));
            judge
                .same(K, &rows_of(data, exact))
                .unwrap_or_else(|e| panic!("{filter_json}, query {query}: {e}"));
            let rows = rows_of(data, walked);
            assert_eq!(
                rows.len(),
                K.min(case.matches as usize),
                "{filter_json}, query {query}: min(k, matches)"
            );
            let all = rows.iter().all(|&row| filters::matches(&case.filter, &data.rows[row].metadata));
            assert!(all, "{filter_json}, query {query}: a hit does not match");
            sum += judge.recall(K, &rows);
        }
        let recall = sum / queries as f64;
        report!("{filter_json}: {} matches, recall@10 {recall:.4}", case.matches);
        assert!(recall >= RECALL, "{filter_json}: recall@10 is {recall:.4}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_wordnet_when_data_is_present() {
    let Some(data) = sample::wordnet() else {
        report!(
            "\n**** NOT RUN: the full WordNet set is not in {} ****\n",
            sample::wordnet_folder().display()
        );
        return;
    };
    let rows = data.base.rows();
    // The default leaves a core to searches; here nobody searches while the graph is built.
    let args = vec!["--build-threads".to_owned(), "2".to_owned()];
    let mut daemon = Daemon::start_with(Options { args, ..Options::default() });
    let mut client = daemon.grpc_socket().await;
    let mut config = grpc::config(COLLECTION, data.base.columns as u32, pb::Metric::Cosine);
    config.durability = pb::Durability::Sync.into();
    grpc::create(&mut client, config).await;
    let took = load::import(&mut client, COLLECTION, &data).await;
    report!(
        "import: {rows} rows in {:.1} s, {:.0} rows/s, synced",
        took.as_secs_f64(),
        rows as f64 / took.as_secs_f64()
    );
    let waited = load::wait_indexed(&client, COLLECTION, INDEX_LIMIT).await;
    report!("in the graph {:.1} s after the last acknowledgement", waited.as_secs_f64());
    check_unfiltered(&client, &data).await;
    check_filters(&client, &data).await;

    let info = client
        .get_collection(pb::GetCollectionRequest { name: COLLECTION.into() })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(info.count, rows as u64);
    report!(
        "memory: {} bytes of index per row, {} MiB resident",
        info.index_bytes / rows as u64,
        daemon.resident_bytes() >> 20
    );
    daemon.kill9();
    daemon.restart();
    report!("start after kill -9 with {rows} rows: {:.2} s", daemon.start_time().as_secs_f64());
    let count = daemon.rest().post("/v1/collections/wordnet/count", &json!({})).ok();
    assert_eq!(count["count"].as_u64(), Some(rows as u64));
    daemon.assert_no_panic();
}
