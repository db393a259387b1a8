//! Grids of real daemons: births, restarts, leaders that die, members that are cut off.
//!
//! `VECGRID_BIRTHS` and `VECGRID_LEADER_KILLS` raise the number of rounds.

use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;
use vecgridd_tests::{
    cluster::{ClusterOptions, Finding, TestCluster},
    net::Network,
    report, rest, wait,
};

/// Within which daemons that were started together must be one grid.
const BIRTH: Duration = Duration::from_secs(10);
/// The longest that a grid may be without a leader.
const LEADERLESS: Duration = Duration::from_secs(5);
/// For what has no promise of its own.
const LIMIT: Duration = Duration::from_secs(60);

fn setting(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn show(name: &str, mut times: Vec<Duration>) {
    times.sort();
    let (median, worst) = (times[times.len() / 2], times[times.len() - 1]);
    report!("{name}: {} times, median {median:.2?}, worst {worst:.2?}", times.len());
}

fn births(name: &str, mut launch: impl FnMut() -> TestCluster) {
    let mut times = Vec::new();
    for _ in 0..setting("VECGRID_BIRTHS", 3) {
        let mut cluster = launch();
        times.push(cluster.wait_one_grid(BIRTH));
        cluster.assert_no_panic();
    }
    show(name, times);
}

/// Waits until the grid takes a decision: a collection.
fn decides(cluster: &mut TestCluster, number: usize, collection: &str) {
    let rest = cluster.daemon(number).rest();
    wait::until("the grid decides", LIMIT, || {
        let answer =
            rest.put(&rest::collection_path(collection), &json!({"dimension": 3, "metric": "cosine"}));
        (answer.status / 100 == 2).then_some(())
    });
}

#[test]
fn five_started_at_once_with_seeds_are_one_grid() {
    births("five with seeds", || TestCluster::launch(5, ClusterOptions::new(Finding::Seeds)));
}

#[test]
fn five_started_at_once_with_multicast_alone_are_one_grid() {
    if let Err(why) = Network::new(1) {
        report!("left out: {why}");
        return;
    }
    let network = || Network::new(5).unwrap();
    births("five by multicast", || {
        TestCluster::launch_in(network(), 5, ClusterOptions::new(Finding::Multicast))
    });
}

#[test]
fn after_a_restart_of_all_at_once_the_grid_is_the_same() {
    let mut cluster = TestCluster::launch(5, ClusterOptions::new(Finding::Seeds));
    cluster.wait_one_grid(BIRTH);
    let before = cluster.view(0).unwrap();
    for kill in [false, true] {
        for number in cluster.running() {
            if kill { cluster.kill9(number) } else { cluster.stop(number) }
        }
        let begun = Instant::now();
        (0..5).for_each(|number| cluster.relaunch(number));
        cluster.wait_one_grid(LIMIT);
        // Who led before the restart is remembered, so views alone do not show that anybody leads now.
        let collection = if kill { "after-kills" } else { "after-stops" };
        decides(&mut cluster, 0, collection);
        let took = begun.elapsed();
        let after = cluster.view(0).unwrap();
        assert_eq!(after.grid_id, before.grid_id);
        let ids = |view: &vecgridd_tests::cluster::GridView| -> Vec<String> {
            view.members.iter().map(|member| member.id.clone()).collect()
        };
        assert_eq!(ids(&after), ids(&before));
        report!(
            "all five {}: one grid that decides again after {took:.2?}",
            if kill { "killed" } else { "stopped" }
        );
    }
    cluster.assert_no_panic();
}

#[test]
fn a_leader_that_is_killed_again_and_again_is_replaced() {
    let mut cluster = TestCluster::launch(3, ClusterOptions::new(Finding::Seeds));
    cluster.wait_one_grid(BIRTH);
    // With fewer than three that decide, nobody may be missing.
    cluster.wait_voters(3, LIMIT);
    let (mut leader, mut term) = cluster.wait_leader(0, LIMIT);
    let mut times = Vec::new();
    for _ in 0..setting("VECGRID_LEADER_KILLS", 10) {
        let begun = Instant::now();
        cluster.kill9(leader);
        let (_, newer) = cluster.wait_leader(term, LEADERLESS);
        times.push(begun.elapsed());
        cluster.relaunch(leader);
        cluster.wait_one_grid(LIMIT);
        cluster.wait_voters(3, LIMIT);
        // Perhaps another by now.
        (leader, term) = cluster.wait_leader(newer - 1, LIMIT);
    }
    show("leader killed", times);
    cluster.assert_no_panic();
}

#[test]
fn a_member_that_is_cut_off_is_missed_and_comes_back_by_itself() {
    let network = match Network::new(3) {
        Ok(network) => network,
        Err(why) => return report!("left out: {why}"),
    };
    let mut options = ClusterOptions::new(Finding::Seeds);
    options.args.extend(["--default-deadline-ms", "2000"].map(str::to_owned));
    let mut cluster = TestCluster::launch_in(network, 3, options);
    cluster.wait_one_grid(BIRTH);
    // With fewer than three that decide, nobody may be missing.
    cluster.wait_voters(3, LIMIT);
    let (leader, _) = cluster.wait_leader(0, LIMIT);
    let cut = (leader + 1) % 3;
    // Everybody holds something, and an app beside the one that will be cut off uses it.
    cluster.wait_balanced(LIMIT);
    let socket = cluster.daemon(cut).ports().socket.clone();
    let ask = |method: &str, path: &str, body: &serde_json::Value| {
        rest::over_socket(&socket, method, path, &body.to_string(), LIMIT).unwrap()
    };
    let (status, answer) =
        ask("PUT", &rest::collection_path("c"), &json!({"dimension": 2, "metric": "euclidean"}));
    assert_eq!(status, 201, "{answer}");
    let put = |n: usize| ask("PUT", &rest::entry_path("c", &format!("e{n}")), &json!({"vector": [n, 1]})).0;
    (0..100).for_each(|n| assert_eq!(put(n), 200));
    cluster.network().isolate(cut);
    let name = format!("n{cut}");
    wait::until("the leader misses the member that is cut off", LIMIT, || {
        let view = cluster.view(leader)?;
        view.members.iter().find(|member| member.name == name && member.state == "away").map(|_| ())
    });
    assert!(cluster.view(cut).is_some(), "its app gets answers all the same");
    // It was missed only after its lease had ended: nothing is acknowledged any more.
    (0..6).for_each(|n| assert_eq!(put(n) / 100, 5, "a write was acknowledged by a member that is cut off"));
    let search = |partial: bool| {
        let query = json!({"vector": [1, 1], "k": 100, "allow_partial": partial});
        ask("POST", &format!("{}/search", rest::collection_path("c")), &query)
    };
    let (status, answer) = search(true);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let (answered, hits) =
        (answer["coverage"]["answered"].as_u64(), answer["hits"].as_array().unwrap().len());
    assert_eq!(status, 200, "{answer}");
    assert!(matches!(answered, Some(1..8)) && (1..100).contains(&hits), "what it has, and marked: {answer}");
    let refused = search(false).0;
    assert!(
        matches!(refused, 503 | 504),
        "an incomplete answer is an error unless it was allowed: {refused}"
    );
    cluster.network().rejoin(cut);
    let took = cluster.wait_one_grid(LIMIT);
    report!("back {took:.2?} after the cable was in again");
    wait::until("it takes writes again", LIMIT, || (put(0) == 200).then_some(()));
    wait::until("it finds everything again", LIMIT, || (search(false).0 == 200).then_some(()));
    cluster.assert_no_panic();
}

/// What a member holds, what it should, and how it is, in the eyes of another.
#[derive(Debug, Deserialize)]
struct Share {
    name: String,
    state: String,
    copies: usize,
    wanted: usize,
    votes: bool,
}

fn shares(cluster: &mut TestCluster, seen_by: usize) -> Vec<Share> {
    let mut answer = cluster.daemon(seen_by).rest().get("/v1/grid/members").ok();
    serde_json::from_value(answer["members"].take()).unwrap()
}

/// Three members, once partitions are meant for all of them; and the one that holds the fewest now.
fn dealt(options: ClusterOptions) -> (TestCluster, usize) {
    let mut cluster = TestCluster::launch(3, options);
    cluster.wait_one_grid(BIRTH);
    cluster.wait_voters(3, LIMIT);
    let shares = wait::until("partitions are meant for all", LIMIT, || {
        let shares = shares(&mut cluster, 0);
        shares.iter().all(|share| (2..=3).contains(&share.wanted)).then_some(shares)
    });
    let fewest = shares.iter().min_by_key(|share| share.copies).unwrap();
    let number = (0..3).find(|number| fewest.name == format!("n{number}")).unwrap();
    (cluster, number)
}

#[test]
fn a_member_that_was_drained_serves_until_it_is_stopped_and_has_left_then() {
    let (mut cluster, number) = dealt(ClusterOptions::new(Finding::Seeds));
    let (name, other) = (format!("n{number}"), (number + 1) % 3);
    let rest = cluster.daemon(number).rest();
    let share = |cluster: &mut TestCluster| {
        let shares = shares(cluster, other);
        shares.into_iter().find(|share| share.name == name).unwrap()
    };
    assert_eq!(rest.post("/v1/grid/drain", &json!({})).ok()["draining"], true);
    assert_eq!(cluster.daemon(number).admin().get("/readyz").text(), "draining\n");
    // It may stay after all.
    assert_eq!(rest.delete("/v1/grid/drain").ok()["draining"], false);
    wait::until("its share is meant for it again", LIMIT, || {
        let share = share(&mut cluster);
        (share.state == "up" && share.wanted >= 2).then_some(())
    });
    rest.post("/v1/grid/drain", &json!({})).ok();
    wait::until("it holds nothing, and decides nothing", LIMIT, || {
        let share = share(&mut cluster);
        let empty = share.copies == 0 && share.wanted == 0 && !share.votes;
        (empty && share.state == "draining").then_some(())
    });
    cluster.stop(number);
    wait::until("it has left", LIMIT, || (shares(&mut cluster, other).len() == 2).then_some(()));
    decides(&mut cluster, other, "after");
    cluster.daemon(number).relaunch();
    let ended = cluster.daemon(number).wait_exit(LIMIT);
    assert!(!ended.success(), "a member that has left does not come back under its id");
    let log = cluster.daemon(number).log();
    assert!(log.contains("has left its grid for good"), "{log}");
    cluster.assert_no_panic();
}

#[test]
fn a_daemon_that_is_to_leave_when_it_is_stopped_has_left_when_it_ends() {
    let mut options = ClusterOptions::new(Finding::Seeds);
    options.args.push("--drain".to_owned());
    let (mut cluster, number) = dealt(options);
    let other = (number + 1) % 3;
    cluster.daemon(number).sigterm();
    assert!(cluster.daemon(number).wait_exit(LIMIT).success());
    // Not a moment later: it has said so itself.
    wait::until("it has left", Duration::from_secs(1), || {
        (shares(&mut cluster, other).len() == 2).then_some(())
    });
    assert!(cluster.daemon(number).log().contains("this member has left the grid"));
    decides(&mut cluster, other, "after");
    cluster.assert_no_panic();
}

#[test]
fn a_member_that_leaves_gives_its_rows_to_the_others_while_they_are_read_and_written() {
    let mut options = ClusterOptions::new(Finding::Seeds);
    options.args.push("--drain".to_owned());
    let (mut cluster, _) = dealt(options);
    decides(&mut cluster, 0, "c");
    let rest = cluster.daemon(0).rest();
    let put = |rest: &rest::Rest, n: usize| {
        let answer = rest.put(&rest::entry_path("c", &format!("e{n}")), &json!({"vector": [n, 1, 0]}));
        assert_eq!(answer.status / 100, 2, "{}", answer.text());
    };
    (0..500).for_each(|n| put(&rest, n));
    wait::until("each holds its share", LIMIT, || {
        shares(&mut cluster, 0)
            .iter()
            .all(|share| share.copies == share.wanted && share.copies >= 2)
            .then_some(())
    });
    // Whoever leads: it has the most to give away.
    let (leader, _) = cluster.wait_leader(0, LIMIT);
    let other = (leader + 1) % 3;
    cluster.daemon(leader).sigterm();
    // Written through the one that leaves and through another, as long as the first one serves.
    let (leaving, staying) = (cluster.daemon(leader).rest(), cluster.daemon(other).rest());
    let mut n = 500;
    while cluster.daemon(leader).is_running() {
        put(&staying, n);
        n += 1;
        if leaving.send_empty("GET", "/v1/grid").is_err() {
            break;
        }
    }
    assert!(cluster.daemon(leader).wait_exit(LIMIT).success());
    assert!(cluster.daemon(leader).log().contains("this member has left the grid"));
    wait::until("it has left", LIMIT, || (shares(&mut cluster, other).len() == 2).then_some(()));
    let staying = cluster.daemon(other).rest();
    assert_eq!(staying.post("/v1/collections/c/count", &json!({})).ok()["count"], n);
    (0..n).step_by(7).for_each(|n| _ = staying.get(&rest::entry_path("c", &format!("e{n}"))).ok());
    cluster.assert_no_panic();
}

#[test]
fn a_member_that_joins_is_given_its_share_and_a_restart_moves_nothing() {
    let (mut cluster, _) = dealt(ClusterOptions::new(Finding::Seeds));
    wait::until("each holds its share", LIMIT, || {
        shares(&mut cluster, 0).iter().all(|share| share.copies == share.wanted).then_some(())
    });
    let fourth = cluster.add();
    cluster.wait_one_grid(LIMIT);
    wait::until("the fourth holds its share", LIMIT, || {
        let shares = shares(&mut cluster, fourth);
        shares.iter().all(|share| share.copies == 2 && share.wanted == 2).then_some(())
    });
    let before: Vec<_> = cluster.daemon(0).rest().get("/v1/grid/partitions").ok()["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["primary"].clone())
        .collect();
    cluster.kill9(fourth);
    cluster.relaunch(fourth);
    cluster.wait_one_grid(LIMIT);
    let after: Vec<_> = cluster.daemon(0).rest().get("/v1/grid/partitions").ok()["partitions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["primary"].clone())
        .collect();
    assert_eq!(after, before);
}
