//! One of five members dies. VecGrid promoted, of 271 partitions, 163 to a member that had no copy.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use vecgridd_tests::{copies::PartitionView, report, wait};

use super::{LIMIT, LOAD, assert_kept, grid, open, with_backups};

/// Until every partition has a primary that is there.
const PROMOTED: Duration = Duration::from_secs(10);
/// Operations before anything happens.
const LEAST: u64 = 100;

fn wanted(table: &[PartitionView]) -> Vec<Vec<String>> {
    table.iter().map(|partition| partition.wanted.clone()).collect()
}

#[test]
fn vecgrids_163_of_271_after_one_of_five_dies_every_new_primary_was_in_sync() {
    let (mut cluster, traffic) = grid(5, with_backups(271, 1));
    traffic.run(LOAD, || {
        wait::until("apps are at work", LIMIT, || (traffic.writes.count() > LEAST).then_some(()));
        let (leader, _) = cluster.wait_leader(0, LIMIT);
        let (victim, asked) = ((leader + 1) % 5, leader);
        let dead = cluster.id_of(victim);
        let before = cluster.partitions(asked).unwrap();
        let orphans = before.iter().filter(|partition| partition.primary == dead).count();
        assert!(orphans > 40, "{orphans} of 271 partitions");
        traffic.writes.take();
        traffic.searches.take();
        let killed = Instant::now();
        cluster.kill9(victim);
        let promoted = cluster.wait_table("a primary that is there", PROMOTED, |partition| partition.primary != dead);
        let after = cluster.partitions(asked).unwrap();
        let (mut changed, mut away) = (0, 0);
        for (then, now) in before.iter().zip(&after) {
            assert!(then.in_sync.contains(&now.primary), "its new primary was not in sync: {then:?}, {now:?}");
            assert!(now.epoch >= then.epoch, "an epoch went back: {then:?}, {now:?}");
            changed += usize::from(then.primary != now.primary);
            away += usize::from(now.state == "unavailable");
        }
        assert_eq!(away, 0, "partitions are unavailable after promotion");
        assert!(changed >= orphans);
        report!("{changed} of 271 partitions promoted, each to a member in sync; all see it after {promoted:.2?}");
        // Two copies again, of which one may be at a member that stands in.
        let safe = cluster.wait_table("two copies again", LIMIT, |partition| {
            let there: BTreeSet<&String> = partition.in_sync.iter().filter(|id| **id != dead).collect();
            there.len() == 2 && !partition.in_sync.contains(&dead)
        });
        let (writes, searches) = (traffic.writes.take(), traffic.searches.take());
        report!(
            "two copies of everything {safe:.1?} later ({:.1?} after the kill); slowest write {:.2?}, search {:.2?}; \
             longest without any {:.2?} and {:.2?}",
            killed.elapsed(),
            writes.slowest,
            searches.slowest,
            writes.gap,
            searches.gap
        );
        let then = cluster.partitions(asked).unwrap();
        assert_eq!(wanted(&then), wanted(&before), "a crash is no reason to deal anew");
        // Written also while others stand in.
        thread::sleep(Duration::from_secs(1));
        cluster.relaunch(victim);
        open(&mut cluster, &traffic, victim);
        let back = cluster.wait_copies(2, LIMIT);
        report!("all as it was {back:.1?} after the member was ready again");
        let then = cluster.partitions(asked).unwrap();
        assert_eq!(wanted(&then), wanted(&before), "it has its share again");
        let holders = |table: &[PartitionView]| -> Vec<(String, BTreeSet<String>)> {
            table.iter().map(|partition| (partition.primary.clone(), partition.in_sync.clone())).collect()
        };
        assert_eq!(holders(&then), holders(&before), "and so has everybody");
    });
    assert_kept(&mut cluster, &traffic, 2);
}
