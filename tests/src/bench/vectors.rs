//! Vectors of other numbers, dimensions and lengths, made from the real ones.
//!
//! - **More rows** ([`grown`]): the real rows in random order, then the same again and again, each with noise of its
//!   own. A smaller set is the beginning of a larger one.
//! - **Other dimensions** ([`shaped`]): the first components of a row; or a row followed by half of a second one, a
//!   quarter of a third one and so on, at random, turned so that no component is larger than others. The second ones
//!   are of other rows, so the vectors are as spread out as their dimension says, but one row still decides.
//! - **Other lengths**: real rows have length 1, with which L2 and dot order as cosine does. [`lengthen`] gives each row a
//!   length of its own.
//!
//! Everything is made from a seed: every run measures on the same vectors.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::npy::Matrix;

/// Lengths that [`lengthen`] gives, as powers of two: from one over that to that.
const LENGTHS: f32 = 0.32;
/// How much less the next part of a longer row counts.
const NEXT_PART: f32 = 0.5;
/// Rounds of turning: after three every component has some of every other.
const TURNS: usize = 3;

/// The numbers below `count`, in random order.
pub fn shuffled(count: usize, seed: u64) -> Vec<usize> {
    let mut order: Vec<usize> = (0..count).collect();
    order.shuffle(&mut StdRng::seed_from_u64(seed));
    order
}

/// So many rows from the real ones. Repeated rows get noise whose length is about `noise` times theirs.
pub fn grown(real: &Matrix<f32>, rows: usize, noise: f32, seed: u64) -> Matrix<f32> {
    let (columns, order) = (real.columns, shuffled(real.rows(), seed));
    let mut random = StdRng::seed_from_u64(seed + 1);
    let mut data = Vec::with_capacity(rows * columns);
    for at in 0..rows {
        let row = real.row(order[at % order.len()]);
        if at < order.len() {
            data.extend_from_slice(row);
            continue;
        }
        // Uniform numbers up to `most` have the variance `most² / 3`.
        let most = noise * length(row) * (3.0 / columns as f32).sqrt();
        data.extend(row.iter().map(|x| x + random.random_range(-1.0..1.0) * most));
    }
    Matrix { columns, data }
}

/// The first `rows` of the real rows in random order, each with `columns` components.
pub fn shaped(real: &Matrix<f32>, rows: usize, columns: usize, seed: u64) -> Matrix<f32> {
    let parts = columns.div_ceil(real.columns);
    let orders: Vec<_> = (0..parts as u64).map(|part| shuffled(real.rows(), seed + part)).collect();
    let turn = (parts > 1).then(|| Turn::new(columns));
    let mut data = Vec::with_capacity(rows * columns);
    for at in 0..rows.min(real.rows()) {
        let mut row = Vec::with_capacity(parts * real.columns);
        let mut weight = 1.0;
        for order in &orders {
            row.extend(real.row(order[at]).iter().map(|x| x * weight));
            weight *= NEXT_PART;
        }
        row.truncate(columns);
        if let Some(turn) = &turn {
            turn.apply(&mut row);
        }
        data.extend(row);
    }
    Matrix { columns, data }
}

/// Gives each row a length of its own, from four fifths to five fourths of what it was.
pub fn lengthen(rows: &mut Matrix<f32>, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    for row in rows.data.chunks_mut(rows.columns) {
        let factor = random.random_range(-LENGTHS..LENGTHS).exp2();
        row.iter_mut().for_each(|x| *x *= factor);
    }
}

fn length(row: &[f32]) -> f32 {
    row.iter().map(|x| x * x).sum::<f32>().sqrt()
}

/// A rotation, always the same for one dimension: random signs, Walsh-Hadamard transforms of blocks, and a random
/// order, so that the next round mixes other components.
struct Turn {
    block: usize,
    rounds: Vec<(Vec<bool>, Vec<usize>)>,
}

impl Turn {
    fn new(columns: usize) -> Self {
        let mut random = StdRng::seed_from_u64(columns as u64);
        let round = |seed| {
            let signs = (0..columns).map(|_| random.random()).collect();
            (signs, shuffled(columns, seed))
        };
        // The largest power of two that divides it.
        let block = 1 << columns.trailing_zeros();
        Self { block, rounds: (0..TURNS as u64).map(round).collect() }
    }

    fn apply(&self, row: &mut Vec<f32>) {
        let scale = (self.block as f32).sqrt().recip();
        for (signs, order) in &self.rounds {
            row.iter_mut().zip(signs).for_each(|(x, negative)| *x *= if *negative { -scale } else { scale });
            row.chunks_mut(self.block).for_each(transform);
            *row = order.iter().map(|at| row[*at]).collect();
        }
    }
}

/// Walsh-Hadamard, in place.
fn transform(block: &mut [f32]) {
    let mut half = 1;
    while half < block.len() {
        for pair in block.chunks_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (x, y) in low.iter_mut().zip(high) {
                (*x, *y) = (*x + *y, *x - *y);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn real(rows: usize, columns: usize) -> Matrix<f32> {
        Matrix { columns, data: crate::synthetic::cloud(1, rows, columns).concat() }
    }

    fn apart(a: &[f32], b: &[f32]) -> f32 {
        length(&a.iter().zip(b).map(|(x, y)| x - y).collect::<Vec<_>>())
    }

    #[test]
    fn a_smaller_set_is_the_beginning_of_a_larger_one_and_noise_is_as_long_as_asked() {
        let real = real(50, 96);
        let (few, many) = (grown(&real, 30, 0.3, 7), grown(&real, 120, 0.3, 7));
        assert_eq!(few.data, many.data[..few.data.len()]);
        for at in 0..50 {
            let noise = apart(many.row(at), many.row(at + 50)) / length(many.row(at));
            assert!((0.2..0.4).contains(&noise), "{noise}");
        }
        assert_ne!(many.row(50), many.row(100));
    }

    #[test]
    fn turning_changes_no_distance_and_spreads_every_component() {
        let turn = Turn::new(768);
        let [a, b] = [0, 1].map(|at| crate::synthetic::cloud(3, 2, 768)[at].clone());
        let before = apart(&a, &b);
        let [a, b] = [a, b].map(|mut row| {
            turn.apply(&mut row);
            row
        });
        assert!((apart(&a, &b) - before).abs() < 1e-3 * before);
        let mut one = vec![0.0; 768];
        one[5] = 1.0;
        turn.apply(&mut one);
        assert!(one.iter().all(|x| x.abs() < 0.4), "still in one place");
    }

    #[test]
    fn shapes_have_their_dimension_and_lengths_their_range() {
        let real = real(40, 48);
        let order = shuffled(40, 5);
        assert_eq!(shaped(&real, 10, 16, 5).row(3), &real.row(order[3])[..16]);
        let mut wide = shaped(&real, 40, 96, 5);
        assert_eq!((wide.rows(), wide.columns), (40, 96));
        let before: Vec<f32> = wide.data.chunks(96).map(length).collect();
        lengthen(&mut wide, 9);
        let factors: Vec<f32> =
            wide.data.chunks(96).zip(before).map(|(row, old)| length(row) / old).collect();
        assert!(factors.iter().all(|factor| (0.79..1.26).contains(factor)), "{factors:?}");
        assert!(factors.iter().any(|f| *f < 0.9) && factors.iter().any(|f| *f > 1.1));
    }
}
