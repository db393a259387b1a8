//! Two members that each have a copy of everything: reads leave no machine, and of one that dies nothing is missed.

use serde_json::{Value, json};
use vecgridd_tests::{
    cluster::TestCluster,
    report,
    rest::{Rest, collection_path, entry_path},
    synthetic, wait,
};

use super::{COLLECTION, LIMIT, LOAD, assert_kept, grid, open, with_backups};

const PARTITIONS: u16 = 60;
const WRITES: u64 = 150;
/// What is read but for counts.
const READS: [&str; 3] = ["search", "get", "scroll"];

fn path(verb: &str) -> String {
    format!("{}/{verb}", collection_path(COLLECTION))
}

fn put(rest: &Rest, id: &str, version: u64) -> vecgridd_tests::rest::Answer {
    let entry = json!({"vector": synthetic::vector(id, version), "metadata": {"version": version}});
    rest.put(&entry_path(COLLECTION, id), &entry)
}

/// What a search for this very vector finds first.
fn nearest(rest: &Rest, id: &str, version: u64) -> Value {
    let query =
        json!({"vector": synthetic::vector(id, version), "k": 1, "exact": true, "include": ["metadata"]});
    let mut answer = rest.post(&path("search"), &query).ok();
    assert_eq!(answer["coverage"], json!({"answered": PARTITIONS, "partitions": PARTITIONS}));
    answer["hits"][0].take()
}

fn count(rest: &Rest) -> u64 {
    rest.post(&path("count"), &json!({})).ok()["count"].as_u64().unwrap()
}

/// Questions about rows, but for writes and counts, that a member sent to others.
fn asked(rest: &Rest) -> f64 {
    READS.iter().map(|verb| rest.metric("vecgrid_members_asked_total", &format!("verb=\"{verb}\""))).sum()
}

/// Questions that were to count.
fn counted(rest: &Rest) -> f64 {
    rest.metric("vecgrid_members_asked_total", "verb=\"count\"")
}

/// Waits until a count asks nobody. A backup, also one that was the primary until now, answers once its primary has
/// told it how far it is: a moment after the table says that both are in sync.
fn wait_for_own_copies(rest: &Rest, rows: u64) {
    wait::until("its own copies show everything", LIMIT, || {
        let (before, found) = (counted(rest), count(rest));
        (found == rows && counted(rest) == before).then_some(())
    });
}

#[test]
fn two_members_ask_nobody_for_reads_and_an_app_sees_its_own_writes_at_once() {
    let (mut cluster, _) = grid(2, with_backups(PARTITIONS, 1));
    let doors = [0, 1].map(|number| cluster.daemon(number).rest());
    doors.iter().for_each(|rest| wait_for_own_copies(rest, 0));
    let before = doors.each_ref().map(asked);
    for n in 0..WRITES {
        let (rest, id) = (&doors[n as usize % 2], format!("e{}", n / 2));
        put(rest, &id, n).ok();
        let hit = nearest(rest, &id, n);
        assert_eq!(
            (&hit["id"], &hit["metadata"]["version"]),
            (&json!(id), &json!(n)),
            "searched after put {n}"
        );
        let got = rest.get(&entry_path(COLLECTION, &id)).ok();
        assert_eq!(got["metadata"]["version"], n, "got after put {n}");
        if n % 10 == 9 {
            assert_eq!(rest.delete(&entry_path(COLLECTION, &id)).ok()["deleted"], true);
            rest.get(&entry_path(COLLECTION, &id)).is_problem(404, "entry_not_found");
            assert_ne!(nearest(rest, &id, n)["id"], json!(id), "found after its delete");
        }
    }
    // And a moment later what others wrote.
    let rows = count(&doors[0].strong());
    for rest in &doors {
        wait::until("each copy shows everything", LIMIT, || (count(rest) == rows).then_some(()));
    }
    let after = doors.each_ref().map(asked);
    assert_eq!(after, before, "a member with a copy of everything asked another one for a read");
    // Strong reads may: they are for primaries.
    let before = doors.each_ref().map(counted);
    let strong: Vec<u64> = doors.iter().map(|rest| count(&rest.strong())).collect();
    assert_eq!(strong, [rows, rows]);
    let after = doors.each_ref().map(counted);
    assert!(
        before.iter().zip(after).all(|(before, after)| after > *before),
        "a strong read asks the primaries"
    );
    cluster.assert_no_panic();
}

/// Kills one; what the other does then.
fn lose(cluster: &mut TestCluster, victim: usize, rows: u64) {
    let rest = cluster.daemon(1 - victim).rest();
    // The loss of one that has a copy nobody else has is another matter.
    cluster.wait_copies(2, LIMIT);
    wait_for_own_copies(&rest, rows);
    cluster.kill9(victim);
    let begun = std::time::Instant::now();
    let whole = loop {
        let answer = rest.post(&path("count"), &json!({}));
        if answer.status == 200 && answer.json()["count"] == rows {
            break begun.elapsed();
        }
        assert!(begun.elapsed() < LIMIT, "the other does not answer for everything: {}", answer.text());
    };
    for n in 0..rows {
        let id = format!("e{n}");
        assert_eq!(rest.get(&entry_path(COLLECTION, &id)).ok()["metadata"]["version"], 1);
        assert_eq!(nearest(&rest, &id, 1)["id"], json!(id));
    }
    // One of two is no majority: it cannot be sure that the other is not there.
    let brief = rest.with_header("x-request-timeout-ms", "3000");
    for n in 0..4 {
        let answer = put(&brief, &format!("x{n}"), 1);
        report!("n{victim} of two is dead, a write: {} {}", answer.status, answer.text());
        assert!(matches!(answer.status, 503 | 504), "{}", answer.text());
        assert!(matches!(answer.json()["outcome"].as_str(), Some("failed" | "unknown")), "{}", answer.text());
    }
    report!("n{victim} of two killed: the other answered for everything after {whole:.2?}");
    cluster.relaunch(victim);
    cluster.wait_one_grid(LIMIT);
    cluster.wait_copies(2, LIMIT);
}

#[test]
fn when_one_of_two_dies_the_other_shows_what_it_was_the_primary_of_and_says_so() {
    let (mut cluster, _) = grid(2, with_backups(PARTITIONS, 1));
    let rest = cluster.daemon(0).rest();
    (0..100).for_each(|n| _ = put(&rest, &format!("e{n}"), 1).ok());
    cluster.kill9(1);
    let brief = rest.with_header("x-request-timeout-ms", "3000");
    let query = |partial| json!({"vector": synthetic::vector("e1", 1), "k": 100, "exact": true, "allow_partial": partial});
    let marked = wait::until("an answer that is marked", LIMIT, || {
        let answer = brief.post(&path("search"), &query(true)).ok();
        (answer["coverage"]["answered"] != PARTITIONS).then_some(answer)
    });
    let answered = marked["coverage"]["answered"].as_u64().unwrap();
    assert!((1..u64::from(PARTITIONS)).contains(&answered), "{}", marked["coverage"]);
    assert!(!marked["hits"].as_array().unwrap().is_empty());
    let refused = brief.post(&path("search"), &query(false));
    assert!(matches!(refused.status, 503 | 504), "{} {}", refused.status, refused.text());
    cluster.assert_no_panic();
}

#[test]
fn when_one_of_two_dies_the_other_shows_everything_if_it_was_told_to_and_refuses_writes() {
    let mut options = with_backups(PARTITIONS, 1);
    options.args.extend(["--on-minority", "read-only"].map(str::to_owned));
    let (mut cluster, traffic) = grid(2, options);
    let rest = cluster.daemon(0).rest();
    let rows = 100;
    (0..rows).for_each(|n| _ = put(&rest, &format!("e{n}"), 1).ok());
    let (leader, _) = cluster.wait_leader(0, LIMIT);
    for victim in [1 - leader, leader] {
        lose(&mut cluster, victim, rows);
        open(&mut cluster, &traffic, victim);
        // Those of unknown outcome may have taken effect: they are no part of what is counted.
        for member in 0..2 {
            let rest = cluster.daemon(member).rest();
            // Both are there, and have to elect one of them first.
            wait::until("writes are taken again", LIMIT, || {
                (put(&rest, "x0", 2).status == 200).then_some(())
            });
            (0..4).for_each(|n| _ = put(&rest, &format!("x{n}"), 2).ok());
            (0..4).for_each(|n| _ = rest.delete(&entry_path(COLLECTION, &format!("x{n}"))).ok());
        }
    }
    cluster.assert_no_panic();
}

/// Writes while one is stopped.
const AWAY: u64 = 400;
/// The longest that a write may take meanwhile: the other one has to be elected first, when the leader stops.
const GAP: std::time::Duration = std::time::Duration::from_secs(2);

#[test]
fn when_one_of_two_is_stopped_the_other_writes_on_and_they_are_two_again_when_it_is_back() {
    let (mut cluster, traffic) = grid(2, with_backups(PARTITIONS, 1));
    traffic.run(LOAD, || {
        for round in 0..4 {
            let (leader, _) = cluster.wait_leader(0, LIMIT);
            let victim = if round % 2 == 0 { leader } else { 1 - leader };
            wait::until("apps are at work", LIMIT, || (traffic.writes.count() > 50).then_some(()));
            traffic.close(victim);
            traffic.writes.take();
            cluster.stop(victim);
            wait::until("writes go on", LIMIT, || (traffic.writes.count() >= AWAY).then_some(()));
            let writes = traffic.writes.take();
            cluster.relaunch(victim);
            open(&mut cluster, &traffic, victim);
            let level = cluster.wait_copies(2, LIMIT);
            cluster.wait_voters(2, LIMIT);
            report!(
                "n{victim}{} was stopped: {} writes, the slowest {:.2?}; two copies {level:.1?} after it was ready",
                if victim == leader { ", the leader," } else { "" },
                writes.count,
                writes.slowest
            );
            assert!(writes.slowest < GAP, "a write took {:?}", writes.slowest);
        }
    });
    assert_kept(&mut cluster, &traffic, 2);
}
