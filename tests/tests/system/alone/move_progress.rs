//! What people see of moves while they are under way.

use std::time::Duration;

use serde_json::{Value, json};
use vecgridd_tests::{
    binaries,
    cluster::{ClusterOptions, Finding, TestCluster},
    rest::{self, Rest},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
const ENTRIES: usize = 4_000;
const DIMENSION: usize = 512;

fn moves(member: &Rest) -> Vec<Value> {
    let found = member.get("/v1/grid/moves").ok();
    assert_eq!(found["unanswered"], json!([]));
    found["moves"].as_array().unwrap().clone()
}

fn metric(member: &Rest, name: &str) -> f64 {
    let text = member.get("/metrics").text();
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
}

#[test]
fn a_move_says_how_far_it_is_through_every_member() {
    let mut options = ClusterOptions::new(Finding::Seeds);
    options.partitions = 2;
    // Slow enough to be looked at: four megabytes for each partition, and a log that does not reach back to the first.
    options.args =
        ["--copy-rate", "1048576", "--copies-at-once", "1", "--log-records", "16"].map(str::to_owned).into();
    let mut cluster = TestCluster::launch(1, options);
    cluster.wait_one_grid(LIMIT);
    let first = cluster.daemon(0).rest();
    let collection = rest::collection_path("c");
    let body = json!({"dimension": DIMENSION, "metric": "euclidean"});
    assert_eq!(first.put(&collection, &body).status / 100, 2);
    for batch in (0..ENTRIES).collect::<Vec<_>>().chunks(100) {
        let entries: Vec<Value> = batch
            .iter()
            .map(|n| json!({"id": format!("e{n}"), "vector": (0..DIMENSION).map(|i| (i * n % 97) as f32).collect::<Vec<_>>()}))
            .collect();
        first.post(&format!("{collection}/entries"), &json!({"entries": entries})).ok();
    }
    assert!(moves(&first).is_empty());

    let second = cluster.add();
    cluster.wait_one_grid(LIMIT);
    let second = cluster.daemon(second).rest();
    // The second sends nothing: it asks the first.
    let seen = wait::until("a move is half way", LIMIT, || {
        let seen = moves(&second).into_iter().find(|seen| seen["stage"] == "rows")?;
        let bytes = |name: &str| seen[name].as_u64().unwrap();
        (bytes("sent_bytes") > 0 && bytes("sent_bytes") < bytes("total_bytes")).then_some(seen)
    });
    assert_ne!(seen["source"], seen["target"]);
    let rate = seen["bytes_per_second"].as_u64().unwrap();
    assert!((200_000..8_000_000).contains(&rate), "{seen}");
    let left = seen["seconds_left"].as_f64().unwrap();
    assert!(left > 0.0 && left < 60.0, "{seen}");
    let admin = cluster.daemon(0).admin();
    assert!(metric(&admin, "vecgrid_copies_under_way") >= 1.0);
    assert!(metric(&admin, "vecgrid_copies_bytes{kind=\"sent\"}") > 0.0);
    let socket = format!("unix:{}", cluster.daemon(1).ports().socket.display());
    let output =
        std::process::Command::new(binaries::vecgrid()).args(["--endpoint", &socket, "partitions"]).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    assert!(text.contains("on their way") && text.contains(" of "), "{text}");
    // The estimate was one.
    let total = seen["total_bytes"].as_u64().unwrap();
    assert!((2 << 20..16 << 20).contains(&total), "{seen}");
    cluster.wait_balanced(LIMIT);
    assert!(moves(&first).is_empty());
    assert_eq!(metric(&admin, "vecgrid_copies_under_way"), 0.0);
    cluster.assert_no_panic();
}
