//! A collection that was just made is known to every member that is asked for it.

use std::time::{Duration, Instant};

use serde_json::json;
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    report,
    rest::{self, Rest},
};

const LIMIT: Duration = Duration::from_secs(60);
const ROUNDS: usize = 150;

#[test]
fn a_collection_made_through_one_member_is_at_once_written_and_searched_through_others() {
    let mut cluster = TestCluster::launch(3, ClusterOptions::new(Finding::Seeds));
    cluster.wait_one_grid(LIMIT);
    cluster.wait_voters(3, LIMIT);
    cluster.wait_balanced(LIMIT);
    let members: Vec<Rest> = (0..3).map(|number| cluster.daemon(number).rest()).collect();
    let body = json!({"dimension": 2, "metric": "euclidean"});
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let through = |offset: usize| &members[(round + offset) % 3];
        let name = format!("c{round}");
        assert_eq!(through(0).put(&rest::collection_path(&name), &body).status, 201, "{name}");
        let begun = Instant::now();
        let entry = json!({"vector": [1.0, 2.0]});
        let written = through(1).put(&rest::entry_path(&name, "a"), &entry);
        assert_eq!(written.status / 100, 2, "{name}: {}", written.text());
        slowest = slowest.max(begun.elapsed());
        let search = json!({"vector": [1.0, 2.0], "k": 1});
        let found = through(2).post(&format!("{}/search", rest::collection_path(&name)), &search);
        assert_eq!(found.status, 200, "{name}: {}", found.text());
        assert_eq!(found.json()["hits"][0]["id"], "a", "{name}");
        assert_eq!(through(0).delete(&rest::collection_path(&name)).status / 100, 2);
    }
    // One that does not exist is still said not to, and soon.
    let begun = Instant::now();
    for member in &members {
        member.get(&rest::collection_path("never")).is_problem(404, "collection_not_found");
    }
    report!(
        "{ROUNDS} collections: the slowest first write took {slowest:.2?}; three 404s {:.2?}",
        begun.elapsed()
    );
    cluster.assert_no_panic();
}
