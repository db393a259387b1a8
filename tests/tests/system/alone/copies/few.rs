//! Fewer copies than the grid demands: writes are refused, and say so; reads go on.

use std::collections::BTreeSet;

use serde_json::json;
use vecgridd::{placement::partition_of, types::EntryId};
use vecgridd_tests::{
    cluster::{ClusterOptions, TestCluster},
    ledger::{Effect, Ledger, Outcome},
    report,
    rest::{Answer, Rest, collection_path, entry_path},
    synthetic, wait,
};

use super::{COLLECTION, LIMIT, grid, open, with_backups};

const PARTITIONS: u16 = 24;
/// So many that every partition has several.
const IDS: u64 = 150;

fn options(backups: u8, min_in_sync: u8) -> ClusterOptions {
    let mut options = with_backups(PARTITIONS, backups);
    options.args.extend(["--min-in-sync".to_owned(), min_in_sync.to_string()]);
    options
}

fn put(rest: &Rest, n: u64, version: u64) -> (Answer, Outcome) {
    let id = format!("e{n}");
    let entry = json!({"vector": synthetic::vector(&id, version), "metadata": {"version": version}});
    let answer = rest.put(&entry_path(COLLECTION, &id), &entry);
    let outcome = match answer.status {
        200 => Outcome::Acked(None),
        _ if answer.json()["outcome"] == "failed" => Outcome::Failed,
        _ => Outcome::Unknown,
    };
    (answer, outcome)
}

/// Writes everything once.
fn fill(rest: &Rest, ledger: &mut Ledger, version: u64) {
    for n in 0..IDS {
        let (answer, outcome) = put(rest, n, version);
        assert_eq!(answer.status, 200, "{}", answer.text());
        ledger.note(&format!("e{n}"), Effect::Put(version), outcome);
    }
}

/// Partitions that have only one copy now.
fn alone(cluster: &mut TestCluster, asked: usize) -> BTreeSet<u16> {
    let table = cluster.partitions(asked).unwrap();
    table
        .iter()
        .filter(|partition| partition.in_sync.len() < 2)
        .map(|partition| partition.partition)
        .collect()
}

#[test]
fn with_fewer_copies_than_demanded_writes_are_refused_and_reads_go_on() {
    let (mut cluster, traffic) = grid(3, options(2, 3));
    let mut ledger = Ledger::default();
    fill(&cluster.daemon(0).rest(), &mut ledger, 1);
    let (leader, _) = cluster.wait_leader(0, LIMIT);
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let rest = cluster.daemon(other).rest();
    cluster.kill9(victim);
    let mut codes = BTreeSet::new();
    for n in 0..IDS {
        let (answer, outcome) = put(&rest, n, 2);
        assert!(answer.status == 503, "no third member could have it: {} {}", answer.status, answer.text());
        codes.insert((answer.code(), answer.json()["outcome"].to_string()));
        ledger.note(&format!("e{n}"), Effect::Put(2), outcome);
    }
    report!("with two of three copies, where three are demanded: {codes:?}");
    put(&rest, 0, 2).0.is_problem(503, "too_few_copies");
    let count = rest.post(&format!("{}/count", collection_path(COLLECTION)), &json!({})).ok();
    assert_eq!(count["count"], IDS);
    (0..IDS).for_each(|n| _ = rest.strong().get(&entry_path(COLLECTION, &format!("e{n}"))).ok());
    cluster.relaunch(victim);
    open(&mut cluster, &traffic, victim);
    cluster.wait_copies(3, LIMIT);
    cluster.assert_shows(COLLECTION, &ledger);
    fill(&rest, &mut ledger, 3);
    cluster.assert_shows(COLLECTION, &ledger);
    cluster.assert_no_panic();
}

#[test]
fn no_write_is_acknowledged_with_one_copy_where_two_are_demanded_and_a_stand_in_makes_it_two() {
    let (mut cluster, traffic) = grid(3, options(1, 2));
    let mut ledger = Ledger::default();
    fill(&cluster.daemon(0).rest(), &mut ledger, 1);
    let (leader, _) = cluster.wait_leader(0, LIMIT);
    let (victim, other) = ((leader + 1) % 3, (leader + 2) % 3);
    let dead = cluster.id_of(victim);
    let rest = cluster.daemon(other).rest();
    cluster.kill9(victim);
    let begun = std::time::Instant::now();
    let mut version = 1;
    let (mut refused, mut acked, mut codes) = (0, 0, BTreeSet::new());
    // Until a whole round of writes goes through, all without the dead member.
    wait::until("every partition takes writes again", LIMIT, || {
        version += 1;
        let mut all = true;
        for n in 0..IDS {
            let id = format!("e{n}");
            let partition = partition_of(&EntryId::new(&id).unwrap(), PARTITIONS).0;
            let before = alone(&mut cluster, other);
            let (answer, outcome) = put(&rest, n, version);
            ledger.note(&id, Effect::Put(version), outcome);
            if answer.status == 200 {
                acked += 1;
                // Alone before and after: then it was alone when the write was acknowledged.
                let alone = before.contains(&partition) && alone(&mut cluster, other).contains(&partition);
                assert!(!alone, "{id} in partition {partition} was acknowledged with one copy");
            } else {
                assert_eq!(answer.status, 503, "{}", answer.text());
                codes.insert(answer.code());
                refused += 1;
                all = false;
            }
        }
        all.then_some(())
    });
    report!(
        "{acked} writes acknowledged, {refused} refused ({codes:?}); all go through {:.1?} after the kill",
        begun.elapsed()
    );
    cluster.wait_table("two copies without the dead member", LIMIT, |partition| {
        partition.in_sync.len() == 2 && !partition.in_sync.contains(&dead)
    });
    cluster.assert_shows(COLLECTION, &ledger);
    cluster.relaunch(victim);
    open(&mut cluster, &traffic, victim);
    cluster.wait_copies(2, LIMIT);
    cluster.assert_shows(COLLECTION, &ledger);
    cluster.assert_no_panic();
}
