//! Faults that were found by reading, after all other tests had passed. Each of these fails when its mend is taken out.

use std::{sync::atomic::Ordering, time::Duration};

use futures::FutureExt;
use tokio::time::Instant;

use super::{
    CopyMessage, Retention,
    copies_world::{KEPT, PATIENCE, World, id},
};
use crate::types::{CollectionId, Durability, PartitionId};

const C: CollectionId = CollectionId(1);
const P: PartitionId = PartitionId(0);

/// Waits until something is so.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A line to a member ends and another begins, while an answer to the first is still on its way. Were it taken for one
/// to the second, two messages would be on the second at a time, and what it says of the copy could be over by now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_to_an_earlier_line_does_not_drive_a_later_one() {
    let world = World::new(&["a", "b"], KEPT);
    world.held(0, "a", &["a"]).await;
    let write = async |n: u32| world.put(C, 0, &format!("e{n}"), Durability::Sync).await.unwrap();
    write(0).await;
    world.between.hold_answers();
    world.want(0, "a", &["b"]);
    until("a first line asks", || world.between.held_answers() == 1).await;
    world.want(0, "a", &[]);
    // The owner looks at the table before it takes a write.
    write(1).await;
    world.want(0, "a", &["b"]);
    until("a second line asks", || world.between.held_answers() == 2).await;
    world.between.release(0);
    for n in 2..50 {
        write(n).await;
    }
    assert_eq!(world.between.held_answers(), 2, "one message at a time is on a line");
    world.between.release_all();
    world.held(0, "a", &["a", "b"]).await;
    world.quiet().await;
    assert_eq!(world.members[&id("b")].rows(P).len(), 50);
    world.check().await;
}

/// A copy whose member has not heard of a collection would take its records for those of a dropped one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_collection_that_a_member_has_not_heard_of_wait() {
    let world = World::new(&["a", "b"], KEPT);
    world.want(0, "a", &["b"]);
    world.held(0, "a", &["a", "b"]).await;
    world.between.set_late("b", true);
    world.create_collection(2, "new");
    let written = world.put(CollectionId(2), 0, "e", Durability::Sync);
    let hears = async {
        let refused = world.between.refused.load(Ordering::Relaxed);
        let applied = || world.hosts(&id("b")).get(P).unwrap().applied();
        let before = applied();
        // It refuses, or takes what it should not: then to the end.
        let decided = || world.between.refused.load(Ordering::Relaxed) > refused || applied() > before;
        until("b refuses or applies", decided).await;
        world.between.set_late("b", false);
    };
    let (version, ()) = tokio::join!(written, hears);
    let version = version.unwrap();
    world.quiet().await;
    for member in ["a", "b"] {
        let member = &world.members[&id(member)];
        assert_eq!(member.rows(P).get("e"), Some(&version));
        assert_eq!(member.indexed_of(CollectionId(2), P).get("e"), Some(&version));
    }
}

/// The same for rows of a snapshot.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_of_a_collection_that_a_member_has_not_heard_of_wait() {
    let world = World::new(&["a", "b"], Retention { records: 4, bytes: 1 << 30 });
    world.held(0, "a", &["a"]).await;
    // The first question is answered late, so that b has its copy and hears nothing more before anything is sent.
    world.between.hold_answers();
    world.want(0, "a", &["b"]);
    until("b is asked", || world.between.held_answers() == 1).await;
    world.between.set_late("b", true);
    world.create_collection(2, "new");
    let mut versions = Vec::new();
    for n in 0..40 {
        versions.push(world.put(CollectionId(2), 0, &format!("e{n}"), Durability::Sync).await.unwrap());
    }
    let refused = world.between.refused.load(Ordering::Relaxed);
    world.between.release_all();
    let in_sync = || world.between.view.borrow().partition(P).in_sync.len() == 2;
    until("b refuses or is in sync", || world.between.refused.load(Ordering::Relaxed) > refused || in_sync())
        .await;
    world.between.set_late("b", false);
    world.held(0, "a", &["a", "b"]).await;
    assert!(world.between.snapshots.load(Ordering::Relaxed) > 0, "the log does not reach back");
    world.quiet().await;
    let member = &world.members[&id("b")];
    assert_eq!(member.rows(P).len(), 40);
    assert_eq!(member.indexed_of(CollectionId(2), P), member.rows(P));
}

/// A message that writes nothing is answered at once, and says nothing about what is still on its way to the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_writes_nothing_makes_nothing_durable() {
    let world = World::new(&["a"], KEPT);
    world.held(0, "a", &["a"]).await;
    let member = &world.members[&id("a")];
    let owner = world.hosts(&id("a")).get(P).unwrap();
    member.engine.hold_syncs(true);
    let mut write = Box::pin(world.put(C, 0, "e", Durability::Sync));
    until("the write waits for the disk", || {
        (&mut write).now_or_never();
        member.engine.waiting_syncs() > 0
    })
    .await;
    // Of a member that led long ago.
    assert!(owner.replicate(CopyMessage::Ask { epoch: 0 }).await.is_some());
    // Whatever that led to has gone through the applier, and through the owner again.
    let purger = &member.running.as_ref().unwrap().purger;
    purger.purge(CollectionId(77)).await.await.unwrap();
    assert!(owner.replicate(CopyMessage::Ask { epoch: 0 }).await.is_some());
    assert!((&mut write).now_or_never().is_none(), "acknowledged, and not on the disk");
    member.engine.hold_syncs(false);
    write.await.unwrap();
}

/// What others have on their disks is on the primary's, too, however seldom its collection is synced: a primary that forgets
/// what was acknowledged contradicts them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_with_copies_does_not_forget_what_it_acknowledged() {
    let mut world = World::new(&["a", "b"], KEPT);
    world.want(0, "a", &["b"]);
    world.held(0, "a", &["a", "b"]).await;
    for n in 0..20 {
        world.put(C, 0, &format!("e{n}"), Durability::Interval).await.unwrap();
    }
    let a = &world.members[&id("a")];
    a.engine.cut_power();
    let member = world.members.get_mut(&id("a")).unwrap();
    member.crash(&world.between).await;
    member.start(&world.between, world.retention);
    world.held(0, "a", &["a", "b"]).await;
    world.quiet().await;
    for member in ["a", "b"] {
        assert_eq!(world.members[&id(member)].rows(P).len(), 20, "{member}");
    }
}
