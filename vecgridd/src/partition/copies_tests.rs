//! Partitions move, are copied, and come back while they are written, and nothing that was acknowledged is lost.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures::future::join_all;
use tokio::sync::Semaphore;

use super::{
    Retention, WriteError,
    copies_world::{KEPT, PARTITIONS, PATIENCE, World, Writer, id, noise},
    state::Refusal,
};
use crate::types::{CollectionId, Durability, Operation, PartitionId, Version};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_moves_while_it_is_written() {
    let world = World::new(&["a", "b"], KEPT);
    let stop = AtomicBool::new(false);
    let write = |n| {
        let (mut writer, stop) = (world.writer(n), &stop);
        async move {
            let mut written = 0;
            while !stop.load(Ordering::Relaxed) {
                writer.write().await;
                written += 1;
            }
            written
        }
    };
    let moving = async {
        move_there_and_back(&world).await;
        stop.store(true, Ordering::Relaxed);
    };
    let (written, ()) = tokio::join!(join_all((0..4).map(write)), moving);
    assert!(written.iter().all(|written| *written > 10), "writes went on: {written:?}");
    let unknown = world.ledger.lock().unwrap().values().filter(|entries| entries.unknown).count();
    assert_eq!(unknown, 0, "in an orderly move every write has an answer");
    world.check().await;
}

async fn move_there_and_back(world: &World) {
    for round in 0..3 {
        let (to, from) = if round % 2 == 0 { ("b", "a") } else { ("a", "b") };
        for partition in [0, 1] {
            world.want(partition, to, &[]);
        }
        for partition in [0, 1] {
            world.held(partition, to, &[to]).await;
        }
        // What was moved away is gone, and not found any more.
        let began = tokio::time::Instant::now();
        while [0, 1].iter().any(|p| world.hosts(&id(from)).get(PartitionId(*p)).is_some()) {
            assert!(began.elapsed() < PATIENCE, "the old copy stays");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(world.members[&id(from)].rows(PartitionId(0)).is_empty());
        assert!(world.members[&id(from)].indexed(PartitionId(0)).is_empty());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_gets_a_snapshot_when_the_log_does_not_reach_back() {
    let world = World::new(&["a", "b"], Retention { records: 8, bytes: 1 << 30 });
    let mut writer = world.writer(1);
    for _ in 0..400 {
        writer.write().await;
    }
    for partition in 0..PARTITIONS {
        world.want(partition, "a", &["b"]);
    }
    for partition in 0..PARTITIONS {
        world.held(partition, "a", &["a", "b"]).await;
    }
    assert!(world.between.snapshots.load(Ordering::Relaxed) >= u64::from(PARTITIONS));
    for _ in 0..40 {
        writer.write().await;
    }
    world.quiet().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_a_copy_lacks_is_not_acknowledged() {
    let mut world = World::new(&["a", "b"], KEPT);
    world.want(0, "a", &["b"]);
    world.held(0, "a", &["a", "b"]).await;
    world.members.get_mut(&id("b")).unwrap().crash(&world.between).await;
    let mut writer = world.writer(1);
    writer.next = 3;
    writer.write().await;
    assert!(world.ledger.lock().unwrap().values().all(|entries| entries.unknown), "it waits for b");
    world.set_away("b", true);
    world.held(0, "a", &["a"]).await;
    writer.next = 3;
    writer.write().await;
    assert!(world.ledger.lock().unwrap().values().all(|entries| entries.acknowledged > Version::default()));
    // It comes back, and gets what it missed from the log.
    world.set_away("b", false);
    let snapshots = world.between.snapshots.load(Ordering::Relaxed);
    world.members.get_mut(&id("b")).unwrap().start(&world.between, world.retention);
    world.held(0, "a", &["a", "b"]).await;
    assert_eq!(world.between.snapshots.load(Ordering::Relaxed), snapshots);
    world.quiet().await;
    world.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_lease_nothing_is_acknowledged() {
    let world = World::new(&["a"], KEPT);
    world.held(1, "a", &["a"]).await;
    world.between.leases.store(false, Ordering::Relaxed);
    let owner = world.hosts(&id("a")).get(PartitionId(1)).unwrap();
    let permit = Arc::new(Semaphore::new(1)).acquire_owned().await.unwrap();
    let operation = Operation { collection: CollectionId(1), request_id: None, mutations: Vec::new() };
    let taken = owner.write(operation, Durability::Sync, permit).await.unwrap();
    assert_eq!(taken.done().await, Err(WriteError::Refused(Refusal::NoLease)));
    world.between.leases.store(true, Ordering::Relaxed);
    let mut writer = world.writer(1);
    writer.write().await;
    assert_eq!(world.ledger.lock().unwrap().len(), 1);
    world.check().await;
}

/// Messages and proposals are lost, members crash and lose what was not synced, partitions wander.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_whatever_is_lost_between() {
    let names = ["a", "b", "c"];
    let mut world = World::new(&names, Retention { records: 32, bytes: 1 << 30 });
    world.between.lose.store(7, Ordering::Relaxed);
    let mut random = 1_u64;
    let mut draw = |below: u64| {
        random = noise(random);
        random % below
    };
    let mut writers: Vec<Writer> = (0..3).map(|n| world.writer(n)).collect();
    for _ in 0..12 {
        for partition in 0..PARTITIONS {
            let primary = draw(3) as usize;
            let other = (primary + 1 + draw(2) as usize) % 3;
            let others: &[&str] = if draw(2) == 0 { &[names[other]] } else { &[] };
            world.want(partition, names[primary], others);
        }
        let crash = (draw(2) == 0).then(|| names[draw(3) as usize]);
        let writing = writers.into_iter().map(|mut writer| async move {
            for _ in 0..20 {
                writer.write().await;
            }
            writer
        });
        let after = Duration::from_millis(draw(60));
        let crashing = async {
            if let Some(name) = crash {
                tokio::time::sleep(after).await;
                let member = world.members.get_mut(&id(name)).unwrap();
                member.crash(&world.between).await;
                member.start(&world.between, world.retention);
            }
        };
        (writers, ()) = tokio::join!(join_all(writing), crashing);
    }
    world.between.lose.store(0, Ordering::Relaxed);
    for (partition, name) in (0..PARTITIONS).zip(["a", "b", "c", "a"]) {
        world.want(partition, name, &[]);
    }
    for (partition, name) in (0..PARTITIONS).zip(["a", "b", "c", "a"]) {
        world.held(partition, name, &[name]).await;
    }
    let written = world.ledger.lock().unwrap().len();
    assert!(written > 100, "{written} ids were written");
    world.quiet().await;
    world.check().await;
}
