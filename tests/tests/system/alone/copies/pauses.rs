//! A primary that is frozen, replaced, and goes on as if no time had passed. `VECGRID_COPIES_PAUSES=10` makes it ten
//! rounds of each length.
//!
//! ```text
//! frozen for 1, 3, 10 sessions:  others write and read on; some wait for it meanwhile, with reads and writes
//! it goes on:                    it must answer none of them by what it was before
//! ```

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use vecgridd_tests::{
    cluster::{GridView, TestCluster},
    report,
    rest::Rest,
    traffic::Traffic,
    wait,
};

use super::{LIMIT, LOAD, assert_kept, grid, open, setting, with_backups};

/// Without a sign of life for so long a member is fenced.
const SESSION: Duration = Duration::from_millis(1500);
/// How long it is asked on after it was frozen.
const AFTER: Duration = Duration::from_secs(1);
/// Longer than it is frozen, and than a daemon takes to answer then.
const PATIENCE: Duration = Duration::from_secs(40);
/// Apps that read there, and that write there.
const WAITING: u32 = 6;
/// Operations before anything happens.
const LEAST: u64 = 100;

/// What those that waited for the frozen member were told.
#[derive(Default)]
struct Waited {
    over: AtomicBool,
    reads: AtomicU64,
    writes: AtomicU64,
}

impl Waited {
    fn read(&self, traffic: &Traffic, rest: &Rest, first: u64) {
        for turn in (first..).step_by(WAITING as usize) {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            if traffic.read_once(rest, turn) {
                self.reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn write(&self, traffic: &Traffic, rest: &Rest, name: &str) {
        for n in 0.. {
            if self.over.load(Ordering::Relaxed) {
                return;
            }
            traffic.write_once(rest, &format!("{name}-{n}"));
            self.writes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Freezes a member for some time while apps go on elsewhere, and some wait for it with reads and writes. Says how long it
/// took until it was fenced, and what the slowest write and search took elsewhere.
pub(super) fn freeze<G>(
    (cluster, traffic): (&mut TestCluster, &Traffic),
    (victim, name): (usize, &str),
    frozen_for: Duration,
    (begin, end): (impl FnOnce(&mut TestCluster) -> G, impl FnOnce(&mut TestCluster, G)),
) -> (Option<Duration>, Duration) {
    let (leader, _) = cluster.wait_leader(0, LIMIT);
    let rest = Rest::within(&cluster.daemon(victim).ports().api, PATIENCE);
    traffic.close(victim);
    traffic.writes.take();
    traffic.searches.take();
    let (waited, mut fenced) = (Waited::default(), None);
    thread::scope(|scope| {
        let (waited, rest) = (&waited, &rest);
        let begun = Instant::now();
        let frozen = begin(cluster);
        for app in 0..WAITING {
            // Some ask when it has just been frozen, others when it has long been replaced.
            let moment = frozen_for * app / WAITING;
            scope.spawn(move || {
                thread::sleep(moment);
                waited.read(traffic, rest, app.into());
            });
            scope.spawn(move || {
                thread::sleep(moment);
                waited.write(traffic, rest, &format!("{name}-{app}"));
            });
        }
        let other = (victim + 1) % 3;
        let gone = |view: &GridView| view.members.iter().any(|member| member.state == "away");
        while begun.elapsed() < frozen_for {
            if fenced.is_none() && cluster.view(other).is_some_and(|view| gone(&view)) {
                fenced = Some(begun.elapsed());
            }
            thread::sleep(Duration::from_millis(10));
        }
        end(cluster, frozen);
        thread::sleep(AFTER);
        waited.over.store(true, Ordering::Relaxed);
    });
    let (writes, searches) = (traffic.writes.take(), traffic.searches.take());
    open(cluster, traffic, victim);
    cluster.wait_one_grid(LIMIT);
    let level = cluster.wait_copies(2, LIMIT);
    report!(
        "n{victim}{} frozen for {frozen_for:?}, fenced after {fenced:.1?}: elsewhere {} writes (slowest {:.2?}) and {} searches \
         (slowest {:.2?}); there {} strong reads and {} writes were answered; in sync again {level:.1?} later",
        if victim == leader { ", the leader," } else { "" },
        writes.count,
        writes.slowest,
        searches.count,
        searches.slowest,
        waited.reads.load(Ordering::Relaxed),
        waited.writes.load(Ordering::Relaxed)
    );
    assert!(writes.count > 0 && searches.count > 0, "nothing was done elsewhere");
    traffic.assert_right();
    (fenced, writes.slowest.max(searches.slowest))
}

#[test]
fn a_primary_that_was_frozen_shows_nothing_stale_and_acknowledges_nothing_by_its_old_epoch() {
    let rounds = setting("VECGRID_COPIES_PAUSES", 1);
    let (mut cluster, traffic) = grid(3, with_backups(60, 1));
    traffic.run(LOAD, || {
        wait::until("apps are at work", LIMIT, || (traffic.writes.count() > LEAST).then_some(()));
        for (round, sessions) in (0..rounds).flat_map(|round| [1, 3, 10].map(|sessions| (round, sessions))) {
            let (leader, _) = cluster.wait_leader(0, LIMIT);
            // Also the one that has others fenced, in turn.
            let victim = if (sessions + round) % 2 == 1 { (leader + 1) % 3 } else { leader };
            let victim = if sessions == 3 { leader } else { victim };
            let frozen_for = SESSION * sessions as u32;
            let how = (
                |cluster: &mut TestCluster| cluster.pause(victim),
                |cluster: &mut TestCluster, ()| cluster.resume(victim),
            );
            let name = format!("s{round}-{sessions}");
            let (fenced, _) = freeze((&mut cluster, &traffic), (victim, &name), frozen_for, how);
            // The two others are a majority: they fence it, and choose another leader first if it led.
            assert!(sessions < 3 || fenced.is_some(), "frozen for {frozen_for:?} and not missed");
        }
    });
    assert_kept(&mut cluster, &traffic, 2);
}
