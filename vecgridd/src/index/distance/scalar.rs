//! The kernels every machine can run, and the reference for the others.

use super::{Component, Kernels, Sums};

/// Independent sums, so that a compiler can use vector instructions.
const LANES: usize = 8;

/// Plain Rust.
pub(super) const KERNELS: Kernels = Kernels { name: "scalar", f32: sums(), f16: sums(), bf16: sums() };

const fn sums<T: Component>() -> Sums<T> {
    Sums { dot: dot::<T>, dot_of_four: dot_of_four::<T>, l2: l2::<T>, l2_of_four: l2_of_four::<T> }
}

fn dot<T: Component>(query: &[f32], row: &[T]) -> f32 {
    sum(query, row, |x, y| x * y)
}

fn dot_of_four<T: Component>(query: &[f32], rows: [&[T]; 4]) -> [f32; 4] {
    rows.map(|row| dot(query, row))
}

fn l2<T: Component>(query: &[f32], row: &[T]) -> f32 {
    sum(query, row, |x, y| (x - y) * (x - y))
}

fn l2_of_four<T: Component>(query: &[f32], rows: [&[T]; 4]) -> [f32; 4] {
    rows.map(|row| l2(query, row))
}

#[inline(always)]
fn sum<T: Component>(query: &[f32], row: &[T], term: impl Fn(f32, f32) -> f32) -> f32 {
    assert_eq!(query.len(), row.len(), "vectors of equal length");
    let (query_chunks, query_rest) = query.as_chunks::<LANES>();
    let (row_chunks, row_rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in query_chunks.iter().zip(row_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(x[lane], y[lane].to_f32());
        }
    }
    let rest: f32 = query_rest.iter().zip(row_rest).map(|(x, y)| term(*x, y.to_f32())).sum();
    lanes.iter().sum::<f32>() + rest
}
