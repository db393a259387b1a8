//! What a graph keeps of vectors: where that shows, and where it must not.
//!
//! Long vectors, since the upper halves of numbers lead a walk from 193 components on only.

use serde_json::json;

use super::{
    super::PartitionSet,
    world::{Made, Numbers, PARTITIONS, World, config, filter},
};
use crate::types::{EngineKind, Metric, Quantization, VectorPlace};

const DIMENSION: u32 = 257;
const ROWS: u64 = 2_000;

fn all() -> PartitionSet {
    PartitionSet::all(PARTITIONS)
}

fn native(quantization: Quantization) -> Made {
    Made(EngineKind::Native, quantization)
}

fn is_coded(quantization: Quantization) -> bool {
    matches!(quantization, Quantization::Int8 | Quantization::Int4)
}

fn built(quantization: Quantization, metric: Metric) -> World {
    built_beside(VectorPlace::Memory, quantization, metric)
}

fn built_beside(vectors: VectorPlace, quantization: Quantization, metric: Metric) -> World {
    let mut config = config(native(quantization), metric, DIMENSION);
    config.index.vectors = vectors;
    // In so many dimensions all rows of a centre are about as far from each other.
    config.index.ef = Some(40);
    let world = World::filled(config, ROWS, 81);
    assert!(world.index.wait_built());
    world
}

#[test]
fn every_quantization_finds_nearly_all_near_rows_by_every_metric() {
    for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
        for quantization in Quantization::ALL {
            let world = built(quantization, metric);
            let query = world.query(Numbers(5).vector(DIMENSION), 10);
            assert!(world.index.view().is_walked(&query, &all()));
            let recall = world.recall(60, 10);
            // A code rules some rows out wrongly; without codes a walk is as good as its graph.
            let least = if is_coded(quantization) { 0.93 } else { 0.99 };
            assert!(recall >= least, "{quantization:?} {metric:?}: {recall}");
        }
    }
}

/// Ranks of four bits are coarse: more rows are ranked again, so that the answers are not.
#[test]
fn what_is_coarse_is_ranked_again() {
    let reranked = |quantization| {
        let world = built_beside(VectorPlace::Disk, quantization, Metric::Cosine);
        let mut numbers = Numbers(82);
        let one = |_| {
            let query = world.query(numbers.vector(DIMENSION), 10);
            world.index.view().search_explained(&query, &all()).unwrap().1.reranked
        };
        (0..50).map(one).sum::<u64>()
    };
    let [int8, int4, f16, bf16, none] = Quantization::ALL.map(reranked);
    // The same, but that the margin of a walk (`reach`) is measured again and again while rows come.
    assert!(int8.abs_diff(int4) <= int4 / 10, "{int8} {int4}");
    assert!(int4 > bf16 && bf16 >= f16 && f16 >= none, "{int4} {bf16} {f16} {none}");
    assert!((500..=510).contains(&none), "{none}");
}

#[test]
fn the_memory_of_a_graph_is_that_of_its_numbers() {
    let bytes = |vectors, quantization| {
        built_beside(vectors, quantization, Metric::Cosine).index.stats().bytes.links / ROWS
    };
    let all = Quantization::ALL.map(|kind| bytes(VectorPlace::Disk, kind));
    assert_eq!(all, Quantization::ALL.map(|kind| bytes(VectorPlace::Memory, kind)));
    let [int8, int4, f16, bf16, none] = all;
    let (length, dimension) = (320, u64::from(DIMENSION));
    assert_eq!((int8, f16, none - f16), (int4, bf16, 2 * dimension));
    // Codes and upper halves of numbers, against floats.
    assert_eq!(none + length / 8 + length / 2, int4 + 4 * dimension);
}

#[test]
fn filters_deletes_and_new_rows_are_served_by_every_quantization() {
    for quantization in Quantization::ALL {
        let mut world = built(quantization, Metric::Euclidean);
        let mut numbers = Numbers(83);
        for below in [3, 40, 500, 1_900] {
            let mut query = world.query(numbers.vector(DIMENSION), 10);
            query.filter = filter(json!({"n": {"$lt": below}}));
            let recall = world.search(&world.index.view(), &query, &all());
            assert!(recall >= 0.8, "{quantization:?} {below}: {recall}");
        }
        world.delete((0..ROWS).filter(|n| n % 3 == 0));
        world.put((0..500).map(|n| (n, json!({"n": n}), Some(numbers.vector(DIMENSION)))).collect());
        assert!(world.recall(10, 10) >= 0.9, "{quantization:?}");
        assert!(world.index.wait_built());
        world.check(filter(json!({"n": {"$lt": 700}})), &all());
        assert!(world.recall(30, 10) >= 0.95, "{quantization:?}");
    }
}

/// The centre is from the first rows. Later ones are elsewhere, by as much as they differ, and each has a component that
/// is larger than all others together. Such rows are hard to find, so what is kept is held against full components.
#[test]
fn scales_survive_outliers_and_data_that_drifts() {
    let vector = |numbers: &mut Numbers, drift: f32| {
        let mut vector = numbers.vector(DIMENSION);
        vector.iter_mut().for_each(|x| *x += drift);
        vector[numbers.below(u64::from(DIMENSION)) as usize] += 10.0;
        vector
    };
    let recall = |metric, quantization| {
        let mut world = World::new(config(native(quantization), metric, DIMENSION));
        let mut numbers = Numbers(84);
        for batch in 0..8_u8 {
            let drift = if batch == 0 { 0.0 } else { 0.5 };
            let number = |n| 250 * u64::from(batch) + n;
            world.put((0..250).map(|n| (number(n), json!({}), Some(vector(&mut numbers, drift)))).collect());
            assert!(world.index.wait_built());
        }
        let view = world.index.view();
        let mut one = |_| {
            let mut query = world.query(vector(&mut numbers, 0.5), 10);
            // Much wider, and full components would be scanned.
            query.ef = Some(80);
            assert!(view.is_walked(&query, &all()));
            world.search(&view, &query, &all())
        };
        (0..40).map(&mut one).sum::<f64>() / 40.0
    };
    for metric in [Metric::Cosine, Metric::Euclidean] {
        let full = recall(metric, Quantization::None);
        for quantization in Quantization::ALL {
            let recall = recall(metric, quantization);
            eprintln!("{quantization:?} {metric:?}: {recall}, of full components {full}");
            assert!(
                recall >= full - 0.08,
                "{quantization:?} {metric:?}: {recall}, of full components {full}"
            );
        }
    }
}
