//! Vectors in few bytes: 1 bit per component to rule most candidates out, and 4 bits to rank the others.
//!
//! A vector is moved by the centre of the collection, rotated, and divided by a scale of its own:
//! whole numbers from -127 to 127. Its code is their signs. Of the numbers the upper halves are kept (`nibbles`): half the
//! memory, and the same recall; of short vectors the numbers. Scales per vector and the rotation make
//! this indifferent to outliers, and to data that drifts away from what the centre was taken from:
//! ranks stay right, they only get coarser.
//!
//! With `q` the query and `x` a row, both moved and rotated, `p` the prepared ones as stored, `c` the
//! centre: `p·p' = q·x + p·c + p'·c - c·c` and `|p - p'|² = |q - x|²`. What depends on the query
//! alone changes no order, so all that a rank needs is `q·x` and one number per row:
//!
//! | metric | rank | `offset` | `factor` |
//! |---|---|---|---|
//! | cosine, dot | `-q·x - p'·c` | `-p'·c` | 1 |
//! | euclidean | `|x|² - 2 q·x` | `|x|²` | 2 |
//! | euclidean, `none` | `|p - p'|²` | 0 | -1 |
//!
//! **8 bits**: `q·x ≈ scale(q) scale(x) Σ qᵢxᵢ` over the whole numbers. **4 bits**: the same, with the middle
//! of the sixteen numbers that share their upper half for `xᵢ`; short vectors are always ranked by 8.
//!
//! **1 bit** (RaBitQ, Gao and Long, SIGMOD 2024): `q·x ≈ reach(x) Σ sign(xᵢ) qᵢ` with
//! `reach = |x|² / Σ|xᵢ|`, unbiased because the rotation is random, with an error of about
//! `|q| reach √(1 - a²)`, `a = Σ|xᵢ| / (√n |x|)`, which is near `√(2/π)` for all rotated vectors. The
//! query has 2 bits here, the levels ±1 and ±3 times half its mean length per component: two planes of
//! bits. That adds a tenth to the error and halves the work against 4 bits.
//!
//! **Floats** (`vectors`) are not rotated, and have no code but the record of numbers behind it. `f16` and `bf16` are
//! moved, and divided by a power of two, so that a vector of any length is as precise as any other; under euclidean
//! `|x|²` is that of the row as it is kept: then what rounding does is small beside the distance, not beside `|x|²`.
//! With `none` vectors stay as they are, and ranks are those of the distances: there squares of differences take the
//! place of products.

use half::{bf16, f16};

use super::{
    super::distance::Component,
    kernels::{self, Wide},
    nibbles,
    rotation::Rotation,
    vectors::Operand,
};
use crate::types::{Metric, Quantization};

/// Largest whole number.
const MOST: f32 = 127.0;
/// Errors of the 1-bit estimate, as a multiple of `|q| reach`: `√(1 - 2/π)`.
const SPREAD: f32 = 0.6;
/// How many errors a code may be off and still not rule its row out, at least. Measured on 115,659 text
/// embeddings (384-d): beyond 0.4 the recall no longer rises at any ef, only the work does.
const LEAST_DOUBT: f32 = 0.4;
/// The same times components: errors are larger in shorter codes (0.8 at 192 components, decision 33).
const DOUBT: f32 = 153.6;
/// How many where all rows are far away.
const FAR_DOUBT: f32 = 1.6;
/// Below so many components, padded, there are no codes: they say too little, and reading the numbers costs too little.
const MIN_CODED: usize = 128;
/// Below so many components, padded, walks do not look at codes: only sifts, which read many of them in a row.
const MIN_WALKED: usize = 192;
/// Below so many components the upper halves of the numbers are too coarse to lead a walk (their error
/// shrinks with the root of the dimension: at 24 components the recall fell from 0.99 to 0.84), and reading
/// whole numbers costs little.
const MIN_HALVED: usize = 256;
/// Deviation of a kept component from what it stands for, as a part of it, at most: rounded to 11 and to 8 bits.
const ROUNDED: [f32; 2] = [1.0 / 2048.0 / SQRT_3, 1.0 / 256.0 / SQRT_3];
const SQRT_3: f32 = 1.732_050_8;
/// The bits of an `f32` that say which power of two it has.
const EXPONENT: u32 = 0x7f80_0000;
/// Words of a code besides the bits.
pub(super) const EXTRA_WORDS: usize = 2;

/// How the vectors of one graph are compressed.
pub(super) struct Frame {
    metric: Metric,
    quantization: Quantization,
    /// `None`: floats are kept, and stay as they are.
    rotation: Option<Rotation>,
    centre: Vec<f32>,
    /// Of `q·x` in a rank.
    factor: f32,
}

/// A compressed vector.
pub(super) struct Encoded {
    /// Numbers or floats; without the sum.
    pub own: Operand,
    /// As in [`Code`].
    pub code: Vec<u64>,
}

/// What is kept per row beside the numbers: one record, for one cache line at 384 components.
#[derive(Clone, Copy)]
pub(super) struct Code<'a>(pub &'a [u64]);

impl Code<'_> {
    fn extra(&self, at: usize) -> (u32, u32) {
        let word = self.0[self.0.len() - EXTRA_WORDS + at];
        (word as u32, (word >> 32) as u32)
    }

    /// The part of a rank that does not depend on the query.
    pub fn offset(&self) -> f32 {
        f32::from_bits(self.extra(0).0)
    }

    /// Real per whole number.
    pub fn scale(&self) -> f32 {
        f32::from_bits(self.extra(0).1)
    }

    /// Dot product per agreement of signs.
    pub fn reach(&self) -> f32 {
        f32::from_bits(self.extra(1).0)
    }

    /// Of the middles of the row's numbers: what products with upper halves are made from.
    pub fn sum(&self) -> i32 {
        self.extra(1).1.cast_signed()
    }
}

fn word(low: u32, high: u32) -> u64 {
    u64::from(low) | u64::from(high) << 32
}

/// What rows are ranked against: a query, or a row that is being linked.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    /// The query itself.
    pub(super) own: Operand,
    /// Two planes of bits.
    pub(super) planes: Vec<u64>,
    /// Per word of upper halves: the eight numbers that go with its lower four bits each, and those with the upper four.
    /// Only of one that sifts what is gathered.
    pub(super) pairs: Vec<[u64; 2]>,
    /// Rank per product of whole numbers, but for the row's scale.
    per_product: f32,
    /// Rank per agreement, but for the row's reach.
    pub(super) per_agreement: f32,
    /// Agreements that a row may lack and not be ruled out.
    pub(super) doubt: f32,
    /// Of the whole numbers.
    square: f32,
}

impl Query {
    /// The rank of a row from its product with this.
    #[inline]
    pub(super) fn rank(&self, row: Code<'_>, product: f32) -> f32 {
        self.rank_of(row.offset(), row.scale(), product)
    }

    /// The same from a row's offset and scale.
    #[inline(always)]
    pub(super) fn rank_of(&self, offset: f32, scale: f32, product: f32) -> f32 {
        offset - self.per_product * scale * product
    }

    /// How far apart two ranks may be and still be in the wrong order, for rows about as long as this one:
    /// three standard deviations of what rounding does. `whole` when they are of whole numbers.
    pub(super) fn slack(&self, row: Code<'_>, whole: bool) -> f32 {
        // The variance of a product of rounded numbers is a twelfth of the squares of both sides, times
        // the square of the step; those of the row are about those of the query.
        let squares_of_steps = if whole { 2.0 } else { 1.0 + nibbles::STEP * nibbles::STEP };
        let deviation = (squares_of_steps * self.square / 12.0).sqrt();
        3.0 * std::f32::consts::SQRT_2 * deviation * self.per_product * row.scale()
    }

    /// Makes the pairs of words.
    pub(super) fn pair(&mut self) {
        let word = |numbers: &[i8; 8]| u64::from_le_bytes(numbers.map(i8::cast_unsigned));
        let blocks = self.own.numbers.chunks(nibbles::BLOCK).map(|block| block.split_at(block.len() / 2));
        let pairs = blocks.flat_map(|(first, last)| first.as_chunks().0.iter().zip(last.as_chunks().0));
        self.pairs.clear();
        self.pairs.extend(pairs.map(|(first, last)| [word(first), word(last)]));
    }

    /// For rows of offset 0 and scale 1 the rank is the product.
    #[cfg(test)]
    pub(super) fn of_numbers(numbers: Vec<i8>) -> Self {
        let sum = numbers.iter().map(|x| i32::from(*x)).sum();
        let own = Operand { numbers, sum, ..Operand::default() };
        let mut query = Self { own, per_product: -1.0, ..Self::default() };
        query.pair();
        query
    }

    /// For rows of offset 0 and reach 1 the least rank is the agreement.
    #[cfg(test)]
    pub(super) fn of_planes(planes: Vec<u64>) -> Self {
        Self { planes, per_agreement: -1.0, ..Self::default() }
    }

    /// The lowest rank that a row with so much agreement is thought to have.
    #[inline(always)]
    pub(super) fn least_rank(&self, row: Code<'_>, agreement: i32) -> f32 {
        self.least(row.offset(), row.reach(), agreement)
    }

    /// The same of a row's offset and reach.
    #[inline(always)]
    pub(super) fn least(&self, offset: f32, reach: f32, agreement: i32) -> f32 {
        offset - self.per_agreement * reach * (agreement as f32 + self.doubt)
    }
}

impl Frame {
    /// `centre` is in the form of [`Measure::prepare`](super::super::distance::Measure::prepare).
    pub fn new(metric: Metric, quantization: Quantization, centre: &[f32]) -> Self {
        let numbers = matches!(quantization, Quantization::Int8 | Quantization::Int4);
        let rotation = numbers.then(|| Rotation::new(centre.len().next_multiple_of(64)));
        let factor = match (metric, quantization) {
            (Metric::Euclidean, Quantization::None) => -1.0,
            (Metric::Euclidean, _) => 2.0,
            (Metric::Cosine | Metric::Dot, _) => 1.0,
        };
        Self { metric, quantization, rotation, centre: centre.to_vec(), factor }
    }

    pub fn quantization(&self) -> Quantization {
        self.quantization
    }

    pub fn centre(&self) -> &[f32] {
        &self.centre
    }

    /// Whole numbers per vector: a multiple of 64; none where floats are kept.
    pub fn length(&self) -> usize {
        self.rotation.as_ref().map_or(0, Rotation::length)
    }

    /// Words of bits per code.
    pub fn words(&self) -> usize {
        if self.is_coded() { self.length() / 64 } else { 0 }
    }

    /// Whether a walk ranks by the upper halves of numbers alone.
    pub fn is_halved(&self) -> bool {
        self.length() >= MIN_HALVED
    }

    /// Whether vectors are floats, and have no codes.
    pub fn keeps_floats(&self) -> bool {
        self.rotation.is_none()
    }

    /// Whether products are squares of differences.
    pub fn ranks_by_squares(&self) -> bool {
        self.factor < 0.0
    }

    /// Whether codes are worth looking at where many rows are looked at in turn.
    pub fn is_coded(&self) -> bool {
        self.length() >= MIN_CODED
    }

    /// Whether they are on the way of a walk.
    pub fn walks_by_codes(&self) -> bool {
        self.length() >= MIN_WALKED
    }

    /// How many errors a code may be off and still not rule its row out.
    #[inline(always)]
    fn doubt(&self) -> f32 {
        (DOUBT / self.length() as f32).max(LEAST_DOUBT)
    }

    /// Compresses a prepared vector.
    pub fn encode(&self, vector: &[f32]) -> Encoded {
        match &self.rotation {
            Some(rotation) => kernels::widest(Encode { frame: self, rotation, vector }),
            None => self.encode_floats(vector),
        }
    }

    /// Prepares to rank rows against a prepared vector.
    pub fn query(&self, vector: &[f32]) -> Query {
        if self.keeps_floats() {
            let own = Operand { floats: self.moved(vector), ..Operand::default() };
            return Query { own, per_product: self.factor, ..Query::default() };
        }
        let encoded = self.encode(vector);
        let mut query = Query { own: encoded.own, ..Query::default() };
        self.complete(&mut query, Code(&encoded.code).scale());
        query
    }

    /// Prepares to rank rows against the numbers or floats of a query, which are of this scale.
    pub fn complete(&self, query: &mut Query, scale: f32) {
        match self.rotation {
            Some(_) => kernels::widest(Complete { frame: self, query, scale }),
            None => query.per_product = self.factor * scale,
        }
    }

    /// From now on few rows are ruled out wrongly even where all are far away, as those behind a filter often are: there
    /// ranks differ by little more than what a code is off.
    pub fn doubt_more(&self, query: &mut Query) {
        query.doubt *= FAR_DOUBT / self.doubt();
    }

    /// The rank of two rows against each other, up to a constant: the same number from both sides, when
    /// `product` is of two rows' own numbers or floats.
    #[inline]
    pub fn mutual(&self, a: Code<'_>, b: Code<'_>, product: f32) -> f32 {
        a.offset() + b.offset() - self.factor * a.scale() * b.scale() * product
    }

    /// What differences of ranks are in proportion to, whatever the rows: 1, or under dot the length of the query, from the
    /// centre on.
    pub fn unit(&self, query: &Query) -> f32 {
        if self.metric != Metric::Dot {
            return 1.0;
        }
        let square = match self.keeps_floats() {
            true => query.own.floats.iter().map(|x| x * x).sum(),
            false => query.square,
        };
        query.per_product * square.sqrt()
    }

    /// How far apart two ranks may be and still be in the wrong order, among these of a walk.
    pub fn slack(&self, query: &Query, near: &[(u32, f32)], row: (Code<'_>, &Operand)) -> f32 {
        let (code, own) = row;
        if !self.keeps_floats() {
            return query.slack(code, !self.is_halved());
        }
        let rounded = match self.quantization {
            Quantization::F16 => ROUNDED[0],
            Quantization::Bf16 => ROUNDED[1],
            Quantization::None | Quantization::Int8 | Quantization::Int4 => 0.0,
        };
        let pairs = || query.own.floats.iter().zip(&own.floats);
        let mut squares = pairs().map(|(q, x)| (q * x).powi(2)).sum::<f32>();
        if self.metric == Metric::Euclidean {
            // The row as it is kept stands in `|x|²`, too: what is off is a product with the difference.
            let of_difference = |(q, x): (&f32, &f32)| ((q - code.scale() * x) * x).powi(2);
            squares = squares.max(pairs().map(of_difference).sum());
        }
        let deviation = rounded * squares.sqrt() * query.per_product.abs() * code.scale();
        // Two ranks that differ in their last bits may be one distance, and then ids decide.
        let largest = near.last().map_or(0.0, |(_, rank)| rank.abs());
        let largest = if self.metric == Metric::Cosine { largest.max(1.0) } else { largest };
        3.0 * std::f32::consts::SQRT_2 * deviation + 2.0 * f32::EPSILON * largest
    }

    /// As floats are kept, but for scale and rounding.
    fn moved(&self, vector: &[f32]) -> Vec<f32> {
        match self.quantization {
            Quantization::None => vector.to_vec(),
            _ => vector.iter().zip(&self.centre).map(|(x, c)| x - c).collect(),
        }
    }

    /// The part of a rank that the centre has in it.
    fn offset_to_centre(&self, vector: &[f32]) -> f32 {
        -vector.iter().zip(&self.centre).map(|(x, c)| x * c).sum::<f32>()
    }

    fn encode_floats(&self, vector: &[f32]) -> Encoded {
        let mut floats = self.moved(vector);
        let (offset, scale) = match self.quantization {
            Quantization::None => (0.0, 1.0),
            _ => {
                let scale = self.round(&mut floats);
                let square = || scale * floats.iter().map(|x| x * x).sum::<f32>() * scale;
                let euclidean = self.metric == Metric::Euclidean;
                (if euclidean { square() } else { self.offset_to_centre(vector) }, scale)
            }
        };
        let own = Operand { floats, ..Operand::default() };
        Encoded { own, code: vec![word(offset.to_bits(), scale.to_bits()), 0] }
    }

    /// Divides by a power of two, which loses nothing, so that the largest is from 1 to 2; and rounds to what is
    /// kept. A vector at the centre has the scale zero.
    fn round(&self, floats: &mut [f32]) -> f32 {
        let largest = floats.iter().fold(0_f32, |largest, x| largest.max(x.abs()));
        let scale = f32::from_bits(largest.to_bits() & EXPONENT);
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        let rounded = match self.quantization {
            Quantization::F16 => |x: f32| f16::of(x).to_f32(),
            _ => |x: f32| bf16::of(x).to_f32(),
        };
        floats.iter_mut().for_each(|x| *x = rounded(*x * inverse));
        scale
    }
}

/// See [`Frame::encode`].
struct Encode<'a> {
    frame: &'a Frame,
    rotation: &'a Rotation,
    vector: &'a [f32],
}

impl Wide for Encode<'_> {
    type Done = Encoded;

    #[inline(always)]
    fn run(self) -> Encoded {
        let Self { frame, rotation, vector } = self;
        let mut moved = vec![0.0; rotation.length()];
        for ((moved, x), c) in moved.iter_mut().zip(vector).zip(&frame.centre) {
            *moved = x - c;
        }
        let square = sum(&moved, |x| x * x);
        let offset = match frame.metric {
            Metric::Euclidean => square,
            Metric::Cosine | Metric::Dot => frame.offset_to_centre(vector),
        };
        rotation.apply(&mut moved);
        let largest = moved.iter().fold(0_f32, |largest, x| largest.max(x.abs()));
        // A vector at the centre has the scale zero, so that the middles of its numbers count for nothing.
        let scale = largest / MOST;
        // One that is next to nothing has numbers that are zero.
        let inverse = if (1.0 / scale).is_finite() { 1.0 / scale } else { 0.0 };
        let numbers: Vec<i8> = moved.iter().map(|x| nearest(x * inverse)).collect();
        let total = sum(&moved, f32::abs);
        let reach = if total > 0.0 { square / total } else { 0.0 };
        let blocks = moved.as_chunks::<64>().0.iter().take(frame.words());
        let mut code: Vec<u64> = blocks.map(|part| bits(part, |x| x >= 0.0)).collect();
        let sum = numbers.iter().map(|x| nibbles::middle_of(*x)).fold(0, add);
        code.extend([word(offset.to_bits(), scale.to_bits()), word(reach.to_bits(), sum.cast_unsigned())]);
        Encoded { own: Operand { numbers, ..Operand::default() }, code }
    }
}

/// See [`Frame::complete`].
struct Complete<'a> {
    frame: &'a Frame,
    query: &'a mut Query,
    scale: f32,
}

impl Wide for Complete<'_> {
    type Done = ();

    #[inline(always)]
    fn run(self) {
        let Self { frame, query, scale } = self;
        let Query { own: Operand { numbers, .. }, planes, .. } = query;
        let square =
            numbers.iter().map(|x| i32::from(*x).wrapping_mul(i32::from(*x))).fold(0, i32::wrapping_add);
        let step = (square as f32 / numbers.len() as f32).sqrt();
        let edge = step.round().clamp(1.0, MOST) as u8;
        planes.clear();
        let blocks = || numbers.as_chunks::<64>().0.iter().take(frame.words());
        planes.extend(blocks().map(|part| bits(part, |x| x >= 0)));
        let second = |x: i8| (x >= 0) == (x.unsigned_abs() >= edge);
        planes.extend(blocks().map(|part| bits(part, second)));
        // The levels are ±1 and ±3 (of half a step each): scaled so that the query has its own length.
        let level =
            |x: &i8| i32::from(x.unsigned_abs()).wrapping_mul(if x.unsigned_abs() >= edge { 3 } else { 1 });
        let levels = numbers.iter().map(level).fold(0, i32::wrapping_add);
        let per_level = if levels > 0 { scale * square as f32 / levels as f32 } else { 0.0 };
        let length = scale * (square as f32).sqrt();
        query.own.sum = numbers.iter().copied().fold(0, add);
        query.per_product = frame.factor * scale;
        query.per_agreement = frame.factor * per_level;
        query.doubt = if per_level > 0.0 { frame.doubt() * SPREAD * length / per_level } else { 0.0 };
        query.square = square as f32;
    }
}

/// Sums of numbers are far from overflowing; saying so lets the compiler add many at once.
#[inline(always)]
fn add(sum: i32, number: i8) -> i32 {
    sum.wrapping_add(i32::from(number))
}

#[inline(always)]
fn sum(vector: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    // Four sums, which the compiler may keep in one register.
    let mut sums = [0.0; 8];
    for part in vector.chunks_exact(8) {
        for (sum, x) in sums.iter_mut().zip(part) {
            *sum += of(*x);
        }
    }
    sums.iter().sum()
}

/// The nearest whole number, of numbers up to [`MOST`]. Adding this much leaves no bits for fractions;
/// the function of the standard library is a call on processors that we must support.
#[inline(always)]
fn nearest(x: f32) -> i8 {
    const WHOLE: f32 = 12_582_912.0;
    ((x + WHOLE) - WHOLE) as i8
}

/// A bit per element.
#[inline(always)]
fn bits<T: Copy>(part: &[T; 64], test: impl Fn(T) -> bool) -> u64 {
    let bytes = part.map(|x| u8::from(test(x)));
    let eight = |eight: &[u8; 8]| {
        // Moves bit `8 n` to bit `56 + n`.
        u64::from_le_bytes(*eight).wrapping_mul(0x0102_0408_1020_4080) >> 56
    };
    bytes.as_chunks::<8>().0.iter().rev().fold(0, |bits, part| bits << 8 | eight(part))
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            super::draw::splitmix64,
            arena::{Arena, Plain},
            kernels::Kernels,
        },
        *,
    };

    fn vectors(count: usize, dimension: usize, seed: u64) -> Vec<Vec<f32>> {
        let mut state = seed;
        let mut unit = move || (splitmix64(&mut state) >> 40) as f32 / (1 << 23) as f32 - 1.0;
        (0..count)
            .map(|_| (0..dimension).map(|at| unit() + if at == 3 { 20.0 } else { 0.0 }).collect())
            .collect()
    }

    /// An arena with one record.
    fn one<T: Plain>(record: &[T]) -> Arena<T> {
        Arena::of(&[record.to_vec()])
    }

    fn dot(a: &[f32], b: &[f32]) -> f32 {
        a.iter().zip(b).map(|(a, b)| a * b).sum()
    }

    /// Rank differences between rows, exact and by both approximations, with an outlier component.
    #[test]
    fn ranks_are_those_of_the_vectors() {
        for dimension in [1, 5, 64, 100, 384] {
            for metric in [Metric::Cosine, Metric::Euclidean, Metric::Dot] {
                let rows = vectors(200, dimension, 1);
                let frame = Frame::new(metric, Quantization::Int8, &rows[0]);
                let query = &vectors(1, dimension, 2)[0];
                let prepared = frame.query(query);
                let exact = |row: &[f32]| match metric {
                    Metric::Euclidean => row.iter().zip(query).map(|(a, b)| (a - b).powi(2)).sum::<f32>(),
                    Metric::Cosine | Metric::Dot => -dot(row, query),
                };
                let mut squares = [0.0, 0.0];
                let mut below = 0;
                let base = frame.encode(&rows[0]);
                let of = |encoded: &Encoded| {
                    let (numbers, own) = (&encoded.own.numbers, &prepared.own);
                    let (mut upper, mut whole, mut least) = ([0], [0], [0.0]);
                    (Kernels::detect().dots)(&own.numbers, &one(&nibbles::pack(numbers)), &[0], &mut upper);
                    (Kernels::detect().whole_dots)(&own.numbers, &one(numbers), &[0], &mut whole);
                    (Kernels::detect().leasts)(&prepared, &one(&encoded.code), &[0], &mut least);
                    let code = Code(&encoded.code);
                    let coarse = nibbles::coarse(upper[0], own.sum) as f32;
                    (
                        [prepared.rank(code, coarse), prepared.rank(code, whole[0] as f32)],
                        least[0],
                        [prepared.slack(code, false), prepared.slack(code, true)],
                    )
                };
                for row in &rows[1..] {
                    let encoded = frame.encode(row);
                    let (ranks, least, slacks) = of(&encoded);
                    for at in [0, 1] {
                        let wanted = exact(row) - exact(&rows[0]) + of(&base).0[at];
                        squares[at] += ((ranks[at] - wanted) / slacks[at].max(1e-5)).powi(2);
                    }
                    below += usize::from(least <= exact(row) - exact(&rows[0]) + of(&base).0[1]);
                }
                // `slack` is three deviations of a difference of two ranks.
                let halved = frame.is_halved();
                for square in if halved { &squares[..] } else { &squares[1..] } {
                    let deviations = (square / 199.0).sqrt();
                    assert!(deviations < 0.5, "{metric:?} {dimension}: {squares:?}");
                }
                if dimension == 384 {
                    // More than half, as far as the doubt goes; near rows are underrated a bit, which is safe.
                    assert!((100..190).contains(&below), "{metric:?}: {below} of 199 lower bounds are below");
                }
            }
        }
    }

    #[test]
    fn a_vector_at_the_centre_is_a_vector() {
        let frame = Frame::new(Metric::Euclidean, Quantization::Int8, &[1.0; 10]);
        let own = frame.encode(&[1.0; 10]);
        let query = frame.query(&[1.0; 10]);
        assert_eq!(query.rank(Code(&own.code), 0.0), 0.0);
        assert_eq!(query.least_rank(Code(&own.code), 10), 0.0);
        let other = frame.encode(&[1.0; 9].iter().copied().chain([2.0]).collect::<Vec<_>>());
        assert!((query.rank(Code(&other.code), 0.0) - 1.0).abs() < 1e-6);
    }
}
