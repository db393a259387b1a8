//! What is short, and what is not. Times are estimates, so these cases are far from the border.

use serde_json::json;

use super::world::{Numbers, World, config, filter};
use crate::types::{EngineKind, Metric};

const DIMENSION: u32 = 24;

#[test]
fn a_scan_of_few_rows_is_short_and_one_of_many_is_not() {
    let few = World::filled(config(EngineKind::Flat, Metric::Cosine, DIMENSION), 500, 1);
    let query = few.query(Numbers(2).vector(DIMENSION), 10);
    assert!(few.index.view().is_short(&query));
    let many = World::filled(config(EngineKind::Flat, Metric::Cosine, DIMENSION), 20_000, 1);
    assert!(!many.index.view().is_short(&query));
}

#[test]
fn a_filter_is_never_short() {
    let world = World::filled(config(EngineKind::Flat, Metric::Cosine, DIMENSION), 10, 1);
    let mut query = world.query(Numbers(2).vector(DIMENSION), 10);
    query.filter = filter(json!({"n": 1}));
    assert!(!world.index.view().is_short(&query));
}

#[test]
fn a_narrow_walk_is_short_and_a_wide_one_is_not() {
    let world = World::filled(config(EngineKind::HnswRs, Metric::Cosine, DIMENSION), 20_000, 1);
    let mut query = world.query(Numbers(2).vector(DIMENSION), 10);
    assert!(world.index.wait_built());
    let view = world.index.view();
    assert!(view.is_short(&query));
    query.ef = Some(1_000);
    assert!(!view.is_short(&query));
    query.ef = None;
    query.exact = true;
    assert!(!view.is_short(&query));
    query.exact = false;
    query.k = 1_000;
    assert!(!view.is_short(&query));
}
