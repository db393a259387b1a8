//! Filters over many blocks of rows that come, change and go.

use std::ops::Range;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    super::{IndexLimits, PartitionSet},
    world::{ENGINES, Numbers, PARTITIONS, World, config, filter, limits},
};
use crate::types::{EngineKind, Metric, Query, SearchPlan};

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

/// Of every kind that an index keeps in its own way.
fn fields(n: u64, round: u64) -> Value {
    let mut fields = json!({
        "n": n,
        "kind": (["noun", "verb", "adj"][n as usize % 3]),
        "name": format!("name-{:05}", n * 7_919 % 50_000),
        "score": (n * 31 % 1_000) as f64 / 8.0,
        "tags": [n % 7, (["x", "y", "z"][n as usize % 3])],
        "deep": {"round": round, "odd": n % 2 == 1},
        "text": "some words ".repeat(1 + n as usize % 20),
    });
    if n.is_multiple_of(5) {
        fields["sparse"] =
            [json!(null), json!(true), json!("s"), json!([]), json!(n)][n as usize / 5 % 5].clone();
    }
    fields
}

fn filters() -> Vec<Value> {
    vec![
        json!({"kind": "noun", "n": {"$gte": 500, "$lt": 9_000}}),
        json!({"kind": {"$ne": "noun"}, "deep.round": 1}),
        json!({"name": {"$gte": "name-01", "$lt": "name-02"}}),
        json!({"name": {"$in": ["name-07919", "name-15838", "absent"]}}),
        json!({"$or": [{"tags": {"$contains": 3}}, {"tags": {"$contains": "z"}}], "score": {"$gt": 100}}),
        json!({"$not": {"deep.odd": true}, "sparse": {"$exists": true}}),
        json!({"sparse": {"$nin": [null, true, 10]}}),
        json!({"sparse": []}),
        json!({"text": {"$contains": "words some words some"}, "n": {"$lt": 300}}),
        json!({"text": "some words ".repeat(20)}),
        json!({"absent": {"$exists": false}, "score": 12.5}),
    ]
}

fn put(world: &mut World, numbers: impl Iterator<Item = u64>, round: u64) {
    let rows: Vec<_> =
        numbers.map(|n| (n, fields(n, round), (n % 4 == 0).then(|| vec![n as f32, 1.0]))).collect();
    rows.chunks(700).for_each(|batch| world.put(batch.to_vec()));
}

fn check(world: &World) {
    for value in filters() {
        world.check(filter(value), &all());
    }
}

#[test]
fn filters_are_exact_while_blocks_fill_die_and_move() {
    for field_bytes in [IndexLimits::default().field_bytes, 6, 0] {
        let config = config(EngineKind::Flat, Metric::Euclidean, 2);
        let mut world = World::with_limits(config, IndexLimits { field_bytes, ..limits() });
        put(&mut world, 0..12_000, 0);
        check(&world);
        let (old, expected) = (world.index.view(), world.rows.len() as u64);
        put(&mut world, (12_000..40_000).rev(), 0);
        check(&world);
        // Two blocks are full since; the old view sees what it saw.
        let kind = filter(json!({"kind": {"$in": ["noun", "verb", "adj"]}, "deep.round": 0}));
        // What it chooses of them is kept now, and is no news for the old view.
        (0..3).for_each(|_| {
            assert_eq!(world.index.view().count(kind.as_ref(), &all()), world.rows.len() as u64)
        });
        assert_eq!(old.count(kind.as_ref(), &all()), expected);
        assert_eq!(old.matching(kind.as_ref(), &all()).len() as u64, expected);
        put(&mut world, (0..40_000).filter(|n| n % 11 == 0), 1);
        check(&world);
        // A third of all: compacted on the way.
        world.delete((0..40_000).filter(|n| n % 3 == 1));
        check(&world);
        put(&mut world, 20_000..24_000, 2);
        check(&world);
        let (bytes, rows) = (world.index.stats().bytes.fields, world.rows.len() as u64);
        // The block being filled may take more than its share, up to 16 MiB.
        assert!(bytes <= rows * field_bytes as u64 + (16 << 20), "{bytes} bytes");
        assert_eq!(bytes < 10_000, field_bytes == 0);
    }
}

/// Ends with the same rows, whatever came first.
#[test]
fn order_makes_no_difference() {
    for engine in ENGINES {
        let config = config(engine, Metric::Euclidean, 2);
        let (mut one, mut other) = (World::new(config.clone()), World::new(config));
        put(&mut one, 0..6_000, 0);
        put(&mut other, (0..6_000).rev(), 1);
        assert!(other.index.wait_built());
        other.delete(3_000..6_000);
        put(&mut other, (0..6_000).rev(), 0);
        assert!(one.index.wait_built() && other.index.wait_built());
        check(&other);
        for value in filters() {
            let query = Query { filter: filter(value), exact: true, ..one.query(vec![3_000.0, 0.0], 50) };
            let ids = |world: &World| {
                let hits = world.index.view().search(&query, &all()).unwrap();
                hits.into_iter().map(|hit| (hit.id, hit.distance)).collect::<Vec<_>>()
            };
            assert_eq!(ids(&one), ids(&other));
        }
    }
}

/// Codes of rows that a filter chooses again and again are kept side by side, or their vectors. That changes no answer:
/// not when rows die, come, are changed or compacted, and not that of an older view.
#[test]
fn a_filter_that_comes_again_finds_the_same() {
    let mut world = World::new(config(EngineKind::Native, Metric::Euclidean, 128));
    let mut numbers = Numbers(63);
    let mut put = |world: &mut World, rows: Range<u64>| {
        let rows: Vec<_> = rows
            .map(|n| (n, json!({"tenth": n % 10, "hundredth": n % 100}), Some(numbers.vector(128))))
            .collect();
        rows.chunks(700).for_each(|batch| world.put(batch.to_vec()));
    };
    let query = |world: &World, seed: u64| {
        let filter = filter(json!({"tenth": 3}));
        Query { filter, ..world.query(Numbers(seed).vector(128), 10) }
    };
    let narrow =
        |world: &World, seed| Query { filter: filter(json!({"hundredth": 33})), ..query(world, seed) };
    let check = |world: &World| {
        assert!(world.index.wait_built());
        let view = world.index.view();
        let recall = |seed| world.search(&view, &query(world, seed), &all());
        let recall = (0..100).map(recall).sum::<f64>() / 100.0;
        assert!(recall >= 0.98, "{recall}");
        for seed in 0..4 {
            let query = Query { exact: seed < 2, ..narrow(world, seed) };
            let (found, explain) = view.search_explained(&query, &all()).unwrap();
            // Another text: nothing is known of it.
            let anew =
                filter(json!({"hundredth": {"$in": [33, 1_000 * (1 + u64::from(view.rows.len())) + seed]}}));
            if explain.plan == SearchPlan::Scan {
                let exact = Query { exact: true, filter: anew, ..query };
                assert_eq!(found, view.search(&exact, &all()).unwrap());
            }
        }
    };
    let selections = |world: &World| world.index.stats().bytes.selections;
    // A full block, and some.
    put(&mut world, 0..18_000);
    assert!(world.index.wait_built());
    let old = world.index.view();
    let found = |seed| old.search_explained(&query(&world, seed), &all()).unwrap();
    let (first, explain) = found(5);
    assert_eq!(explain.plan, SearchPlan::Sift);
    // The second time it is kept, from the third on with codes.
    assert_eq!(found(5).0, first);
    let without = selections(&world);
    assert_eq!(found(5).0, first);
    let codes = 1_600 * (2 * 8 + 4 + 4 + 4);
    assert!(selections(&world) >= without + codes, "{} {without}", selections(&world));
    assert_eq!(found(5).0, first);
    // The third time vectors of a narrow one lie side by side, and all of them are looked at.
    let in_old = || old.search_explained(&narrow(&world, 5), &all()).unwrap();
    let plans = [in_old(), in_old(), in_old()].map(|(_, explain)| explain.plan);
    assert_eq!(plans, [SearchPlan::Sift, SearchPlan::Sift, SearchPlan::Scan]);
    let first_narrow = in_old().0;
    check(&world);
    world.delete((0..2_000).filter(|n| n % 10 == 3));
    check(&world);
    put(&mut world, 4_000..5_000);
    check(&world);
    assert_eq!(old.search(&query(&world, 5), &all()).unwrap(), first);
    assert_eq!(old.search(&narrow(&world, 5), &all()).unwrap(), first_narrow);
    // More blocks, then so many deaths that a compaction begins anew.
    put(&mut world, 18_000..36_000);
    check(&world);
    world.delete(20_000..32_000);
    check(&world);
    assert_eq!(old.search(&query(&world, 5), &all()).unwrap(), first);
}

#[test]
fn an_explanation_adds_up() {
    for engine in ENGINES {
        let mut world = World::filled(config(engine, Metric::Cosine, 12), 5_000, 61);
        assert!(world.index.wait_built());
        let mut query = world.query(Numbers(62).vector(12), 10);
        let (hits, explain) = world.index.view().search_explained(&query, &all()).unwrap();
        assert_eq!((hits.len(), explain.eligible, explain.filtered), (10, 5_000, 0));
        if engine == EngineKind::Flat {
            assert_eq!((explain.plan, explain.distances), (SearchPlan::Scan, 5_000));
        } else {
            assert_eq!(explain.plan, SearchPlan::Walk);
            assert!(explain.ef >= 20 && explain.reranked >= 10, "{explain:?}");
            // `hnsw_rs` does not say what it does.
            let counts = engine == EngineKind::Native;
            assert_eq!((explain.visited > 0, explain.estimated > explain.visited), (counts, counts));
            assert_eq!((explain.tail, explain.distances), (0, explain.reranked));
        }
        query.filter = filter(json!({"n": {"$lt": 30}}));
        let (hits, explain) = world.index.view().search_explained(&query, &all()).unwrap();
        assert_eq!((hits.len(), explain.plan, explain.eligible), (10, SearchPlan::Scan, 30));
        assert_eq!((explain.distances, explain.filtered), (30, 0), "the index was sure");
        let by_step = explain.times.by_step();
        assert_eq!(by_step.map(|(name, _)| name), ["select", "walk", "rerank", "scan", "answer"]);
        world.put(vec![(7, json!({"n": 7, "long": "x".repeat(200)}), Some(vec![1.0; 12]))]);
        query.filter = filter(json!({"long": "x".repeat(200)}));
        let (hits, explain) = world.index.view().search_explained(&query, &all()).unwrap();
        assert_eq!((hits.len(), explain.eligible, explain.filtered), (1, 1, 1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Overwrites, deletes and compactions in any order, many of them within one block and beyond.
    #[test]
    fn filters_are_exact_in_any_history(steps in prop::collection::vec((0_u64..4, 0_u64..3_000, 1_u64..3_000), 1..12)) {
        let mut world = World::new(config(EngineKind::Flat, Metric::Euclidean, 2));
        for (round, (what, from, count)) in (0..).zip(steps) {
            match what {
                0 => world.delete(from..from + count),
                1 => put(&mut world, (from..from + count).filter(|n| n % 3 == 0), round),
                _ => put(&mut world, from..from + count, round),
            }
            for value in filters().into_iter().skip(round as usize % 3).step_by(3) {
                world.check(filter(value), &all());
            }
        }
    }
}
