//! Two members that each have a copy of everything: one of them links the rows, and the other takes over its links.

use std::{fs, time::Instant};

use serde_json::{Value, json};
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    copies::wait_metric,
    grpc, load, report,
    sample::{self, DataSet},
};

use super::{COLLECTION, LIMIT};

/// The sample is too small for links to be asked for: its rows come so many times, each time moved a little.
const TIMES: usize = 6;
/// By how much, in each component: about a tenth of what they are.
const MOVED: f32 = 0.005;
const QUERIES: usize = 200;
const K: usize = 10;
/// Recall may differ by this much: about three times what chance makes of so many hits.
const APART: f64 = 0.01;

/// All rows of the set, so many times.
fn requests(data: &DataSet, times: usize) -> Vec<pb::UpsertRequest> {
    let entry = |number: usize| {
        let (time, row) = (number / data.base.rows(), number % data.base.rows());
        let moved = |(at, x): (usize, &f32)| x + MOVED * ((number * 31 + at * 17) % 13) as f32 / 6.0 - MOVED;
        let vector: Vec<f32> = match time {
            0 => data.base.row(row).to_vec(),
            _ => data.base.row(row).iter().enumerate().map(moved).collect(),
        };
        let metadata = Value::Object(data.rows[row].metadata.clone());
        grpc::entry(&format!("{time} {}", data.rows[row].id), &vector, &metadata)
    };
    let numbers: Vec<usize> = (0..times * data.base.rows()).collect();
    let request = |numbers: &[usize]| pb::UpsertRequest {
        collection: COLLECTION.to_owned(),
        entries: numbers.iter().copied().map(entry).collect(),
        request_id: String::new(),
    };
    numbers.chunks(load::BATCH).map(request).collect()
}

/// How much of what a scan finds a walk finds, at one member.
async fn recall(client: &grpc::Client, data: &DataSet) -> f64 {
    let ask = async |exact: bool| {
        let search = |query| pb::SearchRequest {
            exact,
            ..grpc::search(COLLECTION, data.queries.row(query), K as u32)
        };
        let answers = load::search_all(client, (0..QUERIES).map(search).collect(), 2).await.unwrap();
        let ids = |answer: pb::SearchResponse| answer.hits.into_iter().map(|hit| hit.id).collect::<Vec<_>>();
        answers.into_iter().map(|(answer, _)| ids(answer)).collect::<Vec<_>>()
    };
    let (found, truth) = (ask(false).await, ask(true).await);
    let hits =
        found.iter().zip(&truth).map(|(found, truth)| truth.iter().filter(|id| found.contains(id)).count());
    hits.sum::<usize>() as f64 / (QUERIES * K) as f64
}

/// Waits until a member's graph has all rows; how often links of the other one were taken.
fn wait_whole(cluster: &mut TestCluster, member: usize, rows: usize) -> f64 {
    let rest = cluster.daemon(member).rest();
    wait_metric(&rest, ("vecgrid_index_indexed_rows", ""), LIMIT, |indexed| indexed as usize == rows);
    rest.metric("vecgrid_index_links_adopted_total", "")
}

#[test]
fn a_member_without_a_graph_takes_over_the_links_of_one_that_has_the_same_rows() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (data, times) = match sample::wordnet() {
        Some(data) => (data, 1),
        None => (sample::sample(), TIMES),
    };
    let rows = times * data.base.rows();
    let options = ClusterOptions { backups: 1, ..ClusterOptions::new(Finding::Seeds) };
    let mut cluster = TestCluster::launch(1, options);
    cluster.wait_one_grid(LIMIT);
    let config = json!({"dimension": data.base.columns, "metric": "cosine"});
    cluster.daemon(0).rest().put(&vecgridd_tests::rest::collection_path(COLLECTION), &config).ok();
    let requests = requests(&data, times);
    let own = runtime.block_on(async {
        let mut client = cluster.daemon(0).grpc_socket().await;
        let begun = Instant::now();
        load::upsert_stream(&mut client, requests).await;
        load::wait_indexed(&client, COLLECTION, LIMIT).await;
        report!("{rows} rows stored and linked in {:.1?}", begun.elapsed());
        recall(&client, &data).await
    });
    assert_eq!(wait_whole(&mut cluster, 0, rows), 0.0, "there was nobody to ask");

    let begun = Instant::now();
    let second = cluster.add();
    cluster.wait_one_grid(LIMIT);
    cluster.wait_copies(2, LIMIT);
    let level = begun.elapsed();
    let taken = wait_whole(&mut cluster, second, rows);
    report!(
        "a second member: all copies after {level:.1?}, its graph whole after {:.1?}, links taken over {taken} times",
        begun.elapsed()
    );

    // What was saved is lost.
    cluster.stop(second);
    fs::remove_dir_all(cluster.daemon(second).data_dir().join("index")).unwrap();
    let begun = Instant::now();
    cluster.relaunch(second);
    cluster.daemon(second).wait_ready(LIMIT);
    let ready = begun.elapsed();
    let taken = wait_whole(&mut cluster, second, rows);
    report!("without what was saved: ready after {ready:.1?}, its graph whole after {:.1?}", begun.elapsed());
    assert_eq!(taken, 1.0, "links are there to be taken over");
    let theirs = runtime.block_on(async {
        let client = cluster.daemon(second).grpc_socket().await;
        recall(&client, &data).await
    });
    report!("recall@{K} where links were found {own:.4}, where they were taken over {theirs:.4}");
    assert!(theirs > own - APART, "{theirs} instead of {own}");
    cluster.assert_no_panic();
}
