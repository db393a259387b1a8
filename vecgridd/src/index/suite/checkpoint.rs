//! An index that is saved and comes back; and one that was damaged meanwhile, and does not.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::{
    super::{
        CollectionIndex, PartitionSet, Refusal,
        checkpoint::Store,
        collection_index::{RestoreError, Surroundings},
    },
    world::{Made, Numbers, PARTITIONS, Step, World, config, filter, limits, step},
};
use crate::types::{CollectionConfig, EngineKind, Metric, Quantization, VectorPlace};

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

fn native(metric: Metric, dimension: u32) -> CollectionConfig {
    config(EngineKind::Native, metric, dimension)
}

fn kept_as(quantization: Quantization, metric: Metric, dimension: u32) -> CollectionConfig {
    config(Made(EngineKind::Native, quantization), metric, dimension)
}

fn on_disk(metric: Metric, dimension: u32) -> CollectionConfig {
    let mut config = native(metric, dimension);
    config.index.vectors = VectorPlace::Disk;
    config
}

fn store(folder: &Path, config: &CollectionConfig) -> Store {
    Store::new(folder.join("c"), "here".to_owned(), config.clone())
}

fn saved(store: Store) -> Surroundings {
    Surroundings { store: Some(store), elsewhere: None }
}

/// A world whose index is saved in a folder.
fn saved_world(folder: &Path, config: &CollectionConfig) -> World {
    let mut world = World::new(config.clone());
    world.index = Arc::new(CollectionIndex::within(config, limits(), saved(store(folder, config))).unwrap());
    world
}

fn restore(folder: &Path, config: &CollectionConfig) -> Result<Option<CollectionIndex>, RestoreError> {
    CollectionIndex::restore(config, limits(), saved(store(folder, config)))
}

/// Rows with and without vectors, a field of each kind, and some that died.
fn fill(world: &mut World, rows: u64, dimension: u32) {
    let mut numbers = Numbers(51);
    let row = |n: u64, numbers: &mut Numbers| {
        let fields =
            json!({"n": n, "kind": (["a", "b"][n as usize % 2]), "x": n as f64 / 7.0, "tags": [n % 5, "t"]});
        (n, fields, (!n.is_multiple_of(10)).then(|| numbers.vector(dimension)))
    };
    let all: Vec<_> = (0..rows).map(|n| row(n, &mut numbers)).collect();
    all.chunks(500).for_each(|batch| world.put(batch.to_vec()));
    world.delete((0..rows).filter(|n| n % 17 == 3));
    world.put((0..rows).filter(|n| n % 29 == 5).map(|n| row(n, &mut numbers)).collect());
}

/// Replaces the index by what is in the folder.
fn reopen(world: &mut World, folder: &Path, config: &CollectionConfig) {
    let empty = Arc::new(CollectionIndex::new(config, limits()).unwrap());
    drop(std::mem::replace(&mut world.index, empty));
    world.index = Arc::new(restore(folder, config).unwrap().unwrap());
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder.join("c")).unwrap().map(|entry| entry.unwrap().path()).collect();
    // Blocks first: their names begin with a random number, which may be behind the `c` of the checkpoint.
    files.sort_by_key(|path| (path.ends_with("checkpoint"), path.clone()));
    files
}

#[test]
fn an_index_comes_back_as_it_was() {
    for (config, rows) in [
        (native(Metric::Cosine, 8), 100),
        (native(Metric::Euclidean, 8), 3_000),
        (native(Metric::Dot, 8), 17_500),
        (on_disk(Metric::Dot, 8), 17_500),
        (kept_as(Quantization::Int4, Metric::Cosine, 8), 2_000),
        (kept_as(Quantization::F16, Metric::Dot, 8), 2_000),
        (kept_as(Quantization::Bf16, Metric::Euclidean, 8), 2_000),
        (kept_as(Quantization::None, Metric::Euclidean, 8), 17_500),
    ] {
        let folder = TempDir::new().unwrap();
        let mut world = saved_world(folder.path(), &config);
        fill(&mut world, rows, 8);
        assert!(world.index.wait_built());
        let (stats, recall) = (world.index.stats(), world.recall(20, 10));
        world.index.save();
        let links = |world: &World| world.index.stats().bytes.links;
        let before = links(&world);
        reopen(&mut world, folder.path(), &config);
        let again = world.index.stats();
        // At once, before any builder could have done anything.
        assert_eq!(
            (again.live, again.with_vector, again.indexed, again.dead),
            (stats.live, stats.with_vector, stats.indexed, stats.dead)
        );
        assert_eq!((links(&world), world.recall(20, 10)), (before, recall), "the same graph");
        for conditions in [
            json!({"n": {"$lt": rows / 3}}),
            json!({"kind": "b", "x": {"$gt": 20.5}}),
            json!({"tags": {"$contains": 3}}),
        ] {
            world.check(filter(conditions), &all());
        }
        // And goes on.
        fill(&mut world, rows / 2, 8);
        assert!(world.index.wait_built());
        world.check(None, &all());
        assert!(world.recall(20, 10) > 0.8);
        world.index.save();
        reopen(&mut world, folder.path(), &config);
        world.check(None, &all());
    }
}

#[test]
fn blocks_are_written_once_and_old_ones_are_removed() {
    let (folder, config) = (TempDir::new().unwrap(), native(Metric::Euclidean, 4));
    let mut world = saved_world(folder.path(), &config);
    fill(&mut world, 16_600, 4);
    world.index.save();
    let first = files(folder.path());
    assert_eq!(first.len(), 3, "a full block, one being filled, the checkpoint: {first:?}");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let block = inode(&first[0]);
    // What a crash leaves.
    fs::write(folder.path().join("c/checkpoint.draft"), b"half").unwrap();
    fs::write(folder.path().join("c/0123-000000-16384"), b"of nobody").unwrap();
    reopen(&mut world, folder.path(), &config);
    world.put(vec![(1, json!({}), None)]);
    world.index.save();
    let second = files(folder.path());
    assert_eq!((second.len(), inode(&second[0])), (3, block));
    assert_ne!(first[1], second[1]);
    // A compaction gives other numbers.
    world.delete(0..9_000);
    assert!(world.index.wait_built());
    world.index.save();
    assert_eq!(files(folder.path()).len(), 2);
    reopen(&mut world, folder.path(), &config);
    world.check(None, &all());
}

#[test]
fn a_damaged_checkpoint_is_refused_whatever_is_damaged() {
    for config in [
        native(Metric::Cosine, 8),
        on_disk(Metric::Cosine, 8),
        kept_as(Quantization::None, Metric::Cosine, 8),
    ] {
        refuses_damage(config);
    }
}

fn refuses_damage(config: CollectionConfig) {
    let folder = TempDir::new().unwrap();
    let mut world = saved_world(folder.path(), &config);
    fill(&mut world, 16_500, 8);
    assert!(world.index.wait_built());
    world.index.save();
    let empty = Arc::new(CollectionIndex::new(&config, limits()).unwrap());
    drop(std::mem::replace(&mut world.index, empty));
    let damaged = || match restore(folder.path(), &config) {
        Err(RestoreError::Refused(Refusal::Damaged(why))) => why,
        Err(other) => panic!("{other}"),
        Ok(index) => panic!("it was read: {:?}", index.map(|index| index.stats())),
    };
    let mut sections = 0;
    for path in files(folder.path()) {
        let good = fs::read(&path).unwrap();
        // A byte of each section, of the table, and of what is behind it.
        let table = good[..good.len() - 24].iter().rposition(|byte| *byte == b'[').unwrap();
        let named: serde_json::Value = serde_json::from_slice(&good[table..good.len() - 24]).unwrap();
        let spots = named.as_array().unwrap().iter().filter(|section| section["bytes"].as_u64().unwrap() > 0);
        let spots = spots.map(|s| (s["start"].as_u64().unwrap() + s["bytes"].as_u64().unwrap() / 2) as usize);
        for spot in spots.chain([table + 1, good.len() - 20, good.len() - 12, good.len() - 1]) {
            let mut bad = good.clone();
            bad[spot] ^= 0x10;
            fs::write(&path, bad).unwrap();
            damaged();
            sections += 1;
        }
        for length in [0, 10, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            damaged();
        }
        let hidden = folder.path().join("hidden");
        fs::rename(&path, &hidden).unwrap();
        if path.ends_with("checkpoint") {
            assert!(restore(folder.path(), &config).unwrap().is_none());
        } else {
            damaged();
        }
        fs::rename(hidden, &path).unwrap();
        fs::write(&path, good).unwrap();
    }
    assert!(sections >= 20, "{sections} sections");
    world.index = Arc::new(restore(folder.path(), &config).unwrap().unwrap());
    world.check(None, &all());
}

#[test]
fn a_checkpoint_of_something_else_is_refused() {
    let (folder, config) = (TempDir::new().unwrap(), native(Metric::Cosine, 8));
    let mut world = saved_world(folder.path(), &config);
    fill(&mut world, 1_000, 8);
    world.index.save();
    drop(world);
    let read = |config: &CollectionConfig, tag: &str| {
        let store = Store::new(folder.path().join("c"), tag.to_owned(), config.clone());
        CollectionIndex::restore(config, limits(), saved(store))
    };
    let foreign = |config: &CollectionConfig, tag| {
        assert!(matches!(read(config, tag), Err(RestoreError::Refused(Refusal::Foreign(_)))));
    };
    foreign(&config, "elsewhere");
    foreign(&native(Metric::Euclidean, 8), "here");
    foreign(&native(Metric::Cosine, 16), "here");
    foreign(&kept_as(Quantization::Int4, Metric::Cosine, 8), "here");
    assert!(read(&config, "here").unwrap().is_some());
    // Engines that cannot be saved.
    for engine in [EngineKind::Flat, EngineKind::HnswRs] {
        assert!(read(&self::config(engine, Metric::Cosine, 8), "here").unwrap().is_none());
    }
}

#[test]
fn the_last_changes_are_saved_at_the_end_if_one_asks() {
    let (folder, config) = (TempDir::new().unwrap(), native(Metric::Cosine, 8));
    let mut world = saved_world(folder.path(), &config);
    fill(&mut world, 3_000, 8);
    // The builder has not come far: what is not linked is in the tail again.
    world.index.save_at_end();
    reopen(&mut world, folder.path(), &config);
    world.check(None, &all());
    let saved = world.index.stats().checkpoint;
    assert_eq!((saved.saves, saved.failures), (0, 0));
    assert!(saved.at.is_some() && saved.bytes > 0);
    assert!(world.index.wait_built());
    // The longer graph is worth saving, too.
    world.index.save_at_end();
    reopen(&mut world, folder.path(), &config);
    assert_eq!(world.index.stats().tail, 0);
    let live = world.index.stats().live;
    world.delete(0..10);
    reopen(&mut world, folder.path(), &config);
    assert_eq!(world.index.stats().live, live, "nobody asked");
}

#[test]
fn vectors_on_disk_are_found_while_they_move_there() {
    const BLOCK: u64 = 16_384;
    let (folder, config) = (TempDir::new().unwrap(), on_disk(Metric::Euclidean, 4));
    let mut world = saved_world(folder.path(), &config);
    let mut numbers = Numbers(71);
    let old = world.index.view();
    for batch in 0..50 {
        world.put((0..800).map(|n| (batch * 800 + n, json!({ "n": n }), Some(numbers.vector(4)))).collect());
        let mut query = world.query(numbers.vector(4), 10);
        query.exact = batch % 2 == 0;
        world.search(&world.index.view(), &query, &all());
    }
    let kept = world.index.view();
    assert!(world.index.wait_built());
    let vectors = |world: &World| world.index.stats().bytes.vectors / 16;
    assert_eq!(vectors(&world), 40_000 % BLOCK, "only those of the block that is being filled are in memory");
    assert_eq!(files(folder.path()).len(), 2);
    assert_eq!((old.count(None, &all()), kept.count(None, &all())), (0, 40_000));
    world.search(&kept, &world.query(numbers.vector(4), 10), &all());
    // Compaction moves them again.
    world.delete(0..10_000);
    assert!(world.index.wait_built());
    world.check(None, &all());
    assert_eq!((vectors(&world), world.index.stats().dead), (30_000 % BLOCK, 0));
    assert!(world.recall(20, 10) > 0.9);
    world.index.save();
    assert_eq!(files(folder.path()).len(), 3);
    reopen(&mut world, folder.path(), &config);
    world.check(None, &all());
    assert_eq!(vectors(&world), 30_000 % BLOCK);
    assert!(world.recall(20, 10) > 0.9);
}

#[derive(Debug, Clone)]
enum SavedStep {
    Of(Step),
    Save,
    /// The index is closed, and saved first if so.
    Restart(bool),
}

fn saved_step() -> impl Strategy<Value = SavedStep> {
    prop_oneof![
        11 => step().prop_map(SavedStep::Of),
        2 => Just(SavedStep::Save),
        2 => any::<bool>().prop_map(SavedStep::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// After a restart the index holds what it held when it was saved.
    #[test]
    fn whatever_happens_an_index_comes_back_as_it_was_saved(
        steps in prop::collection::vec(saved_step(), 1..32), kept in prop::sample::select(&Quantization::ALL[..]),
    ) {
        let (folder, config) = (TempDir::new().unwrap(), kept_as(kept, Metric::Euclidean, 3));
        let mut world = saved_world(folder.path(), &config);
        let mut numbers = Numbers(61);
        world.index.save();
        let mut saved = world.rows.clone();
        for step in steps {
            match step {
                SavedStep::Of(step) => world.take(step, &mut numbers),
                SavedStep::Save => {
                    world.index.save();
                    saved = world.rows.clone();
                }
                SavedStep::Restart(save) => {
                    if save {
                        world.index.save_at_end();
                        saved = world.rows.clone();
                    }
                    reopen(&mut world, folder.path(), &config);
                    world.rows = saved.clone();
                }
            }
            world.check(filter(json!({"n": {"$lt": numbers.below(900)}})), &all());
            let mut query = world.query(numbers.vector(3), 1 + numbers.below(20) as usize);
            query.ef = Some(8);
            world.search(&world.index.view(), &query, &all());
        }
        assert!(world.index.wait_built());
        world.check(None, &all());
    }
}
