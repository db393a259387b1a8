//! What an empty daemon costs with the usual 271 partitions. Times are printed, never asserted;
//! the bound on memory is generous and only catches an explosion.

use serde_json::json;
use vecgridd_tests::{
    daemon::{Daemon, Options},
    report,
};

const PARTITIONS: u16 = 271;
const RESIDENT_LIMIT: u64 = 512 << 20;

#[test]
fn an_idle_daemon_of_271_partitions_is_small() {
    let mut daemon = Daemon::start_with(Options { partitions: PARTITIONS, ..Options::default() });
    let first = daemon.start_time();
    let created = daemon.resident_bytes();
    daemon.rest().put("/v1/collections/c", &json!({"dimension": 8})).ok();
    daemon.rest().put("/v1/collections/c/entries/a", &json!({"vector": [1, 0, 0, 0, 0, 0, 0, 0]})).ok();
    let grid = daemon.rest().get("/v1/grid/partitions").ok();
    let partitions = grid["partitions"].as_array().map_or(0, Vec::len);
    assert_eq!(partitions, usize::from(PARTITIONS), "{grid}");
    daemon.stop();
    daemon.restart();
    report!(
        "{PARTITIONS} partitions: first start {:.2} s, {} MiB resident; restart {:.2} s, {} MiB resident",
        first.as_secs_f64(),
        created >> 20,
        daemon.start_time().as_secs_f64(),
        daemon.resident_bytes() >> 20
    );
    assert!(created > 0 && created < RESIDENT_LIMIT, "{created} bytes resident");
    assert!(daemon.resident_bytes() < RESIDENT_LIMIT, "{} bytes resident", daemon.resident_bytes());
    daemon.rest().get("/v1/collections/c/entries/a").ok();
    daemon.assert_no_panic();
}

#[test]
fn the_partition_count_is_fixed_when_the_grid_is_created() {
    // A restart with another count must not move rows to other partitions in silence.
    let mut daemon = Daemon::start();
    daemon.rest().put("/v1/collections/c", &json!({"dimension": 2})).ok();
    for i in 0..50 {
        daemon.rest().put(&format!("/v1/collections/c/entries/e{i}"), &json!({"vector": [i, 1]})).ok();
    }
    daemon.stop();
    daemon.restart();
    let count = daemon.rest().post("/v1/collections/c/count", &json!({})).ok();
    assert_eq!(count["count"], 50);
    for i in 0..50 {
        daemon.rest().get(&format!("/v1/collections/c/entries/e{i}")).ok();
    }
}
