//! What the points of a graph are ranked by: one of a few forms, chosen for the collection.
//!
//! | form | `quantization` | bytes per component | a walk ranks by |
//! |---|---|---|---|
//! | upper halves of numbers | `int8`, `int4` | 1/2, and a bit | the halves (`nibbles`) |
//! | numbers | the same, short vectors | 1, and a bit | the numbers |
//! | floats | `none`, `f16`, `bf16` | 4, 2, 2 | the floats |
//!
//! What is a short vector says `frame`. Whatever the form, a rank is made
//! from a product and the record beside the bits of a code ([`Code`](super::frame::Code)), in one way; so walks and
//! builds do not know the form. It is told once per batch of points.

#![allow(unsafe_code)]

use std::io;

use half::{bf16, f16};

use super::{
    super::distance::{Component, Kernels as FloatKernels, Sums},
    arena::{Arena, Plain, Stored},
    frame::Frame,
    kernels::Kernels,
    nibbles,
};
use crate::types::Quantization;

/// The vector that points are multiplied with, in the form of their own.
#[derive(Debug, Clone, Default)]
pub(super) struct Operand {
    pub numbers: Vec<i8>,
    /// Of the numbers.
    pub sum: i32,
    pub floats: Vec<f32>,
}

/// See the module.
pub(super) enum Vectors {
    Halves(Halves),
    Numbers(Numbers),
    F32(Floats<f32>),
    F16(Floats<f16>),
    Bf16(Floats<bf16>),
}

/// Upper halves of whole numbers.
pub(super) struct Halves {
    upper: Arena<u8>,
    kernels: &'static Kernels,
}

/// Whole numbers.
pub(super) struct Numbers {
    rows: Arena<i8>,
    kernels: &'static Kernels,
}

/// Components as they are, or nearly so.
pub(super) struct Floats<T: 'static> {
    rows: Arena<T>,
    sums: &'static Sums<T>,
    /// Of differences, instead of products.
    squares: bool,
}

impl Vectors {
    pub fn new(frame: &Frame, expected: usize) -> Self {
        match frame.quantization() {
            Quantization::None => Self::F32(Floats::new(frame, expected)),
            Quantization::F16 => Self::F16(Floats::new(frame, expected)),
            Quantization::Bf16 => Self::Bf16(Floats::new(frame, expected)),
            Quantization::Int8 | Quantization::Int4 if frame.is_halved() => {
                Self::Halves(Halves::new(frame, expected))
            }
            Quantization::Int8 | Quantization::Int4 => Self::Numbers(Numbers::new(frame, expected)),
        }
    }

    /// Everything that is kept.
    pub fn arenas(&self) -> Vec<(&'static str, &dyn Stored)> {
        match self {
            Self::Halves(halves) => vec![("upper halves", &halves.upper)],
            Self::Numbers(numbers) => vec![("numbers", &numbers.rows)],
            Self::F32(floats) => vec![("floats", &floats.rows)],
            Self::F16(floats) => vec![("floats", &floats.rows)],
            Self::Bf16(floats) => vec![("floats", &floats.rows)],
        }
    }

    /// As [`arenas`](Self::arenas), to be filled.
    pub fn arenas_mut(&mut self) -> Vec<(&'static str, &mut dyn Stored)> {
        match self {
            Self::Halves(halves) => vec![("upper halves", &mut halves.upper)],
            Self::Numbers(numbers) => vec![("numbers", &mut numbers.rows)],
            Self::F32(floats) => vec![("floats", &mut floats.rows)],
            Self::F16(floats) => vec![("floats", &mut floats.rows)],
            Self::Bf16(floats) => vec![("floats", &mut floats.rows)],
        }
    }

    /// Makes room for points up to this one.
    pub fn reserve(&self, slot: u32) -> io::Result<()> {
        self.arenas().iter().try_for_each(|(_, arena)| arena.reserve(slot))
    }

    /// Writes a point for which room was made.
    ///
    /// # Safety
    /// Once per point, and before its slot is given to anyone who reads it.
    pub unsafe fn fill(&self, slot: u32, own: &Operand) {
        // SAFETY: the caller's promise, for all of these.
        unsafe {
            match self {
                Self::Halves(halves) => halves.upper.fill(slot, &nibbles::pack(&own.numbers)),
                Self::Numbers(numbers) => numbers.rows.fill(slot, &own.numbers),
                Self::F32(floats) => floats.fill(slot, own),
                Self::F16(floats) => floats.fill(slot, own),
                Self::Bf16(floats) => floats.fill(slot, own),
            }
        }
    }

    /// Products with up to `N` points.
    #[inline(always)]
    pub fn products<const N: usize>(&self, operand: &Operand, slots: &[u32]) -> [f32; N] {
        match self {
            Self::Halves(halves) => halves.products(operand, slots),
            Self::Numbers(numbers) => numbers.products(operand, slots),
            Self::F32(floats) => floats.products(operand, slots),
            Self::F16(floats) => floats.products(operand, slots),
            Self::Bf16(floats) => floats.products(operand, slots),
        }
    }

    /// The point as what others are multiplied with, as precise as what a walk ranks by; but for the sum.
    #[inline]
    pub fn take(&self, slot: u32, operand: &mut Operand) {
        match self {
            Self::Halves(halves) => nibbles::middles(halves.upper.get(slot), &mut operand.numbers),
            Self::Numbers(numbers) => {
                operand.numbers.clear();
                operand.numbers.extend_from_slice(numbers.rows.get(slot));
            }
            Self::F32(floats) => floats.take(slot, &mut operand.floats),
            Self::F16(floats) => floats.take(slot, &mut operand.floats),
            Self::Bf16(floats) => floats.take(slot, &mut operand.floats),
        }
    }

    /// Asks for what [`products`](Self::products) reads.
    #[inline(always)]
    pub fn prefetch(&self, slots: &[u32]) {
        match self {
            Self::Halves(halves) => slots.iter().for_each(|slot| halves.upper.prefetch(*slot)),
            Self::Numbers(numbers) => slots.iter().for_each(|slot| numbers.rows.prefetch(*slot)),
            Self::F32(floats) => floats.prefetch(slots),
            Self::F16(floats) => floats.prefetch(slots),
            Self::Bf16(floats) => floats.prefetch(slots),
        }
    }

    /// The upper halves of a point's numbers, where these are kept.
    pub fn upper(&self, slot: u32) -> &[u8] {
        match self {
            Self::Halves(halves) => halves.upper.get(slot),
            Self::Numbers(_) | Self::F32(_) | Self::F16(_) | Self::Bf16(_) => &[],
        }
    }
}

impl Halves {
    fn new(frame: &Frame, expected: usize) -> Self {
        let upper = Arena::new(nibbles::bytes(frame.length()), expected);
        Self { upper, kernels: Kernels::detect() }
    }

    #[inline(always)]
    fn products<const N: usize>(&self, operand: &Operand, slots: &[u32]) -> [f32; N] {
        let (mut dots, mut products) = ([0; N], [0.0; N]);
        (self.kernels.dots)(&operand.numbers, &self.upper, slots, &mut dots);
        let coarse = |dot| nibbles::coarse(dot, operand.sum) as f32;
        products.iter_mut().zip(dots).for_each(|(product, dot)| *product = coarse(dot));
        products
    }
}

impl Numbers {
    fn new(frame: &Frame, expected: usize) -> Self {
        Self { rows: Arena::new(frame.length(), expected), kernels: Kernels::detect() }
    }

    #[inline(always)]
    fn products<const N: usize>(&self, operand: &Operand, slots: &[u32]) -> [f32; N] {
        let (mut dots, mut products) = ([0; N], [0.0; N]);
        (self.kernels.whole_dots)(&operand.numbers, &self.rows, slots, &mut dots);
        products.iter_mut().zip(dots).for_each(|(product, dot)| *product = dot as f32);
        products
    }
}

impl<T: Component + Plain> Floats<T> {
    fn new(frame: &Frame, expected: usize) -> Self {
        Self {
            rows: Arena::new(frame.centre().len(), expected),
            sums: T::sums(FloatKernels::detect()),
            squares: frame.ranks_by_squares(),
        }
    }

    /// # Safety
    /// As for [`Vectors::fill`].
    unsafe fn fill(&self, slot: u32, own: &Operand) {
        let row: Vec<T> = own.floats.iter().map(|x| T::of(*x)).collect();
        // SAFETY: the caller's promise.
        unsafe { self.rows.fill(slot, &row) };
    }

    // Not into walks of numbers: these are the ones that must be small.
    #[inline(never)]
    fn products<const N: usize>(&self, operand: &Operand, slots: &[u32]) -> [f32; N] {
        let (one, four) = match self.squares {
            true => (self.sums.l2, self.sums.l2_of_four),
            false => (self.sums.dot, self.sums.dot_of_four),
        };
        let query = &operand.floats;
        let mut products = [0.0; N];
        let (fours, rest) = slots.as_chunks::<4>();
        let (first, last) = products.split_at_mut(4 * fours.len());
        for (slots, products) in fours.iter().zip(first.as_chunks_mut::<4>().0) {
            *products = four(query, slots.map(|slot| self.rows.get(slot)));
        }
        for (slot, product) in rest.iter().zip(last) {
            *product = one(query, self.rows.get(*slot));
        }
        products
    }

    #[inline(never)]
    fn prefetch(&self, slots: &[u32]) {
        slots.iter().for_each(|slot| self.rows.prefetch(*slot));
    }

    fn take(&self, slot: u32, floats: &mut Vec<f32>) {
        T::widen(self.rows.get(slot), floats);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{
        super::{
            frame::{Code, Encoded},
            kernels::BATCH,
        },
        *,
    };
    use crate::types::Metric;

    fn vector(dimension: usize) -> impl Strategy<Value = Vec<f32>> {
        prop::collection::vec(
            prop_oneof![8 => -1_f32..1.0, 1 => Just(0.0_f32), 1 => -30_f32..30.0],
            dimension,
        )
    }

    /// Vectors of one length: the centre, a query, and rows.
    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>, Vec<Vec<f32>>)> {
        prop_oneof![1_usize..80, 250_usize..400].prop_flat_map(|dimension| {
            (vector(dimension), vector(dimension), prop::collection::vec(vector(dimension), 1..BATCH))
        })
    }

    fn kept(frame: &Frame, rows: &[Vec<f32>]) -> (Vectors, Vec<Encoded>) {
        let (vectors, encoded) = (Vectors::new(frame, 0), rows.iter().map(|row| frame.encode(row)));
        let encoded: Vec<_> = encoded.collect();
        for (slot, row) in (0..).zip(&encoded) {
            vectors.reserve(slot).unwrap();
            // SAFETY: nobody reads yet.
            unsafe { vectors.fill(slot, &row.own) };
        }
        (vectors, encoded)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Between rows, as exact ones are, up to what the form rounds; the same from both sides, to the last bit.
        #[test]
        fn ranks_are_those_of_the_vectors(
            (centre, query, rows) in vectors(), quantization in prop::sample::select(&Quantization::ALL[..]),
            metric in prop::sample::select(&[Metric::Cosine, Metric::Euclidean, Metric::Dot][..]), length in -12_i32..12,
        ) {
            let by = |vector: &[f32]| vector.iter().map(|x| x * 10_f32.powi(length)).collect::<Vec<_>>();
            let (centre, query) = (by(&centre), by(&query));
            let rows: Vec<_> = rows.iter().map(|row| by(row)).collect();
            let frame = Frame::new(metric, quantization, &centre);
            let (vectors, encoded) = kept(&frame, &rows);
            let slots: Vec<u32> = (0..rows.len() as u32).collect();
            vectors.prefetch(&slots);
            let prepared = frame.query(&query);
            let products: [f32; BATCH] = vectors.products(&prepared.own, &slots);
            let exact = |row: &[f32]| {
                let pairs = row.iter().zip(&query).map(|(x, q)| (f64::from(*x), f64::from(*q)));
                match metric {
                    Metric::Euclidean => pairs.map(|(x, q)| (x - q).powi(2)).sum::<f64>(),
                    Metric::Cosine | Metric::Dot => pairs.map(|(x, q)| -x * q).sum(),
                }
            };
            let norm = |vector: &[f32]| {
                vector.iter().zip(&centre).map(|(x, c)| f64::from(x - c).powi(2)).sum::<f64>().sqrt()
            };
            let size = |vector: &[f32]| vector.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
            // Of a product of two vectors, at most, as a part of their lengths.
            let off = match quantization {
                Quantization::None => 2e-6,
                Quantization::F16 => 1e-3,
                Quantization::Bf16 => 8e-3,
                Quantization::Int4 if frame.is_halved() => 0.5,
                Quantization::Int8 if frame.is_halved() => 0.5,
                Quantization::Int8 | Quantization::Int4 => 0.2,
            };
            let rank = |at: usize| {
                f64::from(prepared.rank(Code(&encoded[at].code), products[at]))
            };
            // What a row's rounding is multiplied with: the query, or the way to it where `|x|²` is of the rounded row.
            let reach = |row: &[f32]| match (metric, quantization) {
                (Metric::Euclidean, Quantization::F16 | Quantization::Bf16) => exact(row).sqrt(),
                _ => norm(&query),
            };
            let rounding = |at: usize| reach(&rows[at]) * norm(&rows[at]);
            for at in 0..rows.len() {
                let wanted = exact(&rows[at]) - exact(&rows[0]);
                let bound = 2.0 * off * (rounding(at) + rounding(0))
                    + 4e-6 * (size(&rows[at]) + size(&rows[0]) + size(&centre) + size(&query)).powi(2);
                prop_assert!((rank(at) - rank(0) - wanted).abs() <= bound, "{} {} {}", rank(at) - rank(0), wanted, bound);
            }
            let mut own = Operand::default();
            let mut mutual = |a: usize, b: usize| {
                vectors.take(a as u32, &mut own);
                own.sum = Code(&encoded[a].code).sum();
                let [product] = vectors.products(&own, &[b as u32]);
                frame.mutual(Code(&encoded[a].code), Code(&encoded[b].code), product).to_bits()
            };
            for at in 0..rows.len() {
                prop_assert_eq!(mutual(0, at), mutual(at, 0));
            }
        }
    }
}
