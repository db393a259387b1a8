//! Indexes against the rows of a store, over restarts of both.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    applier::{Digests, Effects, open_digest},
    level_indexes,
    log_extent::Kept,
    state::Committed,
};
use crate::{
    index::{Change, Digest, IndexFolder, IndexLimits, PartitionSet, Registry},
    storage::{
        Batch, Engine, Family, MemoryEngine,
        keys::{self, digest, log, row},
    },
    types::{
        ClusterView, Collection, CollectionConfig, CollectionId, CollectionName, Durability, Entry, EntryId,
        IndexOptions, MemberId, Metadata, Metric, Mutation, Operation, PartitionId, Vector, Version,
    },
};

const PARTITIONS: u16 = 3;

/// A member without owners: rows, log and indexes.
struct Member {
    store: MemoryEngine,
    folder: TempDir,
    indexes: Registry,
    view: ClusterView,
    sequences: BTreeMap<PartitionId, u64>,
    log_first: BTreeMap<PartitionId, u64>,
    model: BTreeMap<String, Vec<f32>>,
    writes: u16,
}

fn registry(folder: &TempDir) -> Registry {
    let limits = IndexLimits {
        small_rows: 64,
        build_threads: 1,
        // Never by itself: each test says when.
        checkpoint_pause: Some(Duration::from_secs(3_600)),
        ..IndexLimits::default()
    };
    Registry::new(limits, Some(IndexFolder { path: folder.path().join("index"), store: "s".to_owned() }))
}

fn collection(id: u32) -> Collection {
    let config = CollectionConfig {
        name: CollectionName::new(&format!("c{id}")).unwrap(),
        dimension: 2,
        metric: Metric::Euclidean,
        index: IndexOptions { ef_construction: 16, ..IndexOptions::default() },
        durability: Durability::Sync,
    };
    Collection { id: CollectionId(id), config }
}

impl Member {
    fn new() -> Self {
        let me = MemberId("me".to_owned());
        let mut view = ClusterView::bootstrap("g", PARTITIONS, &me);
        let ours = collection(1);
        view.collections.insert(ours.config.name.clone(), ours);
        let (store, folder) = (MemoryEngine::default(), TempDir::new().unwrap());
        store.create_partitions(&(0..PARTITIONS).map(PartitionId).collect::<Vec<_>>()).unwrap();
        Self {
            store,
            indexes: registry(&folder),
            folder,
            view,
            sequences: BTreeMap::new(),
            log_first: (0..PARTITIONS).map(|p| (PartitionId(p), 1)).collect(),
            model: BTreeMap::new(),
            writes: 0,
        }
    }

    /// Puts (or deletes) some ids, each in its partition, as owner and applier do.
    fn write(&mut self, ids: &[u16], put: bool) {
        let mut digests = Digests::default();
        let mut effects = Effects::new(&self.store, Some(&self.indexes), &mut digests);
        let mut logged = Batch::default();
        for id in ids {
            self.writes += 1;
            let (name, partition) = (id.to_string(), PartitionId(id % PARTITIONS));
            let entry = EntryId::new(&name).unwrap();
            let mutation = if put {
                let vector = vec![f32::from(*id), f32::from(self.writes)];
                self.model.insert(name, vector.clone());
                let vector = Some(Vector::new(vector, 2, Metric::Euclidean).unwrap());
                Mutation::Put(Entry { id: entry, vector, metadata: Metadata::default() })
            } else {
                self.model.remove(&name);
                Mutation::Delete(entry)
            };
            let sequence = self.sequences.entry(partition).or_default();
            *sequence += 1;
            let version = Version { epoch: 1, sequence: *sequence };
            let operation =
                Operation { collection: CollectionId(1), request_id: None, mutations: vec![mutation] };
            let record = keys::seal(&log::record(&operation, version));
            logged.put(Family::Oplog, log::key(partition, *sequence), record);
            let kept = Kept { first: self.log_first[&partition], bytes: 1 };
            let committed = Committed {
                version,
                operation,
                fingerprint: 0,
                forget_request: None,
                trim_below: None,
                kept,
            };
            effects.add(partition, committed, true).unwrap();
        }
        let (rows, changes) = effects.finish();
        logged.append(rows);
        self.store.commit(&logged, true).unwrap();
        for (id, changes) in changes {
            self.index(id).apply(changes);
        }
    }

    fn index(&self, id: CollectionId) -> Arc<crate::index::CollectionIndex> {
        self.indexes.get_or_create(id, &self.view.collection_by_id(id).unwrap().config).unwrap()
    }

    /// Cuts all logs, as if much had been written: what comes next says so.
    fn trim(&mut self) {
        for (partition, sequence) in &self.sequences {
            let (from, to) = log::range(*partition, 0, sequence + 1);
            let mut batch = Batch::default();
            batch.delete_range(Family::Oplog, from, to);
            self.store.commit(&batch, true).unwrap();
            self.log_first.insert(*partition, sequence + 1);
        }
    }

    fn save(&self) {
        self.index(CollectionId(1)).save();
    }

    /// Gives how many indexes were loaded, and how many rows were read.
    fn restart(&mut self, graceful: bool) -> (u64, u64) {
        if graceful {
            self.indexes.close();
        }
        self.indexes = registry(&self.folder);
        let report = level_indexes(&self.store, &self.view, &self.indexes, &PartitionSet::new()).unwrap();
        (report.loaded, report.changes)
    }

    /// What the store says of its rows is what it has.
    fn check_digests(&self) {
        for partition in (0..PARTITIONS).map(PartitionId) {
            let (mut rows, (from, to)) = (Digest::default(), row::all());
            let mut visit = |key: &[u8], value: &[u8]| {
                rows.add(row::parse_key(key)?.1.as_str(), row::version(value)?);
                Ok(std::ops::ControlFlow::Continue(()))
            };
            self.store.scan(Family::Partition(partition), &from, &to, &mut visit).unwrap();
            let said = self.store.get(Family::Partition(partition), &digest::key(CollectionId(1))).unwrap();
            let said = said.map(|bytes| open_digest(partition, &bytes).unwrap());
            assert_eq!(said.unwrap_or_default(), rows, "{partition}");
        }
    }

    fn check(&self) {
        self.check_digests();
        let index = self.index(CollectionId(1));
        let (view, all) = (index.view(), PartitionSet::all(PARTITIONS));
        let mut found: Vec<_> =
            view.matching(None, &all).into_iter().map(|(_, id)| id.as_str().to_owned()).collect();
        found.sort();
        assert_eq!(found, self.model.keys().cloned().collect::<Vec<_>>());
        for (id, vector) in &self.model {
            let query = crate::types::Query {
                vector: Vector::new(vector.clone(), 2, Metric::Euclidean).unwrap(),
                k: 1,
                ef: None,
                target_recall: None,
                filter: None,
                exact: true,
                max_distance: None,
                include_metadata: false,
                include_vector: false,
                allow_partial: false,
                explain: false,
            };
            let hits = view.search(&query, &all).unwrap();
            assert_eq!((hits[0].id.as_str(), hits[0].distance), (id.as_str(), 0.0));
        }
    }
}

fn ids(range: std::ops::Range<u16>) -> Vec<u16> {
    range.collect()
}

#[test]
fn an_index_saved_after_the_last_write_is_used_as_it_is() {
    let mut member = Member::new();
    member.write(&ids(0..200), true);
    assert_eq!(member.restart(false), (0, 200), "nothing was saved: all rows are read");
    member.check();
    assert_eq!(member.restart(true), (1, 0));
    member.check();
    assert_eq!(member.restart(false), (1, 0), "the same checkpoint again");
    member.check();
}

#[test]
fn what_came_later_is_read_from_the_log() {
    let mut member = Member::new();
    member.write(&ids(0..200), true);
    member.save();
    member.write(&ids(190..210), true);
    member.write(&ids(0..7), false);
    member.write(&[3], true);
    assert_eq!(member.restart(false), (1, 20 + 7));
    member.check();
}

#[test]
fn where_the_log_does_not_reach_the_rows_are_compared() {
    let mut member = Member::new();
    member.write(&ids(0..200), true);
    member.save();
    member.write(&ids(190..210), true);
    member.write(&ids(0..7), false);
    member.trim();
    // Two partitions know that their log was cut, the third one finds nothing there.
    member.write(&[500], true);
    member.write(&[501], true);
    assert_eq!(member.restart(false), (1, 20 + 7 + 2), "only rows that differ are put again");
    member.check();
}

#[test]
fn an_index_ahead_of_the_rows_is_refused_and_removed() {
    let mut member = Member::new();
    member.write(&ids(0..200), true);
    let old = MemoryEngine::default();
    copy(&member.store, &old);
    let (sequences, model) = (member.sequences.clone(), member.model.clone());
    member.write(&ids(200..260), true);
    assert_eq!(member.restart(true), (1, 0));
    // A backup comes back, and the same versions are given to other writes.
    member.store = old;
    (member.sequences, member.model) = (sequences, model);
    assert_eq!(member.restart(false), (0, 200));
    assert_eq!(member.indexes.loads().refused.get("ahead"), Some(&1));
    member.check();
    member.write(&ids(200..260), true);
    member.write(&ids(10..20), true);
    assert_eq!(member.restart(false), (0, 260), "the refused one does not come back");
    member.check();
}

fn copy(from: &MemoryEngine, to: &MemoryEngine) {
    to.create_partitions(&from.partitions()).unwrap();
    let families = from.partitions().into_iter().map(Family::Partition);
    for family in families.chain([Family::Member, Family::Oplog]) {
        let mut batch = Batch::default();
        let mut visit = |key: &[u8], value: &[u8]| {
            batch.put(family, key.to_vec(), value.to_vec());
            Ok(std::ops::ControlFlow::Continue(()))
        };
        from.scan(family, &[], &[0xff; 8], &mut visit).unwrap();
        to.commit(&batch, true).unwrap();
    }
}

#[test]
fn an_index_says_which_rows_there_were_only_while_it_shows_them() {
    let mut member = Member::new();
    let gets_of = |member: &mut Member, ids: &[u16], put| {
        let before = member.store.gets();
        member.write(ids, put);
        member.check_digests();
        member.store.gets() - before
    };
    // Digests are read by each write here, of three partitions, and once more by the check of them.
    let digests = 2 * u64::from(PARTITIONS);
    assert_eq!(gets_of(&mut member, &ids(0..90), true), digests + 90, "there is no index yet");
    assert_eq!(gets_of(&mut member, &ids(60..120), true), digests);
    assert_eq!(gets_of(&mut member, &ids(0..30), false), digests);
    let index = member.index(CollectionId(1));
    let delete = |id: u16, version| {
        let id = EntryId::new(&id.to_string()).unwrap();
        Change::Delete { partition: PartitionId(0), id, version }
    };
    // It loses a row of one partition.
    index.apply(vec![delete(33, Version { epoch: 1, sequence: 1 })]);
    assert_eq!(gets_of(&mut member, &[33, 36, 34, 35], true), digests + 2);
    // That brought the row back.
    assert_eq!(gets_of(&mut member, &[33, 36, 37], false), 2 + u64::from(PARTITIONS));
}

#[test]
fn what_is_left_of_dropped_collections_is_removed() {
    let mut member = Member::new();
    member.write(&ids(0..100), true);
    member.save();
    let folder = |id: u32| member.folder.path().join("index").join(id.to_string());
    assert!(folder(1).exists());
    std::fs::create_dir(folder(7)).unwrap();
    std::fs::write(folder(7).join("checkpoint"), b"old").unwrap();
    let registry = registry(&member.folder);
    level_indexes(&member.store, &member.view, &registry, &PartitionSet::new()).unwrap();
    assert!(folder(1).exists() && !folder(7).exists());
    registry.remove(CollectionId(1));
    assert!(!folder(1).exists());
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u16>),
    Delete(Vec<u16>),
    Save,
    Trim,
    Restart(bool),
}

fn step() -> impl Strategy<Value = Step> {
    let ids = || prop::collection::vec(0_u16..150, 1..60);
    prop_oneof![
        4 => ids().prop_map(Step::Put),
        3 => ids().prop_map(Step::Delete),
        2 => Just(Step::Save),
        1 => Just(Step::Trim),
        3 => any::<bool>().prop_map(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn after_any_restart_the_index_holds_the_rows(steps in prop::collection::vec(step(), 1..24)) {
        let mut member = Member::new();
        for step in steps {
            match step {
                Step::Put(ids) => member.write(&ids, true),
                Step::Delete(ids) => member.write(&ids, false),
                Step::Save => {
                    member.write(&[0], true);
                    member.save();
                }
                Step::Trim => member.trim(),
                Step::Restart(graceful) => {
                    member.restart(graceful);
                }
            }
            member.check();
        }
    }
}
