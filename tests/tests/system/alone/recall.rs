//! Recall as the daemon tells it: right, cheap, and soon.
//!
//! With the full WordNet set where it is present (`VECGRID_DATA`), else with the sample.

use std::{
    fs,
    time::{Duration, Instant},
};

use vecgrid_proto::v1 as pb;
use vecgridd::types::{IndexOptions, Query, TargetRecall};
use vecgridd_tests::{
    bench::{data::Set, index::Recipe, recall},
    daemon::{Daemon, Options},
    grpc, load, report,
    sample::{self, DataSet},
    truth::Metric,
};

const COLLECTION: &str = "checked";
const K: usize = 10;
const INDEX_LIMIT: Duration = Duration::from_secs(300);
/// As promised: of one core, and how soon damage shows.
const CPU: f64 = 0.02;
const SOON: Duration = Duration::from_secs(60);

fn data() -> DataSet {
    sample::wordnet().unwrap_or_else(|| {
        report!("the full WordNet set is not there: with the sample");
        sample::sample()
    })
}

#[test]
fn what_is_told_is_within_a_hundredth_of_the_truth() {
    let DataSet { base, queries, truth, .. } = data();
    let set = Set { base, queries, truth, metric: Metric::Cosine };
    let index = IndexOptions::default();
    let recipe = Recipe { metric: set.metric, index, build_threads: 2, partitions: 271 };
    let (local, _) = recipe.build(recipe.changes(&set.base, None).unwrap(), set.base.columns).unwrap();
    let target = Some(TargetRecall::DEFAULT);
    let queries = recipe.queries(&set.queries, K, None, None).unwrap();
    let queries: Vec<Query> =
        queries.into_iter().map(|query| Query { exact: false, target_recall: target, ..query }).collect();
    let found = recall::ask(&set, &local, &queries, 0).unwrap();
    let told = 1.0 - found.checked.missed / found.checked.checks as f64;
    report!("{} queries with ef {}: recall {:.4}, told {told:.4}", queries.len(), found.ef, found.recall);
    // Seven of its standard errors where there are 2,000 queries.
    let allowed = 0.01 * (2_000.0 / queries.len() as f64).sqrt().max(1.0);
    assert!((told - found.recall).abs() <= allowed, "recall {} was told as {told}", found.recall);
}

/// Processor time of the thread that checks.
fn check_time(pid: u32) -> Duration {
    // Of a second, on every Linux that runs on these machines.
    const TICKS: f64 = 100.0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
        if name.trim() == "recall-check" {
            let stat = fs::read_to_string(task.join("stat")).unwrap();
            let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
            let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
            return Duration::from_secs_f64(ticks / TICKS);
        }
    }
    panic!("no thread checks");
}

/// A metric of ten hits; `None` before the first check.
fn told(daemon: &Daemon, name: &str) -> Option<f64> {
    let line = format!("{name}{{collection=\"{COLLECTION}\",k=\"{K}\"}} ");
    let text = daemon.admin().get("/metrics").text();
    text.lines().find_map(|l| l.strip_prefix(&line)).map(|value| value.parse().unwrap())
}

async fn search(client: &grpc::Client, data: &DataSet, ef: Option<u32>) {
    let request =
        |query| pb::SearchRequest { ef, ..grpc::search(COLLECTION, data.queries.row(query), K as u32) };
    let requests = (0..data.queries.rows()).map(request).collect();
    load::search_all(client, requests, 4).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_take_their_share_and_bad_answers_show_within_a_minute() {
    let data = data();
    let args = ["--recall-checks", "1", "--build-threads", "2"].map(str::to_owned).to_vec();
    let mut daemon = Daemon::start_with(Options { args, ..Options::default() });
    let mut client = daemon.grpc_socket().await;
    grpc::create(&mut client, grpc::config(COLLECTION, data.base.columns as u32, pb::Metric::Cosine)).await;
    load::import(&mut client, COLLECTION, &data).await;
    load::wait_indexed(&client, COLLECTION, INDEX_LIMIT).await;

    let pid = daemon.ports().pid;
    let (before, begun) = (check_time(pid), Instant::now());
    while begun.elapsed() < Duration::from_secs(20) {
        search(&client, &data, None).await;
    }
    let share = (check_time(pid) - before).as_secs_f64() / begun.elapsed().as_secs_f64();
    let checks = told(&daemon, "vecgrid_recall_checks_total").unwrap();
    let ratio = told(&daemon, "vecgrid_recall_ratio").unwrap();
    let lower = told(&daemon, "vecgrid_recall_ratio_lower").unwrap();
    report!("healthy: {ratio:.4}, above {lower:.4}, {checks} checks, {:.2} % of a core", share * 100.0);
    // Two seconds of it may be saved up before, and a check that is begun is finished.
    assert!(share <= CPU * 1.1 + 0.1 / 20.0, "{share}");
    assert!(ratio >= 0.95 && checks >= 20.0, "{ratio} after {checks} checks");

    // Walks that are much too narrow: bad answers, as of a damaged graph.
    let begun = Instant::now();
    while told(&daemon, "vecgrid_recall_ratio_upper").unwrap() >= lower {
        assert!(begun.elapsed() < SOON, "nothing shows after {SOON:?}");
        search(&client, &data, Some(1)).await;
    }
    let ratio = told(&daemon, "vecgrid_recall_ratio").unwrap();
    report!("bad answers show after {:.1} s: {ratio:.4}", begun.elapsed().as_secs_f64());
    daemon.stop();
    daemon.assert_no_panic();
}
