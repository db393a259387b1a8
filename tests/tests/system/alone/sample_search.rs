//! The sample that ships with the project, loaded through the Unix socket and searched.
//!
//! Exact answers must be the truth, up to ties; the graph's must reach recall@10 0.97; filters
//! must give exactly the right rows, and as many as there are, up to `k`.

use std::{collections::BTreeSet, time::Duration};

use serde_json::Value;
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    daemon::Daemon,
    filters, grpc, load, report,
    sample::{self, DataSet, FilterCase},
    truth::{Judge, Metric},
};

const COLLECTION: &str = "sample";
const K: usize = 10;
const RECALL: f64 = 0.97;
/// A quiet machine needs seconds; one that compiles at the same time, minutes.
const INDEX_LIMIT: Duration = Duration::from_secs(900);

/// One daemon with the sample for all tests of this file.
struct Loaded {
    daemon: Daemon,
    client: grpc::Client,
    data: DataSet,
}

async fn load_sample() -> Loaded {
    let data = sample::sample();
    let daemon = Daemon::start();
    let mut client = daemon.grpc_socket().await;
    let columns = data.base.columns as u32;
    grpc::create(&mut client, grpc::config(COLLECTION, columns, pb::Metric::Cosine)).await;
    let took = load::import(&mut client, COLLECTION, &data).await;
    let indexed = load::wait_indexed(&client, COLLECTION, INDEX_LIMIT).await;
    report!(
        "{} rows in {:.2} s ({:.0}/s, synced), all in the graph {:.2} s later",
        data.base.rows(),
        took.as_secs_f64(),
        data.base.rows() as f64 / took.as_secs_f64(),
        indexed.as_secs_f64()
    );
    Loaded { daemon, client, data }
}

fn rows_of(data: &DataSet, answer: &pb::SearchResponse) -> Vec<usize> {
    answer.hits.iter().map(|hit| data.row_of(&hit.id)).collect()
}

fn judge<'a>(data: &'a DataSet, query: usize, truth: &'a [i32]) -> Judge<'a> {
    Judge { base: &data.base, metric: Metric::Cosine, query: data.queries.row(query), truth }
}

/// Every answer covers the grid, is sorted, and tells true distances.
fn check_form(judge: &Judge<'_>, rows: &[usize], answer: &pb::SearchResponse) {
    let coverage = answer.coverage.unwrap();
    assert_eq!(coverage.answered, coverage.partitions);
    for (&row, hit) in rows.iter().zip(&answer.hits) {
        let off = (judge.distance(row) - f64::from(hit.distance)).abs();
        assert!(off < 1e-4, "{}: told {}, is {}", hit.id, hit.distance, judge.distance(row));
    }
    assert!(
        answer.hits.is_sorted_by(|a, b| (a.distance, &a.id) <= (b.distance, &b.id)),
        "hits are not sorted"
    );
}

async fn search(
    loaded: &Loaded,
    query: usize,
    k: usize,
    exact: bool,
    filter: Option<&Value>,
) -> pb::SearchResponse {
    let mut request = grpc::search(COLLECTION, loaded.data.queries.row(query), k as u32);
    request.exact = exact;
    request.filter_json = filter.map(Value::to_string).unwrap_or_default();
    request.include_metadata = filter.is_some();
    loaded.client.clone().search(request).await.unwrap().into_inner()
}

async fn every_exact_search_is_the_truth(loaded: &Loaded) {
    for query in 0..loaded.data.queries.rows() {
        let judge = judge(&loaded.data, query, loaded.data.truth.row(query));
        for k in [1, K, 100] {
            let answer = search(loaded, query, k, true, None).await;
            let rows = rows_of(&loaded.data, &answer);
            judge.same(k, &rows).unwrap_or_else(|e| panic!("query {query}, k {k}: {e}"));
            check_form(&judge, &rows, &answer);
        }
    }
}

async fn the_default_search_reaches_its_recall(loaded: &Loaded) {
    let queries = loaded.data.queries.rows();
    let mut sum = 0.0;
    for query in 0..queries {
        let judge = judge(&loaded.data, query, loaded.data.truth.row(query));
        let answer = search(loaded, query, K, false, None).await;
        assert_eq!(answer.hits.len(), K);
        let rows = rows_of(&loaded.data, &answer);
        check_form(&judge, &rows, &answer);
        sum += judge.recall(K, &rows);
    }
    let recall = sum / queries as f64;
    report!("recall@10 of the default search: {recall:.4}");
    assert!(recall >= RECALL, "recall@10 is {recall:.4}");
}

async fn every_filter_gives_the_right_rows(loaded: &Loaded) {
    for case in &loaded.data.filters {
        check_count(loaded, case).await;
        let mut sum = 0.0;
        for query in 0..case.truth.rows() {
            let judge = judge(&loaded.data, query, case.truth.row(query));
            let exact = search(loaded, query, K, true, Some(&case.filter)).await;
            let rows = rows_of(&loaded.data, &exact);
            judge.same(K, &rows).unwrap_or_else(|e| panic!("{}, query {query}: {e}", case.filter));
            check_form(&judge, &rows, &exact);
            let walked = search(loaded, query, K, false, Some(&case.filter)).await;
            let rows = rows_of(&loaded.data, &walked);
            check_filtered(case, &walked);
            sum += judge.recall(K, &rows);
        }
        let recall = sum / case.truth.rows() as f64;
        report!("{}: {} matches, recall@10 {recall:.4}", case.filter, case.matches);
        assert!(recall >= RECALL, "{}: recall@10 is {recall:.4}", case.filter);
    }
}

fn check_filtered(case: &FilterCase, answer: &pb::SearchResponse) {
    let wanted = K.min(case.matches as usize);
    assert_eq!(answer.hits.len(), wanted, "{} gives min(k, matches) rows", case.filter);
    for hit in &answer.hits {
        let metadata: Value = serde_json::from_str(&hit.metadata_json).unwrap();
        let matches = filters::matches(&case.filter, metadata.as_object().unwrap());
        assert!(matches, "{} does not match {}", hit.metadata_json, case.filter);
    }
    let distinct: BTreeSet<&str> = answer.hits.iter().map(|hit| hit.id.as_str()).collect();
    assert_eq!(distinct.len(), answer.hits.len(), "an id appears twice");
}

async fn check_count(loaded: &Loaded, case: &FilterCase) {
    let rows = loaded.data.rows.iter();
    let matching = rows.filter(|row| filters::matches(&case.filter, &row.metadata)).count() as u64;
    assert_eq!(matching, case.matches, "the judge and the file disagree about {}", case.filter);
    let request = pb::CountRequest { collection: COLLECTION.into(), filter_json: case.filter.to_string() };
    let count = loaded.client.clone().count(request).await.unwrap().into_inner().count;
    assert_eq!(count, case.matches, "count of {}", case.filter);
}

/// Selectivities from one row to all, and filters that match nothing.
async fn few_matches_are_all_found(loaded: &Loaded) {
    let one = &loaded.data.rows[77];
    for (filter, matches) in [
        (serde_json::json!({"lemma": one.metadata["lemma"], "text": one.metadata["text"]}), 1),
        (serde_json::json!({"domain": "no such domain"}), 0),
        (serde_json::json!({"words": {"$gt": "4"}}), 0),
        (serde_json::json!({"nothing": {"$exists": false}}), loaded.data.base.rows()),
    ] {
        for exact in [true, false] {
            for k in [1, 10, 1_000] {
                let answer = search(loaded, 3, k, exact, Some(&filter)).await;
                assert_eq!(answer.hits.len(), k.min(matches), "{filter}, k {k}, exact {exact}");
            }
        }
    }
}

async fn the_nearest_of_a_row_is_itself(loaded: &Loaded) {
    let mut client = loaded.client.clone();
    for row in (0..loaded.data.base.rows()).step_by(797) {
        let mut request = grpc::search(COLLECTION, loaded.data.base.row(row), 3);
        request.include_vector = true;
        request.max_distance = Some(1e-4);
        let hits = client.search(request).await.unwrap().into_inner().hits;
        assert!(hits.iter().any(|hit| hit.id == loaded.data.rows[row].id), "row {row} does not find itself");
        assert!(hits.iter().all(|hit| hit.distance <= 1e-4), "max_distance is not kept");
        let own = hits.iter().find(|hit| hit.id == loaded.data.rows[row].id).unwrap();
        assert_eq!(
            grpc::floats(own.vector.as_ref().unwrap()),
            loaded.data.base.row(row),
            "the vector as written"
        );
    }
}

/// All on one load of the sample; the parts are named so that a failure says which.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sample_is_searched_rightly_before_and_after_a_restart() {
    let mut loaded = load_sample().await;
    every_exact_search_is_the_truth(&loaded).await;
    the_default_search_reaches_its_recall(&loaded).await;
    every_filter_gives_the_right_rows(&loaded).await;
    few_matches_are_all_found(&loaded).await;
    the_nearest_of_a_row_is_itself(&loaded).await;

    loaded.daemon.kill9();
    loaded.daemon.restart();
    loaded.client = loaded.daemon.grpc_socket().await;
    report!("start with {} rows: {:.2} s", loaded.data.base.rows(), loaded.daemon.start_time().as_secs_f64());
    every_exact_search_is_the_truth(&loaded).await;
    the_default_search_reaches_its_recall(&loaded).await;
    loaded.daemon.assert_no_panic();
}
