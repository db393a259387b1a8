//! Vectors of the rows that a narrow filter chose, copied to one place.
//!
//! A scan of few rows that lie anywhere waits for memory at each of them, and a sift first has to compress the query.
//! Rows that are asked for again and again and are few enough to stay in a processor's cache are scanned in a fraction of
//! the time where their vectors follow each other, each from a cache line on. What is found is what any scan finds, to
//! the last bit: the numbers and the kernels are the same.

use std::array;

use super::{distance::Measure, rows::Rows};

/// Memory of one of these, at most: a half of what a core of a small machine has to itself.
pub(super) const MAX_BYTES: usize = 512 << 10;
/// Numbers of a cache line.
const LINE: usize = 64 / size_of::<f32>();
/// Rows that one call of a kernel takes.
const FOUR: usize = 4;

/// See the module.
pub(super) struct SideBySide {
    /// Operation of the view whose living rows these are: in a later one fewer of them live, and no others.
    now: u64,
    /// They are of slots below, and of all of them that were chosen.
    pub until: u32,
    slots: Vec<u32>,
    numbers: Vec<f32>,
    dimension: usize,
    /// Of the first vector, so that it begins a cache line.
    first: usize,
}

impl SideBySide {
    /// Rows of one, at most.
    pub fn most(dimension: usize) -> usize {
        MAX_BYTES / (stride(dimension) * size_of::<f32>())
    }

    /// Of those of these rows that have a vector; they live in the view of operation `now`.
    pub fn gather(rows: &Rows, now: u64, until: u32, slots: impl Iterator<Item = u32>) -> Self {
        let found = slots.filter_map(|slot| Some((slot, rows.vector(slot)?)));
        let (slots, vectors): (Vec<u32>, Vec<&[f32]>) = found.unzip();
        let (dimension, stride) = (rows.dimension(), stride(rows.dimension()));
        let mut numbers = vec![0.0; slots.len() * stride + LINE];
        let first = numbers.as_ptr().align_offset(64).min(LINE);
        for (place, vector) in numbers[first..].chunks_exact_mut(stride).zip(vectors) {
            place[..dimension].copy_from_slice(vector);
        }
        Self { now, until, slots, numbers, dimension, first }
    }

    /// Whether they are all rows below `until` that a view may see.
    pub fn serve(&self, now: u64, until: u32) -> bool {
        self.now <= now && self.until == until
    }

    /// Memory.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.slots) + size_of_val(&*self.numbers)
    }

    /// The nearest `count` eligible ones with their exact distances, and those that are as near as the last; in no order.
    pub fn nearest(
        &self,
        measure: Measure,
        query: &[f32],
        count: usize,
        eligible: impl Fn(u32) -> bool,
    ) -> Vec<(f32, u32)> {
        let mut near = self.distances(measure, query);
        near.retain(|(_, slot)| eligible(*slot));
        match count.checked_sub(1) {
            None => near.clear(),
            Some(last) if last < near.len() => {
                let (_, (bound, _), _) = near.select_nth_unstable_by(last, |a, b| a.0.total_cmp(&b.0));
                let bound = *bound;
                near.retain(|(distance, _)| *distance <= bound);
            }
            Some(_) => {}
        }
        near
    }

    /// Of each, in order.
    fn distances(&self, measure: Measure, query: &[f32]) -> Vec<(f32, u32)> {
        let mut vectors = self.numbers[self.first..].chunks_exact(stride(self.dimension));
        let mut next = || vectors.next().map(|vector| &vector[..self.dimension]);
        let (fours, rest) = self.slots.as_chunks::<FOUR>();
        let mut found = Vec::with_capacity(self.slots.len());
        for slots in fours {
            let [Some(a), Some(b), Some(c), Some(d)] = array::from_fn(|_| next()) else { break };
            found.extend(measure.distances(query, [a, b, c, d]).into_iter().zip(*slots));
        }
        found.extend(rest.iter().filter_map(|slot| Some((measure.distance(query, next()?), *slot))));
        found
    }
}

/// From one vector to the next, in numbers.
fn stride(dimension: usize) -> usize {
    dimension.next_multiple_of(LINE)
}

#[cfg(test)]
mod tests {
    use super::{
        super::packed::{Packed, Shapes},
        *,
    };
    use crate::{
        index::chunk::Row,
        types::{Metadata, Metric, PartitionId, Version},
    };

    fn rows(dimension: usize, count: usize) -> Rows {
        let (shape, values) = Shapes::new().pack(&Metadata::new(serde_json::json!({})).unwrap());
        let metadata = Packed { shape: &shape, values: &values };
        let (partition, version) = (PartitionId(0), Version::default());
        let ids: Vec<String> = (0..count).map(|n| n.to_string()).collect();
        // Every third row has no vector, and many are equal.
        let vector = |n: usize| vec![(n % 7) as f32; dimension];
        let vectors: Vec<_> = (0..count).map(|n| (n % 3 > 0).then(|| vector(n))).collect();
        let mut rows = Rows::new(dimension, 0);
        let row = |id| Row { id, partition, version, metadata };
        rows.append(ids.iter().zip(&vectors).map(|(id, vector)| (row(id), vector.as_deref())));
        rows
    }

    #[test]
    fn the_nearest_are_those_of_a_scan() {
        for (dimension, count) in [(1, 0), (3, 5), (16, 70), (17, 71), (384, 41)] {
            let (rows, measure) = (rows(dimension, count), Measure::new(Metric::Euclidean));
            let slots = || (0..count as u32).filter(|slot| slot % 5 > 0);
            let (query, eligible) = (vec![2.5; dimension], |slot: u32| !slot.is_multiple_of(4));
            let beside = SideBySide::gather(&rows, 1, 100, slots());
            assert!(
                beside.serve(1, 100) && beside.serve(2, 100) && !beside.serve(0, 100) && !beside.serve(1, 64)
            );
            let one = |slot| Some((measure.distance(&query, rows.vector(slot)?), slot));
            let mut all: Vec<(f32, u32)> = slots().filter(|slot| eligible(*slot)).filter_map(one).collect();
            all.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            for k in [0, 1, 10, 1_000] {
                let mut found = beside.nearest(measure, &query, k, eligible);
                found.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
                let last = k.min(all.len()).checked_sub(1).map(|last| all[last].0);
                let expected = all.iter().filter(|(distance, _)| last.is_some_and(|last| *distance <= last));
                assert!(found.iter().eq(expected), "{dimension} {count} {k}");
            }
        }
    }
}
