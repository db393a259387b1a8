//! A member that is left of a grid makes one of its own: what it keeps, what it says, and when it does not.

use std::{path::Path, sync::Arc};

use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::{
    data_dir::{self, DataDir},
    grid::{Doors, GridPart, Home, enter},
    grid_tests::{may_act, without_collections},
    recover,
};
use crate::{
    config::{Options, RecoverOptions},
    control::{Command, ControlStore},
    partition::Hosts,
    service::Answers,
    storage::{
        Batch, Engine, Family, RocksEngine, RocksOptions,
        keys::{applied, copy, row, seal},
    },
    telemetry::Metrics,
    types::{
        CollectionConfig, CollectionId, CollectionName, Durability, Entry, EntryId, IndexOptions,
        MemberDetails, MemberId, Metadata, Metric, PartitionId, Placement, Version,
    },
};

const BUDGETS: RocksOptions = RocksOptions { memtable_bytes: 8 << 20, block_cache_bytes: 1 << 20 };

struct Start {
    part: GridPart,
    rows: RocksEngine,
    me: MemberId,
    _lock: DataDir,
}

/// One start of a daemon, as far as its grid is concerned.
async fn start(folder: &Path) -> Start {
    let options = Options {
        data_dir: Some(folder.to_owned()),
        bootstrap: Some(true),
        partitions: Some(4),
        ..Options::default()
    };
    let config = options.check().unwrap();
    let lock = DataDir::take(folder).unwrap();
    let rows = RocksEngine::open(&lock.rows(), BUDGETS).unwrap();
    let identity = data_dir::identity(&rows, true).unwrap();
    let home = Home { engine: &rows, identity: &identity };
    let metrics = Arc::new(Metrics::new("0", "test").unwrap());
    let doors = Doors {
        answers: Answers::new(&Arc::default()),
        hosts: Hosts::default(),
        verifier: Arc::default(),
        indexes: Arc::default(),
        other: None,
    };
    let entered = enter(&config, &lock, home, &metrics, doors, &CancellationToken::new()).await;
    Start { part: entered.unwrap(), rows, me: identity.member, _lock: lock }
}

fn options(folder: &Path, begin_empty: bool) -> RecoverOptions {
    RecoverOptions { force_new_grid: true, data_dir: folder.to_owned(), begin_empty, yes: true }
}

fn refused(folder: &Path, begin_empty: bool) -> String {
    format!("{:#}", recover(&options(folder, begin_empty)).unwrap_err())
}

/// A row of a partition, and that it was applied.
fn put(rows: &RocksEngine, partition: PartitionId, state: &copy::CopyState) {
    rows.create_partitions(&[partition]).unwrap();
    let version = Version { epoch: 1, sequence: 1 };
    let entry = Entry { id: EntryId::new("x").unwrap(), vector: None, metadata: Metadata::default() };
    let point = applied::Applied { epoch: 1, sequence: 1, log_first: 2, log_bytes: 0, has_digests: true };
    let mut batch = Batch::default();
    let family = Family::Partition(partition);
    batch.put(family, row::key(CollectionId(1), &entry.id), row::encode(&entry, version));
    batch.put(family, applied::key(), seal(&point));
    batch.put(Family::Member, copy::key(partition), copy::encode(state));
    rows.commit(&batch, true).unwrap();
}

fn has_row(rows: &RocksEngine, partition: PartitionId) -> bool {
    let key = row::key(CollectionId(1), &EntryId::new("x").unwrap());
    rows.get(Family::Partition(partition), &key).unwrap().is_some()
}

/// Partition 0 is held by this member alone, 1 by both, 2 and 3 by the other one.
async fn grid_of_two(folder: &Path) -> (String, MemberId) {
    let Start { part, rows, me, _lock } = start(folder).await;
    let other = MemberId(uuid::Uuid::new_v4().to_string());
    let joins =
        Command::Join { member: other.clone(), store: "d".to_owned(), details: MemberDetails::default() };
    part.control.propose(joins).await.unwrap();
    let config = CollectionConfig {
        name: CollectionName::new("c").unwrap(),
        dimension: 2,
        metric: Metric::Euclidean,
        index: IndexOptions::default(),
        durability: Durability::Sync,
    };
    part.control.propose(Command::CreateCollection(config)).await.unwrap();
    for partition in [1, 2, 3].map(PartitionId) {
        let one = part.control.view().partition(partition).clone();
        let two = Placement { in_sync: vec![me.clone(), other.clone()], ..one.clone() };
        let away = Placement { epoch: 2, primary: other.clone(), in_sync: two.in_sync.clone() };
        let gone = Placement { epoch: 3, in_sync: vec![other.clone()], ..away.clone() };
        let mut steps = vec![one, two, away, gone];
        if partition.0 == 1 {
            steps.truncate(2);
        }
        for (expected, next) in steps.iter().zip(&steps[1..]) {
            let command = Command::Place { partition, expected: expected.clone(), next: next.clone() };
            part.control.propose(command).await.unwrap();
        }
    }
    let kept = copy::CopyState::default();
    put(&rows, PartitionId(0), &kept);
    put(&rows, PartitionId(1), &kept);
    // It is behind, and another one is of no use.
    put(&rows, PartitionId(2), &copy::CopyState { promised: 2, ..kept.clone() });
    put(&rows, PartitionId(3), &copy::CopyState { promised: 9, quarantined: true, ..kept });
    let grid = part.control.view().id().to_owned();
    part.stop().await;
    (grid, me)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_member_that_is_left_becomes_a_grid_with_what_it_has() {
    let folder = TempDir::new().unwrap();
    let (old, me) = grid_of_two(folder.path()).await;
    let error = refused(folder.path(), false);
    assert!(error.contains("of 1 partitions this member has no copy"), "{error}");
    assert!(error.contains("--begin-empty") && error.contains("Nothing was changed"), "{error}");
    let store = RocksEngine::open(&folder.path().join("control"), BUDGETS).unwrap();
    assert_eq!(ControlStore::new(Arc::new(store)).last_known().unwrap().unwrap().view.id(), old);

    recover(&options(folder.path(), true)).unwrap();
    // Before it has begun, and after: there is nothing to be made by force.
    assert!(refused(folder.path(), true).contains("had not heard of its grid's state"));
    let Start { part, rows, _lock, .. } = start(folder.path()).await;
    let view = part.control.view();
    assert_ne!(view.id(), old, "old members must not fit");
    assert_eq!(view.members().map(|member| &member.id).collect::<Vec<_>>(), [&me]);
    assert!(view.collection(&CollectionName::new("c").unwrap()).is_some());
    for (partition, kept) in [(0, true), (1, true), (2, true), (3, false)] {
        let partition = PartitionId(partition);
        let placement = view.partition(partition);
        assert_eq!((&placement.primary, placement.in_sync.len()), (&me, 1));
        assert!(placement.epoch > 9, "{placement:?}");
        assert_eq!(has_row(&rows, partition), kept, "{partition}");
    }
    may_act(&part).await;
    let dropped = part.control.propose(Command::DropCollection(CollectionName::new("c").unwrap())).await;
    assert!(dropped.is_ok(), "it decides");
    part.stop().await;
    drop((rows, _lock));
    let again = start(folder.path()).await;
    assert_eq!(without_collections(&again.part).await.id(), view.id());
    again.part.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_refused_where_it_does_not_belong() {
    let folder = TempDir::new().unwrap();
    assert!(refused(folder.path(), true).contains("is not the data directory of a member"));
    let running = start(folder.path()).await;
    assert!(refused(folder.path(), true).contains("another vecgridd is using"), "a running daemon");
    running.part.stop().await;
    drop((running.rows, running._lock));
    assert!(refused(folder.path(), true).contains("is the only one of its grid"));
}
