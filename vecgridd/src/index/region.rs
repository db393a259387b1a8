//! Memory for the vectors of one block: mapped for itself, given back whole.
//!
//! Vectors are most of an index, and live long among much that lives for a moment: in the memory of the
//! allocator they would leave holes that nobody can use. A region takes address space for a full block
//! and becomes resident as vectors come. A vector, once pushed, stays where it is and never changes, so
//! anyone may read it without a lock while others are pushed.
//!
//! Ranking again reads few vectors at random, each over several pages of 4 KiB, and would miss the TLB at most of
//! them. So once there are vectors for one huge page, huge pages are asked for; a small collection stays small.

#![allow(unsafe_code)]

use std::{
    io, slice,
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Release},
        },
    },
};

use memmap2::{MmapMut, MmapRaw};

use super::fields::PLACES;

/// A huge page.
const HUGE: usize = 2 << 20;

/// Up to a block of vectors.
pub(super) struct Region {
    dimension: usize,
    map: MmapRaw,
    /// Vectors below are written, for ever.
    len: AtomicUsize,
    /// For whoever writes.
    writing: Mutex<()>,
}

impl Region {
    /// No vectors yet.
    ///
    /// # Errors
    /// When the operating system has no more address space.
    pub fn new(dimension: usize) -> io::Result<Self> {
        let bytes = PLACES * dimension * size_of::<f32>();
        let map = MmapMut::map_anon(bytes.max(1))?.into();
        Ok(Self { dimension, map, len: AtomicUsize::new(0), writing: Mutex::new(()) })
    }

    /// Vectors so far.
    pub fn len(&self) -> usize {
        self.len.load(Acquire)
    }

    /// Adds a vector as number `at`; `false` when that number was given already, or there is no room.
    pub fn push(&self, at: usize, vector: &[f32]) -> bool {
        let _one = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if at != self.len() || at == PLACES || vector.len() != self.dimension {
            return false;
        }
        // SAFETY: inside, since a region has room for `PLACES` vectors; aligned, since it starts at a page;
        // nobody reads it before `len` says so, and nobody else writes, under the lock.
        unsafe {
            let place = self.map.as_mut_ptr().cast::<f32>().add(at * self.dimension);
            place.copy_from_nonoverlapping(vector.as_ptr(), self.dimension);
        }
        self.len.store(at + 1, Release);
        let bytes = |vectors| vectors * self.dimension * size_of::<f32>();
        // Without huge pages searches are slower, nothing else.
        #[cfg(target_os = "linux")]
        if bytes(at) < HUGE && bytes(at + 1) >= HUGE {
            let _ = self.map.advise(memmap2::Advice::HugePage);
        }
        true
    }

    /// `count` vectors from a number on, one after the other.
    #[inline]
    pub fn get(&self, from: usize, count: usize) -> &[f32] {
        assert!(from + count <= self.len(), "vectors that were pushed");
        // SAFETY: inside and aligned as in `push`; written before `len` was, and never again.
        unsafe {
            let place = self.map.as_ptr().cast::<f32>().add(from * self.dimension);
            slice::from_raw_parts(place, count * self.dimension)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_stays_and_a_number_is_given_once() {
        let region = Region::new(3).unwrap();
        assert!(region.push(0, &[1.0, 2.0, 3.0]));
        let first = region.get(0, 1);
        assert!(!region.push(0, &[9.0; 3]) && !region.push(2, &[9.0; 3]) && !region.push(1, &[9.0; 2]));
        for at in 1..PLACES {
            assert!(region.push(at, &[at as f32; 3]));
        }
        assert!(!region.push(PLACES, &[0.0; 3]), "full");
        assert_eq!((first, region.get(PLACES - 1, 1)), (&[1.0, 2.0, 3.0][..], &[16_383.0; 3][..]));
        assert_eq!(region.get(1, 2), [1.0, 1.0, 1.0, 2.0, 2.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "vectors that were pushed")]
    fn reading_what_is_not_there_is_a_bug_not_a_wild_read() {
        Region::new(3).unwrap().get(0, 1);
    }

    #[test]
    fn readers_see_whole_vectors_while_others_are_pushed() {
        let region = Region::new(8).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..PLACES).for_each(|at| assert!(region.push(at, &[at as f32; 8]))));
            scope.spawn(|| {
                while region.len() < PLACES {
                    let Some(last) = region.len().checked_sub(1) else { continue };
                    assert_eq!(region.get(last, 1), [last as f32; 8]);
                }
            });
        });
    }
}
