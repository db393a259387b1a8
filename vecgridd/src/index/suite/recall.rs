//! Searches that ask for recall, and breadths that are measured.

use std::sync::Arc;

use serde_json::json;

use super::{
    super::{CollectionIndex, PartitionSet, asked::ENOUGH},
    world::{ENGINES, Made, Numbers, PARTITIONS, World, config, limits},
};
use crate::types::{CollectionConfig, EngineKind, Explain, IndexOptions, Metric, TargetRecall};

const DIMENSION: u32 = 24;

/// All engines that have a graph.
fn graphs() -> impl Iterator<Item = Made> {
    ENGINES.into_iter().filter(|engine| *engine != EngineKind::Flat)
}

fn target(share: f64) -> TargetRecall {
    TargetRecall::new(share).unwrap()
}

fn config_by_recall(engine: impl Into<Made>, share: f64) -> CollectionConfig {
    let config = config(engine, Metric::Cosine, DIMENSION);
    let index = IndexOptions { ef: None, target_recall: Some(target(share)), ..config.index };
    CollectionConfig { index, ..config }
}

/// Mean recall and breadth of searches for ten hits.
fn recall(world: &World, target_recall: Option<TargetRecall>) -> (f64, Explain) {
    let (view, all, mut numbers) = (world.index.view(), PartitionSet::all(PARTITIONS), Numbers(4711));
    let (mut sum, mut explain) = (0.0, Explain::default());
    for _ in 0..200 {
        let mut query = world.query(numbers.vector(DIMENSION), 10);
        query.target_recall = target_recall;
        sum += world.search(&view, &query, &all);
        explain = view.search_explained(&query, &all).unwrap().1;
    }
    (sum / 200.0, explain)
}

#[test]
fn a_search_reaches_its_target_and_walks_no_wider_than_that_takes() {
    for engine in graphs() {
        let world = World::filled(config_by_recall(engine, 0.9), 12_000, 61);
        assert!(world.index.wait_built());
        world.index.wait_calibrated();
        let mut last = 0;
        for share in [0.8, 0.9, 0.98] {
            let (recall, explain) = recall(&world, Some(target(share)));
            assert_eq!(explain.target_recall, Some(target(share)));
            assert!(explain.ef >= last, "{engine:?} {share}: ef {} after {last}", explain.ef);
            last = explain.ef;
            assert!(recall >= share - 0.03, "{engine:?} {share}: {recall} with ef {}", explain.ef);
        }
        assert!(recall(&world, Some(target(0.8))).1.ef < last, "{engine:?}: a target costs what it needs");
        let (_, explain) = recall(&world, None);
        assert_eq!(explain.target_recall, Some(target(0.9)), "the collection's own");
        let stats = world.index.stats();
        // What cannot be measured is guessed.
        let measured = if engine == EngineKind::Native { 12_000 } else { 0 };
        assert_eq!((stats.search_ef, stats.calibrated_rows), (explain.ef, measured), "{engine:?}");
    }
}

#[test]
fn before_anything_is_measured_walks_are_wide_and_an_ef_is_obeyed() {
    let world = World::filled(config_by_recall(EngineKind::Native, 0.99), 3_000, 62);
    let (recall, _) = recall(&world, None);
    assert!(recall >= 0.97, "{recall}");
    assert!(world.index.wait_built());
    let mut query = world.query(Numbers(1).vector(DIMENSION), 10);
    query.ef = Some(17);
    let (_, explain) = world.index.view().search_explained(&query, &PartitionSet::all(PARTITIONS)).unwrap();
    assert_eq!((explain.ef, explain.target_recall), (17, None));
}

#[test]
fn breadths_are_measured_again_when_the_graph_has_changed_much_and_not_before() {
    let mut world = World::filled(config_by_recall(EngineKind::Native, 0.95), 2_000, 63);
    let measured = |world: &World| {
        assert!(world.index.wait_built());
        world.index.wait_calibrated();
        world.index.stats().calibrated_rows
    };
    assert_eq!(measured(&world), 2_000);
    let mut numbers = Numbers(64);
    let mut put = |world: &mut World, rows: std::ops::Range<u64>| {
        world.put(rows.map(|n| (n, json!({}), Some(numbers.vector(DIMENSION)))).collect());
    };
    put(&mut world, 2_000..2_400);
    assert_eq!(measured(&world), 2_000);
    put(&mut world, 2_400..2_600);
    assert_eq!(measured(&world), 2_600);
    // As many rows in another graph.
    put(&mut world, 0..2_000);
    assert_eq!(measured(&world), 2_600);
    assert_eq!(world.index.stats().dead, 0, "compacted");
    assert!(recall(&world, None).0 >= 0.92);
    // Too few for a graph: nothing is walked, so there is nothing to say.
    world.delete(100..2_600);
    assert_eq!(measured(&world), 0);
    assert_eq!(world.index.stats().search_ef, 0);
}

/// Rows in 20 clusters, queries between them.
#[test]
fn real_queries_are_measured_with_once_there_are_enough() {
    for engine in graphs() {
        let world = World::filled(config_by_recall(engine, 0.95), 8_000, 67);
        assert!(world.index.wait_built());
        world.index.wait_calibrated();
        let mut numbers = Numbers(68);
        let mut between = || {
            let (a, b) = (numbers.vector(DIMENSION), numbers.vector(DIMENSION));
            a.iter().zip(&b).map(|(a, b)| a + b).collect::<Vec<f32>>()
        };
        for _ in 0..ENOUGH {
            world.index.asked(&world.query(between(), 10).vector);
        }
        world.index.wait_calibrated();
        let (view, all, mut sum) = (world.index.view(), PartitionSet::all(PARTITIONS), 0.0);
        for _ in 0..200 {
            sum += world.search(&view, &world.query(between(), 10), &all);
        }
        let recall = sum / 200.0;
        assert!(recall >= 0.93, "{engine:?}: {recall} with ef {}", world.index.stats().search_ef);
        assert_eq!(world.index.stats().calibrated_rows, 8_000, "{engine:?} can be measured with queries");
    }
}

#[test]
fn an_index_is_dropped_while_it_measures() {
    let world = World::filled(config_by_recall(EngineKind::Native, 0.95), 4_000, 65);
    assert!(world.index.wait_built());
    let index = Arc::downgrade(&world.index);
    drop(world);
    assert!(index.upgrade().is_none());
}

/// With a fixed breadth, too: a query may still name a target.
#[test]
fn a_collection_of_fixed_breadth_knows_targets() {
    let world = World::new(config(EngineKind::Flat, Metric::Cosine, DIMENSION));
    world.index.wait_calibrated();
    let fixed =
        CollectionIndex::new(&config(EngineKind::Native, Metric::Cosine, DIMENSION), limits()).unwrap();
    fixed.wait_calibrated();
    let world = World::filled(config(EngineKind::Native, Metric::Cosine, DIMENSION), 3_000, 66);
    assert!(world.index.wait_built());
    world.index.wait_calibrated();
    let (recall, explain) = recall(&world, Some(target(0.97)));
    assert!(recall >= 0.94, "{recall} with {explain:?}");
    assert_eq!(world.index.stats().search_ef, 20, "as told");
}
