//! A random rotation, to make any vectors look alike.
//!
//! After a random rotation the components of a vector are spread as a normal distribution spreads
//! them, whatever the vector was: no component is an outlier, so one scale per vector and even one
//! bit per component say much. Lengths and dot products stay as they are.
//!
//! A true random rotation costs one multiplication per pair of components. Instead: four rounds of
//! random signs and a Walsh-Hadamard transform, over the first and the last 2^n components in turn,
//! so that any length will do (the "FhtKac" rotation of the RaBitQ library, Gao et al. 2024).

use super::super::draw::splitmix64;

const ROUNDS: usize = 4;
/// Components that are mixed with straight-line code.
const LANES: usize = 8;

/// A rotation of vectors of one length.
pub(super) struct Rotation {
    /// Of each round, one after the other: 1 or -1.
    signs: Vec<f32>,
    length: usize,
    /// Components of one transform.
    window: usize,
}

impl Rotation {
    /// The same for the same length, always. Lengths are multiples of 64.
    pub fn new(length: usize) -> Self {
        assert!(length.is_multiple_of(64) && length > 0, "whole blocks of 64 components");
        let window = 1 << length.ilog2();
        let mut state = length as u64;
        let signs = (0..ROUNDS * length).map(|_| if splitmix64(&mut state) >> 63 == 0 { 1.0 } else { -1.0 });
        Self { signs: signs.collect(), length, window }
    }

    /// Components of a vector.
    pub fn length(&self) -> usize {
        self.length
    }

    /// Rotates a vector.
    #[inline(always)]
    pub fn apply(&self, vector: &mut [f32]) {
        for (round, signs) in self.signs.chunks_exact(self.length).enumerate() {
            for (x, sign) in vector.iter_mut().zip(signs) {
                *x *= sign;
            }
            let from = if round % 2 == 0 { 0 } else { self.length - self.window };
            transform(&mut vector[from..from + self.window]);
        }
    }
}

/// The Walsh-Hadamard transform, scaled to keep lengths.
#[inline(always)]
fn transform(vector: &mut [f32]) {
    let scale = 1.0 / (vector.len() as f32).sqrt();
    for lanes in vector.chunks_exact_mut(LANES) {
        let x: [f32; LANES] = std::array::from_fn(|at| lanes[at] * scale);
        let y = [
            x[0] + x[4],
            x[1] + x[5],
            x[2] + x[6],
            x[3] + x[7],
            x[0] - x[4],
            x[1] - x[5],
            x[2] - x[6],
            x[3] - x[7],
        ];
        let z = [
            y[0] + y[2],
            y[1] + y[3],
            y[0] - y[2],
            y[1] - y[3],
            y[4] + y[6],
            y[5] + y[7],
            y[4] - y[6],
            y[5] - y[7],
        ];
        lanes.copy_from_slice(&[
            z[0] + z[1],
            z[0] - z[1],
            z[2] + z[3],
            z[2] - z[3],
            z[4] + z[5],
            z[4] - z[5],
            z[6] + z[7],
            z[6] - z[7],
        ]);
    }
    let mut half = LANES;
    while half < vector.len() {
        for pair in vector.chunks_exact_mut(2 * half) {
            let (left, right) = pair.split_at_mut(half);
            for (a, b) in left.iter_mut().zip(right) {
                (*a, *b) = (*a + *b, *a - *b);
            }
        }
        half *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(a: &[f32], b: &[f32]) -> f64 {
        a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
    }

    #[test]
    fn dot_products_stay() {
        let mut state = 1;
        for length in [64, 128, 192, 384, 1_536] {
            let rotation = Rotation::new(length);
            let mut vector =
                || -> Vec<f32> { (0..length).map(|_| (splitmix64(&mut state) >> 40) as f32 - 8e6).collect() };
            let (a, b) = (vector(), vector());
            let (mut c, mut d) = (a.clone(), b.clone());
            rotation.apply(&mut c);
            rotation.apply(&mut d);
            let lengths = (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!((dot(&a, &b) - dot(&c, &d)).abs() < 1e-5 * lengths);
            assert!((dot(&a, &a) - dot(&c, &c)).abs() < 1e-5 * dot(&a, &a));
        }
    }

    #[test]
    fn one_large_component_is_spread_over_all() {
        for length in [64, 192, 384, 768] {
            for at in [0, 1, length / 2, length - 1] {
                let mut vector = vec![0.0; length];
                vector[at] = 1.0;
                Rotation::new(length).apply(&mut vector);
                let largest = vector.iter().fold(0_f32, |largest, x| largest.max(x.abs()));
                assert!(largest < 6.0 / (length as f32).sqrt(), "{length}: {largest}");
            }
        }
    }
}
