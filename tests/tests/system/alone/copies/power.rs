//! The power of all members is cut at once, under load. `VECGRID_COPIES_POWER_CUTS` raises the number of times.

use std::{
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use vecgridd_tests::{
    disk::{Disk, cut_power},
    report, wait,
};

use super::{LIMIT, LOAD, assert_kept, grid, open, setting, with_backups};

const MEMBERS: usize = 3;
/// Writes before each cut.
const LEAST: u64 = 100;

#[test]
fn nothing_acknowledged_is_lost_when_the_power_of_all_members_is_cut_at_once() {
    if let Err(why) = Disk::possible() {
        return report!("\n**** NOT RUN: no power can be cut here: {why} ****\n");
    }
    let cuts = setting("VECGRID_COPIES_POWER_CUTS", 2);
    let seed = setting("VECGRID_SEED", rand::rng().random());
    report!("VECGRID_SEED={seed} VECGRID_COPIES_POWER_CUTS={cuts}");
    let mut rng = StdRng::seed_from_u64(seed);
    let mut options = with_backups(60, 1);
    options.own_disks = true;
    let (mut cluster, traffic) = grid(MEMBERS, options);
    traffic.run(LOAD, || {
        for cut in 1..=cuts {
            traffic.writes.take();
            wait::until("writes are acknowledged", LIMIT, || (traffic.writes.count() > LEAST).then_some(()));
            // A random moment, so that the cut meets every step of a write.
            thread::sleep(rng.random_range(Duration::ZERO..Duration::from_millis(300)));
            let begun = Instant::now();
            let disks: Vec<_> = (0..MEMBERS).map(|number| cluster.daemon(number).data_dir()).collect();
            cut_power(&disks);
            (0..MEMBERS).for_each(|number| cluster.kill9(number));
            let acked = traffic.writes.take().count;
            for number in 0..MEMBERS {
                cluster.daemon(number).disk().mount_again();
                cluster.relaunch(number);
            }
            (0..MEMBERS).for_each(|number| open(&mut cluster, &traffic, number));
            cluster.wait_one_grid(LIMIT);
            let level = cluster.wait_copies(2, LIMIT);
            report!(
                "cut {cut}, after {acked} writes: in sync again {:.1?} later ({level:.1?} after \
                 all were ready)",
                begun.elapsed()
            );
        }
        traffic.writes.take();
        wait::until("and goes on", LIMIT, || (traffic.writes.count() > LEAST).then_some(()));
    });
    assert_kept(&mut cluster, &traffic, 2);
}
