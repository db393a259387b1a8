//! All members are restarted, one after the other, under load: for a new version, say.
//!
//! Counted are the bytes of log records and rows that members sent to others' copies. With one backup each record is
//! sent once, at once or, when its second holder is away, after that one is back:
//!
//! ```text
//! sent while one is restarted = written meanwhile                 (all partitions; once each)
//!                             - written meanwhile to partitions that it holds  (nobody to send to)
//!                             + sent to it, or to others on its account        ◀── this is what is bounded
//! ```
//!
//! Bytes written are acknowledged writes times what one is in the log, measured before, while all are there. Rows have
//! some text, so that the small records with which epochs begin are little beside them. Full copies are counted by
//! themselves: there must be none. They would show at once, too: many more rows are there than are written.

use std::time::Instant;

use serde_json::{Value, json};
use vecgridd::types::EntryId;
use vecgridd_tests::{
    cluster::TestCluster,
    copies::PartitionView,
    report,
    rest::{self, collection_path},
    synthetic,
    traffic::{self, Load},
    wait,
};

use super::{COLLECTION, LIMIT, LOAD, assert_kept, grid, open, with_backups};

const MEMBERS: usize = 5;
const PARTITIONS: u16 = 271;
/// Rows that are there before, of ids that the load does not use.
const ROWS: usize = 6_000;
const BATCH: usize = 500;
/// Writes while all are there, to see what one is in the log.
const SAMPLE: u64 = 400;
/// What may be sent on account of a restart, of what was written while the member was away.
const RESENT: f64 = 1.2;

/// Writes while one is away. Each restart also sends the small records with which the epochs of its partitions begin,
/// which are as many however short it was.
const AWAY: u64 = 800;
/// Bytes of text in each row.
const TEXT: usize = 1_000;

/// Bytes sent to others' copies by each member since it started.
fn sent(cluster: &mut TestCluster, number: usize) -> f64 {
    cluster.daemon(number).admin().metric("vecgrid_copy_sent_bytes_total", "")
}

/// Of full copies, by all.
fn rows_sent(cluster: &mut TestCluster) -> f64 {
    let of = |rest: rest::Rest| rest.metric("vecgrid_copy_sent_bytes_total", "kind=\"rows\"");
    cluster.running().into_iter().map(|number| of(cluster.daemon(number).admin())).sum()
}

fn all_sent(cluster: &mut TestCluster) -> f64 {
    cluster.running().into_iter().map(|number| sent(cluster, number)).sum()
}

fn fill(cluster: &mut TestCluster) {
    let (rest, text) = (cluster.daemon(0).rest(), "x".repeat(TEXT));
    let entry = |n: usize| {
        let id = format!("base-{n}");
        json!({"id": id, "vector": synthetic::vector(&id, 1), "metadata": {"version": 1, "text": text}})
    };
    for from in (0..ROWS).step_by(BATCH) {
        let entries: Vec<Value> = (from..from + BATCH).map(entry).collect();
        rest.post(&format!("{}/entries", collection_path(COLLECTION)), &json!({"entries": entries})).ok();
    }
}

/// Where a write of the load goes.
fn partition_of(writer: u64, n: u64) -> u16 {
    let id = EntryId::new(&traffic::id(writer, n)).unwrap();
    vecgridd::placement::partition_of(&id, PARTITIONS).0
}

fn wanted(table: &[PartitionView]) -> Vec<&Vec<String>> {
    table.iter().map(|partition| &partition.wanted).collect()
}

#[test]
fn five_restarted_one_after_the_other_under_load_move_nothing_and_send_little_again() {
    let (mut cluster, traffic) = grid(MEMBERS, with_backups(PARTITIONS, 1));
    fill(&mut cluster);
    let asked = 0;
    let before = cluster.partitions(asked).unwrap();
    // Deletes are small, and come all together: what a write is in the log would be another number each time.
    let load = Load { text: TEXT, deletes: false, ..LOAD };
    let ids: Vec<u16> =
        (0..load.writers).flat_map(|w| (0..load.ids).map(move |n| partition_of(w, n))).collect();
    traffic.run(load, || {
        let (begun, first) = (Instant::now(), all_sent(&mut cluster));
        traffic.writes.take();
        wait::until("writes are acknowledged", LIMIT, || (traffic.writes.count() >= SAMPLE).then_some(()));
        let (sample, bytes) = (traffic.writes.take().count, all_sent(&mut cluster) - first);
        let each = bytes / sample as f64;
        report!("{sample} writes in {:.1?}: {each:.0} bytes each", begun.elapsed());
        for number in 0..MEMBERS {
            let id = cluster.id_of(number);
            let holds = |number: &&u16| before[usize::from(**number)].wanted.contains(&id);
            let share = ids.iter().filter(holds).count() as f64 / ids.len() as f64;
            // What the member itself sent ends with it.
            let others = all_sent(&mut cluster) - sent(&mut cluster, number);
            let full = rows_sent(&mut cluster);
            traffic.writes.take();
            traffic.searches.take();
            let begun = Instant::now();
            cluster.stop(number);
            let stopped = begun.elapsed();
            wait::until("others write", LIMIT, || (traffic.writes.count() >= AWAY).then_some(()));
            let away_for = begun.elapsed() - stopped;
            cluster.relaunch(number);
            open(&mut cluster, &traffic, number);
            let ready = begun.elapsed();
            let level = cluster.wait_copies(2, LIMIT) + ready;
            let (writes, searches) = (traffic.writes.take(), traffic.searches.take());
            let written = writes.count as f64 * each;
            let away = written * share;
            let resent = (all_sent(&mut cluster) - others - (written - away)).max(0.0);
            report!(
                "n{number}: stopped {stopped:.1?}, away {away_for:.1?}, ready {ready:.1?}, in sync {level:.1?} after it was told; {} writes \
                 (slowest {:.2?}), {} searches (slowest {:.2?}); about {away:.0} bytes written to its partitions, \
                 {resent:.0} sent again",
                writes.count,
                writes.slowest,
                searches.count,
                searches.slowest
            );
            // Those of the one that was restarted are forgotten.
            assert!(rows_sent(&mut cluster) <= full, "a full copy was made");
            assert!(resent <= RESENT * away, "{resent:.0} bytes sent again for {away:.0} written");
            let now = cluster.partitions(asked).unwrap();
            assert_eq!(wanted(&now), wanted(&before), "a restart moves nothing");
        }
        let rest = cluster.daemon(asked).rest();
        let found = rest.post(&format!("{}/count", collection_path(COLLECTION)), &json!({})).ok();
        assert!(found["count"].as_u64().is_some_and(|count| count >= ROWS as u64), "{found}");
    });
    // What was there before is in nobody's notes.
    let rest = cluster.daemon(asked).rest();
    for from in (0..ROWS).step_by(BATCH) {
        let ids: Vec<String> = (from..from + BATCH).map(|n| format!("base-{n}")).collect();
        let gone = rest.post(&format!("{}/delete", collection_path(COLLECTION)), &json!({"ids": ids})).ok();
        assert_eq!(gone["deleted"], BATCH);
    }
    assert_kept(&mut cluster, &traffic, 2);
}
