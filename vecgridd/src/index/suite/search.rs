//! Searching rows that stand still.

use serde_json::json;

use super::{
    super::{IndexError, IndexLimits, PartitionSet},
    world::{ENGINES, Numbers, PARTITIONS, World, config, filter, id, limits},
};
use crate::types::{EngineKind, Metric, PartitionId, Vector};

const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Euclidean, Metric::Dot];

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

#[test]
fn an_exact_search_is_exact_by_every_metric() {
    for engine in ENGINES {
        for metric in METRICS {
            for dimension in [1, 7, 24] {
                let world = World::filled(config(engine, metric, dimension), 700, 1);
                let mut numbers = Numbers(2);
                for k in [1, 3, 10, 700, 10_000] {
                    let mut query = world.query(numbers.vector(dimension), k);
                    query.exact = true;
                    world.search(&world.index.view(), &query, &all());
                }
            }
        }
    }
}

#[test]
fn a_search_finds_nearly_all_near_rows() {
    for engine in ENGINES {
        for metric in METRICS {
            let world = World::filled(config(engine, metric, 24), 6_000, 3);
            assert!(world.index.wait_built());
            let query = world.query(Numbers(5).vector(24), 10);
            assert_eq!(world.index.view().is_walked(&query, &all()), engine != EngineKind::Flat);
            let recall = world.recall(100, 10);
            assert!(recall >= 0.93, "{engine:?} {metric:?}: {recall}");
            let stats = world.index.stats();
            assert_eq!(stats.tail, 0);
            assert_eq!(stats.indexed, if engine != EngineKind::Flat { 6_000 } else { 0 });
            assert!(stats.bytes.vectors == 6_000 * 24 * 4 && stats.bytes.ids > 0 && stats.bytes.metadata > 0);
        }
    }
}

#[test]
fn rows_are_found_before_and_while_the_graph_is_built() {
    for engine in ENGINES {
        let world = World::filled(config(engine, Metric::Cosine, 16), 3_000, 4);
        assert!(world.recall(30, 10) >= 0.93);
        assert!(world.index.wait_built());
        assert!(world.recall(30, 10) >= 0.93);
    }
}

#[test]
fn several_builders_reach_the_recall_of_one() {
    let recall = |threads| {
        let config = config(EngineKind::HnswRs, Metric::Cosine, 16);
        let mut world = World::with_limits(config, IndexLimits { build_threads: threads, ..limits() });
        let mut numbers = Numbers(6);
        for batch in 0..12 {
            world.put((0..500).map(|n| (batch * 500 + n, json!({}), Some(numbers.vector(16)))).collect());
        }
        assert!(world.index.wait_built());
        world.recall(100, 10)
    };
    let (one, four) = (recall(1), recall(4));
    assert!(four >= one - 0.02, "{four} with four threads, {one} with one");
}

#[test]
fn every_selectivity_brings_min_of_k_and_matches() {
    for engine in ENGINES {
        let world = World::filled(config(engine, Metric::Cosine, 12), 5_000, 7);
        assert!(world.index.wait_built());
        let view = world.index.view();
        let mut numbers = Numbers(8);
        let mut walked = 0;
        for below in [0, 1, 5, 9, 10, 11, 50, 200, 500, 1_000, 2_500, 3_500, 4_500, 4_990, 4_999, 5_000] {
            for k in [1, 10, 100] {
                let mut query = world.query(numbers.vector(12), k);
                query.filter = filter(json!({"n": {"$lt": below}}));
                let recall = world.search(&view, &query, &all());
                assert!(recall >= 0.8, "{engine:?} {below} {k}: {recall}");
                walked += usize::from(view.is_walked(&query, &all()));
                query.exact = true;
                world.search(&view, &query, &all());
            }
            world.check(filter(json!({"n": {"$gte": below}})), &all());
        }
        assert_eq!(walked > 0, engine != EngineKind::Flat, "some of these must have walked");
    }
}

#[test]
fn an_answer_set_restricts_like_a_filter() {
    for engine in ENGINES {
        let mut world = World::filled(config(engine, Metric::Euclidean, 12), 3_000, 9);
        assert!(world.index.wait_built());
        let mut numbers = Numbers(10);
        let sets: [&[u16]; 5] = [&[], &[3], &[0, 7], &[0, 1, 2, 3, 4, 5, 6], &[0, 1, 2, 3, 4, 5, 6, 7, 200]];
        for set in sets {
            let set: PartitionSet = set.iter().map(|p| PartitionId(*p)).collect();
            let mut query = world.query(numbers.vector(12), 20);
            assert!(world.search(&world.index.view(), &query, &set) >= 0.8);
            query.filter = filter(json!({"n": {"$gte": 1_500}}));
            assert!(world.search(&world.index.view(), &query, &set) >= 0.8);
            world.check(None, &set);
        }
        world.drop_partition(PartitionId(3));
        world.check(None, &all());
        let partly: PartitionSet = (0..PARTITIONS).filter(|p| *p != 3).map(PartitionId).collect();
        world.search(&world.index.view(), &world.query(numbers.vector(12), 20), &partly);
        world.check(None, &partly);
    }
}

#[test]
fn ties_are_ordered_by_id() {
    for engine in ENGINES {
        for metric in METRICS {
            let mut world = World::new(config(engine, metric, 5));
            let same = vec![0.3, -0.2, 0.9, 0.1, -0.7];
            // Positions in groups of four must not matter, so every other row differs a bit.
            let rows = (0..800_u64).map(|n| {
                let vector = if n % 3 == 0 { vec![-1.0; 5] } else { same.clone() };
                (n, json!({}), Some(vector))
            });
            world.put(rows.collect());
            assert!(world.index.wait_built());
            let mut query = world.query(same, 50);
            world.search(&world.index.view(), &query, &all());
            query.exact = true;
            let found: Vec<_> =
                world.index.view().search(&query, &all()).unwrap().into_iter().map(|h| h.id).collect();
            let mut expected: Vec<_> = (0..800).filter(|n| n % 3 != 0).map(id).collect();
            expected.sort();
            assert_eq!(found, expected[..50]);
        }
    }
}

#[test]
fn rows_without_a_vector_are_counted_but_never_found() {
    for engine in ENGINES {
        let mut world = World::new(config(engine, Metric::Cosine, 6));
        let mut numbers = Numbers(11);
        let rows =
            (0..900_u64).map(|n| (n, json!({ "odd": n % 2 == 1 }), (n % 2 == 0).then(|| numbers.vector(6))));
        world.put(rows.collect());
        assert!(world.index.wait_built());
        world.check(None, &all());
        world.check(filter(json!({"odd": true})), &all());
        for k in [10, 1_000] {
            let mut query = world.query(numbers.vector(6), k);
            world.search(&world.index.view(), &query, &all());
            query.filter = filter(json!({"odd": true}));
            assert_eq!(world.index.view().search(&query, &all()).unwrap(), []);
        }
        world.put((0..900).map(|n| (n, json!({}), None)).collect());
        let query = world.query(numbers.vector(6), 3);
        assert_eq!(world.index.view().search(&query, &all()).unwrap(), []);
    }
}

#[test]
fn hits_carry_what_was_asked_for() {
    for engine in ENGINES {
        let world = World::filled(config(engine, Metric::Euclidean, 4), 1_000, 12);
        assert!(world.index.wait_built());
        let mut query = world.query(Numbers(13).vector(4), 10);
        let plain = world.index.view().search(&query, &all()).unwrap();
        assert!(plain.iter().all(|hit| hit.metadata.is_none() && hit.vector.is_none()));
        query.include_metadata = true;
        query.max_distance = Some(plain[4].distance);
        let near = world.index.view().search(&query, &all()).unwrap();
        assert_eq!(near.len(), 5);
        for hit in &near {
            assert_eq!(hit.metadata.as_ref().unwrap().fields()["n"].to_string(), hit.id.as_str());
        }
        query.max_distance = Some(-1.0);
        assert_eq!(world.index.view().search(&query, &all()).unwrap(), []);
        query.vector = Vector::stored(vec![1.0]);
        let wrong = world.index.view().search(&query, &all());
        assert!(matches!(wrong, Err(IndexError::WrongDimension { expected: 4, found: 1 })));
    }
}

#[test]
fn an_empty_index_answers() {
    for engine in ENGINES {
        let world = World::new(config(engine, Metric::Cosine, 3));
        assert!(world.index.wait_built());
        assert_eq!(world.index.apply(Vec::new()), Vec::<bool>::new());
        world.check(None, &all());
        world.search(&world.index.view(), &world.query(vec![1.0; 3], 5), &all());
    }
}
