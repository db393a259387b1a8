//! The kernels every machine can run, and the reference for the others.

use super::Kernels;

/// Independent sums, so that a compiler can use vector instructions.
const LANES: usize = 8;

/// Plain Rust.
pub(super) const KERNELS: Kernels = Kernels {
    dot: |a, b| sum(a, b, |x, y| x * y),
    dot_of_four: |query, rows| rows.map(|row| sum(query, row, |x, y| x * y)),
    l2: |a, b| sum(a, b, |x, y| (x - y) * (x - y)),
    l2_of_four: |query, rows| rows.map(|row| sum(query, row, |x, y| (x - y) * (x - y))),
};

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    assert_eq!(a.len(), b.len(), "vectors of equal length");
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    let mut lanes = [0.0_f32; LANES];
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += term(x[lane], y[lane]);
        }
    }
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(&x, &y)| term(x, y)).sum();
    lanes.iter().sum::<f32>() + rest
}
