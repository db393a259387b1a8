//! The disk of one member fails, is full, or stands still, while the member itself goes on: it must not hold up the others.
//!
//! Such a member takes no more writes, and asks for its place to be taken. Where the same disk holds its part of the
//! consensus, as here, others learn that from its silence. When a disk goes on its member is level again by itself.

use std::{
    fs,
    io::Write,
    path::Path,
    time::{Duration, Instant},
};

use vecgridd_tests::{
    cluster::TestCluster,
    disk::{Disk, cut_power},
    report,
    traffic::{Load, Traffic},
    wait,
};

use super::{LIMIT, LOAD, assert_kept, grid, open, pauses, with_backups};

const MEMBERS: usize = 3;
const VICTIM: usize = 1;
/// Rows that soon need more of a disk than the store has set aside on it.
const LARGE: Load = Load { text: 8_000, ..LOAD };
/// Writes before and after each step.
const LEAST: u64 = 100;
/// How long an app may wait for a write meanwhile: as after the loss of a leader, and some.
const SLOWEST: Duration = Duration::from_secs(10);
/// How long a disk stands still: longer than apps wait.
const STILL: Duration = Duration::from_secs(15);
/// What is written to fill a disk, at a time.
static PIECE: [u8; 1 << 20] = [7; 1 << 20];

/// Fills a disk to the last byte.
fn fill(folder: &Path) {
    let mut file = fs::File::create(folder.join("filler")).unwrap();
    for size in [PIECE.len(), 4_096, 1] {
        while file.write_all(&PIECE[..size]).is_ok() {}
    }
}

fn goes_on(traffic: &Traffic) {
    traffic.writes.take();
    wait::until("writes are acknowledged", LIMIT, || (traffic.writes.count() > LEAST).then_some(()));
}

/// Has the disk of one member fail under load, until the others have taken its place; then it is started again.
fn lose_a_disk(how: &str, fail: impl Fn(&mut TestCluster), mend: impl Fn(&mut TestCluster)) {
    if let Err(why) = Disk::possible() {
        return report!("\n**** NOT RUN: no disk can fail here: {why} ****\n");
    }
    let mut options = with_backups(60, 1);
    options.own_disks = true;
    let (mut cluster, traffic) = grid(MEMBERS, options);
    let id = cluster.id_of(VICTIM);
    traffic.run(LARGE, || {
        goes_on(&traffic);
        let begun = Instant::now();
        fail(&mut cluster);
        // Only the others know: the table of the victim may be on the disk that failed.
        let others: Vec<usize> = (0..MEMBERS).filter(|number| *number != VICTIM).collect();
        for asked in others {
            wait::until("the others hold everything", LIMIT, || {
                let table = cluster.partitions(asked)?;
                table.iter().all(|partition| !partition.in_sync.contains(&id)).then_some(())
            });
        }
        let replaced = begun.elapsed();
        assert!(cluster.daemon(VICTIM).is_running(), "it says what is wrong, and does not end");
        goes_on(&traffic);
        // Two copies again, without it.
        wait::until("two copies of everything", LIMIT, || {
            let table = cluster.partitions(0)?;
            table.iter().all(|partition| partition.in_sync.len() == 2).then_some(())
        });
        let copied = begun.elapsed();
        let (write, search) = (traffic.writes.take().slowest, traffic.searches.take().slowest);
        report!(
            "{how}: replaced after {replaced:.1?}, two copies of everything after {copied:.1?}; \
             the slowest write took {write:.2?}, search {search:.2?}"
        );
        assert!(write.max(search) < SLOWEST, "a write took {write:?}, a search {search:?}");

        cluster.kill9(VICTIM);
        mend(&mut cluster);
        cluster.relaunch(VICTIM);
        open(&mut cluster, &traffic, VICTIM);
        cluster.wait_one_grid(LIMIT);
        goes_on(&traffic);
    });
    assert_kept(&mut cluster, &traffic, 2);
}

#[test]
fn a_member_whose_disk_fails_is_replaced_and_comes_back() {
    let fail = |cluster: &mut TestCluster| cut_power(&[cluster.daemon(VICTIM).data_dir()]);
    lose_a_disk("no write reaches the disk", fail, |cluster| cluster.daemon(VICTIM).disk().mount_again());
}

#[test]
fn a_member_whose_disk_is_full_is_replaced_and_comes_back() {
    let fail = |cluster: &mut TestCluster| fill(&cluster.daemon(VICTIM).data_dir());
    let mend = |cluster: &mut TestCluster| {
        fs::remove_file(cluster.daemon(VICTIM).data_dir().join("filler")).unwrap();
    };
    lose_a_disk("the disk is full", fail, mend);
}

#[test]
fn a_member_whose_disk_stands_still_is_replaced_until_it_goes_on() {
    if let Err(why) = Disk::possible() {
        return report!("\n**** NOT RUN: no disk can stand still here: {why} ****\n");
    }
    let mut options = with_backups(60, 1);
    options.own_disks = true;
    let (mut cluster, traffic) = grid(MEMBERS, options);
    traffic.run(LOAD, || {
        for led in [false, true] {
            goes_on(&traffic);
            let (leader, _) = cluster.wait_leader(0, LIMIT);
            let victim = if led { leader } else { (leader + 1) % MEMBERS };
            let how = (
                |cluster: &mut TestCluster| cluster.daemon(victim).disk().freeze(),
                |_: &mut TestCluster, frozen| drop(frozen),
            );
            let name = if led { "leader" } else { "other" };
            let (fenced, slowest) = pauses::freeze((&mut cluster, &traffic), (victim, name), STILL, how);
            assert!(fenced.is_some(), "its disk stood still for {STILL:?}, and it was not missed");
            assert!(slowest < SLOWEST, "an app waited {slowest:?} elsewhere");
        }
        goes_on(&traffic);
    });
    assert_kept(&mut cluster, &traffic, 2);
}
