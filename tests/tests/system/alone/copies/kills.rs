//! `kill -9` of one member after the other, under load. `VECGRID_COPIES_KILLS=120` takes ten minutes.

use std::{
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use vecgridd_tests::{report, wait};

use super::{LIMIT, LOAD, assert_kept, grid, open, setting, with_backups};

/// From one kill to the next.
const EVERY: Duration = Duration::from_secs(5);
/// A member is away for up to this long.
const AWAY: Duration = Duration::from_secs(2);
/// No run counts in which hardly anything was done.
const LEAST: u64 = 30;
/// What a single operation may take on a machine that does other things, too; the figures say what it took.
const SLOWEST: Duration = Duration::from_secs(10);

/// The longest that anything took after one kind of kill.
#[derive(Debug, Default)]
struct Worst {
    kills: u32,
    write: Duration,
    search: Duration,
    without_write: Duration,
    without_search: Duration,
}

#[test]
fn nothing_acknowledged_is_lost_when_a_random_member_is_killed_every_five_seconds() {
    let kills = setting("VECGRID_COPIES_KILLS", 6);
    let seed = setting("VECGRID_SEED", rand::rng().random());
    report!("VECGRID_SEED={seed} VECGRID_COPIES_KILLS={kills}");
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut cluster, traffic) = grid(3, with_backups(271, 1));
    // A member that is not the leader, and the leader.
    let mut worst = [Worst::default(), Worst::default()];
    let (begun, mut total, mut late) = (Instant::now(), 0, 0);
    traffic.run(LOAD, || {
        wait::until("apps are at work", LIMIT, || (traffic.writes.count() > LEAST).then_some(()));
        for _ in 0..kills {
            traffic.writes.take();
            traffic.searches.take();
            let (leader, _) = cluster.wait_leader(0, LIMIT);
            let (victim, killed) = (rng.random_range(0..3), Instant::now());
            cluster.kill9(victim);
            // A random moment: before the others have noticed, or after.
            thread::sleep(rng.random_range(Duration::ZERO..AWAY));
            cluster.relaunch(victim);
            open(&mut cluster, &traffic, victim);
            let ready = killed.elapsed();
            let level = cluster.wait_copies(2, LIMIT) + ready;
            late += u64::from(level > EVERY);
            thread::sleep(EVERY.saturating_sub(killed.elapsed()));
            let (writes, searches) = (traffic.writes.take(), traffic.searches.take());
            report!(
                "n{victim}{}: {} writes, {} searches, slowest {:.2?} and {:.2?}, longest without any {:.2?} and {:.2?}; \
                 ready {ready:.1?} and in sync {level:.1?} after the kill",
                if victim == leader { ", the leader" } else { "" },
                writes.count,
                searches.count,
                writes.slowest,
                searches.slowest,
                writes.gap,
                searches.gap
            );
            assert!(writes.count > LEAST && searches.count > 0, "hardly anything was done");
            let worst = &mut worst[usize::from(victim == leader)];
            worst.kills += 1;
            worst.write = worst.write.max(writes.slowest);
            worst.search = worst.search.max(searches.slowest);
            worst.without_write = worst.without_write.max(writes.gap);
            worst.without_search = worst.without_search.max(searches.gap);
            total += writes.count + searches.count;
        }
    });
    let took = begun.elapsed();
    for (what, worst) in ["another member", "the leader"].into_iter().zip(&worst) {
        report!(
            "{what} killed {} times: slowest write {:.2?}, search {:.2?}; longest without a write {:.2?}, a search {:.2?}",
            worst.kills,
            worst.write,
            worst.search,
            worst.without_write,
            worst.without_search
        );
    }
    let rate = total as f64 / took.as_secs_f64();
    report!(
        "{kills} kills in {took:.1?}, {rate:.0} operations/s; in sync too late for the next kill {late} times"
    );
    assert_kept(&mut cluster, &traffic, 2);
    let slowest = worst.iter().map(|worst| worst.write.max(worst.search)).max();
    assert!(slowest.is_some_and(|slowest| slowest < SLOWEST), "an operation took {slowest:?}");
}
