//! Grids that keep copies: what they promise, with real daemons that are killed, frozen, restarted and cut off from
//! power. Each test is short by default; a variable makes it as long as it should be before a release.

mod disks;
mod few;
mod five;
mod kills;
mod links;
mod pauses;
mod power;
mod rolling;
mod two;

use std::time::Duration;

use serde_json::json;
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    report, rest, synthetic,
    traffic::{Load, Traffic},
};

const COLLECTION: &str = "c";
/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(120);
/// Three hundred operations a second and more, where the machine can.
const LOAD: Load =
    Load { writers: 4, searchers: 2, ids: 150, text: 0, deletes: true, pace: Duration::from_millis(12) };

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Members with a collection, once every partition has all of its copies; and apps that may ask all of them.
fn grid(members: usize, options: ClusterOptions) -> (TestCluster, Traffic) {
    let copies = usize::from(options.backups) + 1;
    let mut cluster = TestCluster::launch(members, options);
    cluster.wait_one_grid(LIMIT);
    // With fewer than three that decide, nobody may be missing.
    cluster.wait_voters(members, LIMIT);
    let rest = cluster.daemon(0).rest();
    let config = json!({"dimension": synthetic::DIMENSION, "metric": "euclidean"});
    rest.put(&rest::collection_path(COLLECTION), &config).ok();
    let took = cluster.wait_copies(copies, LIMIT);
    report!("{members} members: {copies} copies of every partition after {took:.1?}");
    let traffic = Traffic::new(COLLECTION);
    (0..members).for_each(|number| open(&mut cluster, &traffic, number));
    (cluster, traffic)
}

fn with_backups(partitions: u16, backups: u8) -> ClusterOptions {
    ClusterOptions { partitions, backups, ..ClusterOptions::new(Finding::Seeds) }
}

/// Apps may ask this member, which must be ready.
fn open(cluster: &mut TestCluster, traffic: &Traffic, number: usize) {
    let daemon = cluster.daemon(number);
    daemon.wait_ready(LIMIT);
    traffic.open(number, &daemon.ports().api);
}

/// Nothing was wrong, everything is there, and every copy shows the same.
fn assert_kept(cluster: &mut TestCluster, traffic: &Traffic, copies: usize) {
    let took = cluster.wait_copies(copies, LIMIT);
    traffic.assert_right();
    let ledger = traffic.ledger();
    let (acked, unknown, failed) = ledger.totals();
    report!(
        "{acked} writes acknowledged, {unknown} unknown, {failed} failed; all in sync {took:.1?} after the end; tries \
         that were made again: {:?}",
        traffic.retries()
    );
    cluster.assert_shows(COLLECTION, &ledger);
    let asked = cluster.running()[0];
    let (output, told) = cluster.verify(asked);
    assert!(output.status.success() && told["verdict"] == "equal", "{told}");
    report!("verified: all copies are equal, {} rows read", told["rows_read"]);
    cluster.assert_no_panic();
}
