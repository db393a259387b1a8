//! A grid of three members and a single member with the same rows give the same answers, hit by hit.
//!
//! ```text
//!              ┌▶ member 0 ─┐
//! each query ──┼▶ member 1 ─┼─ three members, a third of the partitions each ─▶ hits ─┐
//!              ├▶ member 2 ─┘                                                         ├─ ids and distances are equal
//!              └▶ a single member ──────────────────────────────────────────▶ hits ──┘
//! ```
//!
//! Searches are exact, so there is one right answer. The single member is held against the truth that comes with
//! the data, so that both cannot be wrong alike. Counted are the members that took part: each holder once per
//! request, and nobody is asked again. The full WordNet set does not ship with the project; where it is absent the
//! test says so, loudly, and the sample, which is always asked, stands for it. Of the sample every member is asked
//! everything; of the full set `VECGRID_GRID_QUERIES=2000` does that, and the rest is spread over the members.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Map, Value};
use vecgrid_proto::v1 as pb;
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    daemon::{Daemon, Options},
    grpc, load, report,
    rest::Rest,
    sample::{self, DataSet},
    truth::{Judge, Metric},
};

const COLLECTION: &str = "wordnet";
const MEMBERS: usize = 3;
const PARTITIONS: u16 = 271;
const K: usize = 10;
/// Searches of one request.
const BATCH: usize = 100;
/// Queries that are also asked alone, over a stream, and for more or fewer hits.
const FEW: usize = 40;
/// Queries of the full set that every member is asked, unless `VECGRID_GRID_QUERIES` says more: an exact search of it
/// reads 178 MB.
const SHARED: usize = 200;
/// Queries of each filter.
const FILTERED: usize = 50;
/// Entries of a page: the most that may be asked for.
const PAGE: u32 = 10_000;
/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(120);

/// Ids and distances, in order; distances by their bits.
type Hits = Vec<(String, u32)>;

/// A member, as the app beside it asks it.
struct Door {
    name: String,
    client: grpc::Client,
    rest: Rest,
    /// Requests with searches so far.
    requests: usize,
}

impl Door {
    async fn of(name: &str, daemon: &Daemon) -> Self {
        let (client, rest) = (daemon.grpc_socket().await, daemon.rest());
        Self { name: name.to_owned(), client, rest, requests: 0 }
    }

    /// Asks in batches.
    async fn search(&mut self, searches: &[pb::SearchRequest]) -> Vec<Hits> {
        let mut hits = Vec::with_capacity(searches.len());
        for batch in searches.chunks(BATCH) {
            self.requests += 1;
            let request = pb::SearchBatchRequest { searches: batch.to_vec() };
            let answer = self.client.search_batch(request).await;
            let answer = answer.unwrap_or_else(|e| panic!("{}: {e:?}", self.name));
            hits.extend(answer.into_inner().results.into_iter().map(|answer| whole(&self.name, answer)));
        }
        hits
    }

    /// Asks one by one: as calls, and over a stream.
    async fn search_alone(&mut self, searches: &[pb::SearchRequest]) -> [Vec<Hits>; 2] {
        self.requests += 2 * searches.len();
        let calls = load::search_all(&self.client, searches.to_vec(), 4).await.unwrap();
        let stream = load::search_stream(&self.client, searches.to_vec(), 4).await.unwrap();
        let hits = |answers: Vec<load::Timed>| {
            answers.into_iter().map(|(answer, _)| whole(&self.name, answer)).collect()
        };
        [hits(calls), hits(stream)]
    }

    async fn count(&mut self, filter: Option<&Value>) -> u64 {
        let filter_json = filter.map(Value::to_string).unwrap_or_default();
        let request = pb::CountRequest { collection: COLLECTION.into(), filter_json };
        self.client.count(request).await.unwrap().into_inner().count
    }

    /// Walks over all entries; each must be as it was written. Their ids, in the order of the walk.
    async fn scroll(&mut self, data: &DataSet) -> Vec<String> {
        let (mut ids, mut cursor) = (Vec::with_capacity(data.rows.len()), String::new());
        loop {
            let request = pb::ScrollRequest {
                collection: COLLECTION.into(),
                limit: PAGE,
                cursor,
                include_vector: true,
                ..Default::default()
            };
            let page = self.client.scroll(request).await.unwrap().into_inner();
            for entry in page.entries {
                let row = data.row_of(&entry.id);
                let metadata: Map<String, Value> = serde_json::from_str(&entry.metadata_json).unwrap();
                let vector = grpc::floats(&entry.vector.unwrap());
                let same = metadata == data.rows[row].metadata && vector == data.base.row(row);
                assert!(same, "{}: {} is not what was written", self.name, entry.id);
                ids.push(entry.id);
            }
            cursor = page.cursor;
            if cursor.is_empty() {
                return ids;
            }
        }
    }

    /// Searches (or batches) that it did not answer alone, members that took part in them, questions to others.
    fn asked(&self) -> [f64; 3] {
        [
            self.rest.metric("vecgrid_search_members_count", ""),
            self.rest.metric("vecgrid_search_members_sum", ""),
            self.rest.metric("vecgrid_members_asked_total", r#"verb="search""#),
        ]
    }
}

/// The hits of an answer that covers the grid.
fn whole(name: &str, answer: pb::SearchResponse) -> Hits {
    let coverage = answer.coverage.unwrap();
    let all = u32::from(PARTITIONS);
    assert_eq!((coverage.answered, coverage.partitions), (all, all), "coverage of an answer of {name}");
    answer.hits.into_iter().map(|hit| (hit.id, hit.distance.to_bits())).collect()
}

/// Exact searches for the first queries.
fn searches(data: &DataSet, queries: usize, k: usize, filter: Option<&Value>) -> Vec<pb::SearchRequest> {
    let one = |query| pb::SearchRequest {
        exact: true,
        filter_json: filter.map(Value::to_string).unwrap_or_default(),
        ..grpc::search(COLLECTION, data.queries.row(query), k as u32)
    };
    (0..queries.min(data.queries.rows())).map(one).collect()
}

fn assert_same(what: &str, name: &str, found: &[Hits], wanted: &[Hits]) {
    let queries: Vec<usize> = (0..wanted.len()).collect();
    assert_same_of(&queries, what, name, found, wanted);
}

/// As [`assert_same`], of these queries; `wanted` is of all.
fn assert_same_of(queries: &[usize], what: &str, name: &str, found: &[Hits], wanted: &[Hits]) {
    assert_eq!(found.len(), queries.len(), "{what}: answers of {name}");
    for (query, found) in queries.iter().zip(found) {
        assert_eq!(found, &wanted[*query], "{what}, query {query}: {name} and the single member differ");
    }
}

/// The single member's own answers against the truth.
fn assert_true(data: &DataSet, what: &str, answers: &[Hits], truth: impl Fn(usize) -> Vec<i32>) {
    for (query, hits) in answers.iter().enumerate() {
        let rows: Vec<usize> = hits.iter().map(|(id, _)| data.row_of(id)).collect();
        let (truth, metric) = (&truth(query), Metric::Cosine);
        let judge = Judge { base: &data.base, metric, query: data.queries.row(query), truth };
        judge.same(K, &rows).unwrap_or_else(|e| panic!("{what}, query {query}: {e}"));
    }
}

fn grid() -> TestCluster {
    let options = ClusterOptions { partitions: PARTITIONS, ..ClusterOptions::new(Finding::Seeds) };
    let mut cluster = TestCluster::launch(MEMBERS, options);
    cluster.wait_one_grid(LIMIT);
    let took = cluster.wait_balanced(LIMIT);
    report!("{MEMBERS} members share {PARTITIONS} partitions {took:.2?} after they were one grid");
    cluster
}

/// Who answers for which partition.
fn primaries(rest: &Rest) -> Vec<Value> {
    let mut body = rest.get("/v1/grid/partitions").ok();
    let Value::Array(list) = body["partitions"].take() else { panic!("no partitions in {body}") };
    list.into_iter().map(|mut partition| partition["primary"].take()).collect()
}

async fn fill(door: &mut Door, data: &DataSet, engine: &str) {
    let mut config = grpc::config(COLLECTION, data.base.columns as u32, pb::Metric::Cosine);
    config.index = Some(pb::IndexOptions { engine: engine.to_owned(), ..Default::default() });
    grpc::create(&mut door.client, config).await;
    let took = load::import(&mut door.client, COLLECTION, data).await;
    report!("{} rows through {} in {:.1} s", data.base.rows(), door.name, took.as_secs_f64());
}

/// All queries, plain and in other forms. The first `shared` are asked through every member, each of the others
/// through the next one in turn.
async fn same_hits(data: &DataSet, shared: usize, single: &mut Door, members: &mut [Door]) {
    let all = searches(data, data.queries.rows(), K, None);
    let begun = Instant::now();
    let wanted = single.search(&all).await;
    report!("{} exact searches: a single member {:.1?}", all.len(), begun.elapsed());
    assert_true(data, "exact", &wanted, |query| data.truth.row(query).to_vec());
    for (number, member) in members.iter_mut().enumerate() {
        let begun = Instant::now();
        let in_turn = |query: &usize| *query < shared || query % MEMBERS == number;
        let queries: Vec<usize> = (0..all.len()).filter(in_turn).collect();
        let asked: Vec<pb::SearchRequest> = queries.iter().map(|query| all[*query].clone()).collect();
        let found = member.search(&asked).await;
        assert_same_of(&queries, "exact", &member.name, &found, &wanted);
        report!("  {} of them through {} {:.1?}", queries.len(), member.name, begun.elapsed());
        for alone in member.search_alone(&all[..FEW]).await {
            assert_same("one by one", &member.name, &alone, &wanted[..FEW]);
        }
    }
    for k in [1, 1_000] {
        let few = searches(data, FEW, k, None);
        let wanted = single.search(&few).await;
        assert!(wanted.iter().all(|hits| hits.len() == k), "there are more than {k} rows");
        for member in &mut *members {
            let found = member.search(&few).await;
            assert_same(&format!("k = {k}"), &member.name, &found, &wanted);
        }
    }
}

async fn same_matches(data: &DataSet, single: &mut Door, members: &mut [Door]) {
    for case in &data.filters {
        let what = case.filter.to_string();
        let filtered = searches(data, FILTERED.min(case.truth.rows()), K, Some(&case.filter));
        let wanted = single.search(&filtered).await;
        assert_true(data, &what, &wanted, |query| case.truth.row(query).to_vec());
        assert_eq!(single.count(Some(&case.filter)).await, case.matches, "count of {what}");
        for member in &mut *members {
            let found = member.search(&filtered).await;
            assert_same(&what, &member.name, &found, &wanted);
            let count = member.count(Some(&case.filter)).await;
            assert_eq!(count, case.matches, "count of {what} through {}", member.name);
        }
    }
}

async fn same_entries(data: &DataSet, single: &mut Door, members: &mut [Door]) {
    let wanted = single.scroll(data).await;
    let distinct: HashSet<&String> = wanted.iter().collect();
    assert_eq!(
        (wanted.len(), distinct.len()),
        (data.rows.len(), data.rows.len()),
        "entries and distinct ones"
    );
    assert_eq!(single.count(None).await, data.rows.len() as u64);
    for member in members {
        let found = member.scroll(data).await;
        assert!(
            found == wanted,
            "a walk through {}: {} entries, other ids or order",
            member.name,
            found.len()
        );
        assert_eq!(member.count(None).await, data.rows.len() as u64, "through {}", member.name);
    }
}

async fn a_grid_and_a_single_member_agree(data: &DataSet, engine: &str, shared: usize) {
    let begun = Instant::now();
    let mut cluster = tokio::task::spawn_blocking(grid).await.unwrap();
    let daemon = Daemon::start_with(Options { partitions: PARTITIONS, ..Options::default() });
    let mut single = Door::of("a single member", &daemon).await;
    let mut members = Vec::new();
    for number in 0..MEMBERS {
        members.push(Door::of(&format!("n{number}"), cluster.daemon(number)).await);
    }
    fill(&mut single, data, engine).await;
    fill(&mut members[1], data, engine).await;
    let before = primaries(&members[0].rest);

    same_hits(data, shared, &mut single, &mut members).await;
    same_matches(data, &mut single, &mut members).await;
    same_entries(data, &mut single, &mut members).await;

    assert_eq!(primaries(&members[0].rest), before, "a grid that nobody joins or leaves moves nothing");
    assert_eq!(single.asked(), [0.0; 3], "a single member answers alone");
    for member in &members {
        let (requests, all) = (member.requests as f64, MEMBERS as f64);
        let [searches, asked, sent] = member.asked();
        report!("{}: {searches} requests with searches, {} members each", member.name, asked / searches);
        assert_eq!(searches, requests, "requests that {} put together from several members", member.name);
        assert_eq!(asked, all * requests, "members that took part in searches through {}", member.name);
        assert_eq!(sent, (all - 1.0) * requests, "each other member is asked once, by {}", member.name);
    }
    cluster.assert_no_panic();
    daemon.assert_no_panic();
    report!("{} rows, {engine}: all the same after {:.1?}", data.base.rows(), begun.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_answer_as_one_on_the_sample() {
    let data = sample::sample();
    a_grid_and_a_single_member_agree(&data, "native", data.queries.rows()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_answer_as_one_on_full_wordnet_when_data_is_present() {
    let Some(data) = sample::wordnet() else {
        report!(
            "\n**** NOT RUN: the full WordNet set is not in {} ****\n",
            sample::wordnet_folder().display()
        );
        return;
    };
    // Exact searches scan the same rows whatever the engine; a graph would take the cores for minutes.
    let shared = std::env::var("VECGRID_GRID_QUERIES").ok().and_then(|text| text.parse().ok());
    a_grid_and_a_single_member_agree(&data, "flat", shared.unwrap_or(SHARED)).await;
}
