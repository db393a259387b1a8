//! Links that come from another index.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use serde_json::json;

use super::{
    super::{
        Change, CollectionIndex, Donor, Gift, GraphLinks, LinksPart, PartitionSet,
        collection_index::Surroundings, donor::Elsewhere,
    },
    world::{ENGINES, Made, Numbers, PARTITIONS, World, config, limits},
};
use crate::types::{CollectionId, EngineKind, Entry, Metadata, Metric, Quantization, Vector};

const DIMENSION: u32 = 24;

/// Gives the same links to whoever asks.
struct Gives(GraphLinks);

impl Donor for Gives {
    fn ask(&self, _: CollectionId, _: u64) -> Option<GraphLinks> {
        Some(self.0.clone())
    }
}

fn links_of(index: &CollectionIndex) -> GraphLinks {
    let mut links = GraphLinks::default();
    let mut gift = Gift::of(index.view()).unwrap();
    assert_eq!(gift.rows(), index.stats().indexed);
    assert!(gift.all(|part| links.push(part)));
    links
}

/// An index with the same rows, that came in another order and all at once, and that may ask for these links.
fn copy_of(world: &World, made: Made, links: GraphLinks) -> World {
    let config = config(made, Metric::Cosine, DIMENSION);
    let donor = Arc::new(OnceLock::from(Arc::new(Gives(links)) as Arc<dyn Donor>));
    let elsewhere = Some(Elsewhere::new(CollectionId(1), donor));
    let index = CollectionIndex::within(&config, limits(), Surroundings { store: None, elsewhere }).unwrap();
    let put = |(id, row): (_, &super::world::Row)| {
        let vector = row.vector.clone().map(|v| Vector::new(v, DIMENSION as usize, Metric::Cosine).unwrap());
        let metadata = Metadata::new(row.fields.clone()).unwrap();
        let entry = Entry { id, vector, metadata };
        Change::Put { partition: row.partition, entry, version: row.version }
    };
    index.apply(world.rows.iter().map(|(id, row)| put((id.clone(), row))).collect());
    let mut copy = World::new(config);
    (copy.index, copy.rows) = (Arc::new(index), world.rows.clone());
    copy
}

#[test]
fn a_copy_that_takes_over_links_finds_as_much_whatever_it_keeps_of_vectors() {
    let made = Made(EngineKind::Native, Quantization::Int8);
    let mut world = World::filled(config(made, Metric::Cosine, DIMENSION), 3_000, 9);
    world.delete((0..200).map(|n| n * 14));
    assert!(world.index.wait_built());
    let recall = world.recall(100, 10);
    for made in ENGINES {
        let copy = copy_of(&world, made, links_of(&world.index));
        assert!(copy.index.wait_built());
        let stats = copy.index.stats();
        let adopts = u64::from(made == EngineKind::Native);
        let has_graph = made != EngineKind::Flat;
        assert_eq!((stats.adopted, stats.indexed), (adopts, if has_graph { 2_800 } else { 0 }), "{made:?}");
        copy.check(None, &PartitionSet::all(PARTITIONS));
        let found = copy.recall(100, 10);
        assert!(found > recall - 0.02, "{made:?}: {found} instead of {recall}");
    }
}

#[test]
fn what_the_other_lacks_or_has_in_another_version_is_linked_here() {
    let made = Made(EngineKind::Native, Quantization::Int8);
    let mut world = World::filled(config(made, Metric::Cosine, DIMENSION), 3_000, 9);
    assert!(world.index.wait_built());
    let links = links_of(&world.index);
    let mut numbers = Numbers(77);
    let new = (2_900..3_200).map(|n| (n, json!({ "n": n }), Some(numbers.vector(DIMENSION)))).collect();
    world.put(new);
    world.delete(0..100);
    assert!(world.index.wait_built());
    let mut copy = copy_of(&world, made, links);
    assert!(copy.index.wait_built());
    let stats = copy.index.stats();
    assert_eq!((stats.adopted, stats.indexed), (1, 3_100));
    assert!(copy.recall(100, 10) > world.recall(100, 10) - 0.02);
    // It is a graph as any other.
    copy.delete((100..3_000).step_by(2));
    copy.put((0..500).map(|n| (n, json!({}), Some(numbers.vector(DIMENSION)))).collect());
    assert!(copy.index.wait_built());
    copy.check(None, &PartitionSet::all(PARTITIONS));
    assert!(copy.recall(100, 10) > 0.9);
}

/// Some slots, of rows that are here and others.
fn part(points: Vec<u64>) -> impl Strategy<Value = LinksPart> {
    let one = (prop::sample::select(points), prop::collection::vec(0_u32..700, 0..40));
    prop::collection::vec(one, 1..600).prop_map(|slots| {
        let counts = slots.iter().map(|(_, links)| links.len() as u32).collect();
        let (points, links): (Vec<_>, Vec<_>) = slots.into_iter().unzip();
        LinksPart { points, counts, links: links.concat() }
    })
}

#[test]
fn no_links_make_answers_wrong_or_short() {
    let made = Made(EngineKind::Native, Quantization::Int8);
    let world = World::filled(config(made, Metric::Cosine, DIMENSION), 1_200, 5);
    assert!(world.index.wait_built());
    let mut points: Vec<u64> = Gift::of(world.index.view()).unwrap().flat_map(|part| part.points).collect();
    points.extend([0, 1, u64::MAX]);
    let config = ProptestConfig::with_cases(24);
    proptest!(config, |(part in part(points))| {
        let mut links = GraphLinks::default();
        prop_assert!(links.push(part));
        let copy = copy_of(&world, made, links);
        prop_assert!(copy.index.wait_built());
        let stats = copy.index.stats();
        prop_assert_eq!((stats.adopted, stats.indexed, stats.build_failures), (1, 1_200, 0));
        copy.check(None, &PartitionSet::all(PARTITIONS));
        // Searches hold every answer against the rows.
        copy.recall(5, 10);
    });
}
