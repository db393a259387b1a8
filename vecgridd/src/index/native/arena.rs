//! Memory for one kind of record per slot: records of one length, side by side, that never move.
//!
//! Chunks double in size, so growing copies nothing and a few chunks hold any number of records. The
//! first is made for all records that are expected: their address is a comparison, a multiplication
//! and an addition. The memory is mapped zeroed and becomes resident when it is first written.
//!
//! A walk touches records at random and would miss the TLB at each of them, so large chunks are in huge pages, but for
//! the last: it becomes a huge one when there are records from its one end to the other. Until then no more of it is
//! resident than was written. A collection has five arenas, so huge pages from the start would cost small ones more memory
//! than their rows.
//!
//! The one rule that the types do not enforce: a record of plain numbers is written by
//! [`Arena::fill`] before its number is given to anyone who reads it. Records of atomics have no
//! such rule. `tests/loom` tries growing, filling and reading in all orders.
//!
//! All records of an arena can be written out and read back ([`Stored`]), whatever they are.

#![allow(unsafe_code)]

use std::{array, io, ptr, slice, sync::PoisonError};

use half::{bf16, f16};
use memmap2::MmapMut;

use super::super::sync::{
    AtomicPtr, AtomicU32, Mutex,
    Ordering::{Acquire, Relaxed, Release},
    Watch,
};

/// Records of the first chunk, at least, as a power of two; each further chunk has twice as many.
const FIRST: u32 = 17;
/// Enough for 2^31 records.
const CHUNKS: usize = 15;
/// A huge page; chunks of that size and more start at one.
const HUGE: usize = 2 << 20;

/// What may be in a record.
///
/// # Safety
/// Any bit pattern is a value, zero included, and there is no padding.
// SAFETY: a promise of those who implement it.
pub(super) unsafe trait Element: Send + Sync {}
// SAFETY: so it is with numbers.
unsafe impl Element for i8 {}
// SAFETY: so it is with numbers.
unsafe impl Element for u8 {}
// SAFETY: so it is with numbers.
unsafe impl Element for u64 {}
// SAFETY: so it is with floats: infinite ones, and those that are no numbers, are values, too.
unsafe impl Element for f32 {}
// SAFETY: as for `f32`; in memory it is a `u16`.
unsafe impl Element for f16 {}
// SAFETY: as for `f16`.
unsafe impl Element for bf16 {}
// SAFETY: in memory it is a number.
unsafe impl Element for AtomicU32 {}

/// What may be in a record that does not change.
pub(super) trait Plain: Element + Copy {}
impl Plain for i8 {}
impl Plain for u8 {}
impl Plain for u64 {}
impl Plain for f32 {}
impl Plain for f16 {}
impl Plain for bf16 {}

/// Records as bytes, one after the other from slot 0.
pub(super) trait Stored {
    /// Bytes of a record.
    fn record(&self) -> usize;

    /// Records are numbered below this.
    fn end(&self) -> u32;

    /// Memory of the records so far.
    fn bytes(&self) -> u64 {
        u64::from(self.end()) * self.record() as u64
    }

    /// As [`Arena::reserve`].
    fn reserve(&self, slot: u32) -> io::Result<()>;

    /// Writes all records. Only the thread that adds and changes records may call it; others may read.
    fn write(&self, out: &mut dyn io::Write) -> io::Result<()>;

    /// Takes all records of an arena that has none yet, and that nobody else knows.
    fn read(&mut self, bytes: &[u8]) -> io::Result<()>;
}

/// Records of `T`s by slot number.
pub(super) struct Arena<T> {
    /// `T`s of a record.
    length: usize,
    /// Cache lines of a record.
    #[cfg(target_arch = "x86_64")]
    lines: usize,
    /// Records of the first chunk, as a power of two.
    first: u32,
    /// Where the chunks start; null where there is none yet.
    starts: [AtomicPtr<T>; CHUNKS],
    /// Kept for their memory.
    maps: Mutex<Vec<MmapMut>>,
    /// One more than the highest record that room was made for.
    end: AtomicU32,
    watch: Watch,
}

impl<T> Arena<T> {
    /// No records yet; each will have `length` `T`s. `expected` records are the fastest to find.
    pub fn new(length: usize, expected: usize) -> Self {
        Self {
            length,
            #[cfg(target_arch = "x86_64")]
            lines: (length * size_of::<T>()).div_ceil(64),
            first: expected.max(1).next_power_of_two().ilog2().clamp(FIRST, 31),
            starts: array::from_fn(|_| AtomicPtr::new(ptr::null_mut())),
            maps: Mutex::new(Vec::new()),
            end: AtomicU32::new(0),
            watch: Watch::new(),
        }
    }

    /// Records are numbered below this.
    pub fn end(&self) -> u32 {
        self.end.load(Relaxed)
    }

    /// Makes room for records up to this one; new ones are zero.
    ///
    /// # Errors
    /// When the operating system has no more memory.
    pub fn reserve(&self, slot: u32) -> io::Result<()> {
        let (chunk, _) = self.place(slot);
        // All smaller chunks too: a reader may scan from the start.
        for chunk in 0..=chunk {
            if self.starts[chunk].load(Acquire).is_null() {
                self.grow(chunk)?;
            }
        }
        let end = self.end.fetch_max(slot + 1, Relaxed);
        if end <= slot {
            self.widen(end, slot + 1);
        }
        Ok(())
    }

    /// Records up to `end` have room now, before it was up to `from`: memory that has records all over goes into huge pages.
    fn widen(&self, from: u32, end: u32) {
        for chunk in self.place(from).0..=self.place(end - 1).0 {
            let records = 1_u64 << (self.first as usize + chunk);
            let start = records - (1 << self.first);
            // Bytes of the chunk's records below a slot, in whole huge pages.
            let whole = |slot: u32| {
                let below = u64::from(slot).saturating_sub(start).min(records) as usize;
                below * self.length * size_of::<T>() / HUGE * HUGE
            };
            let (from, end) = (whole(from), whole(end));
            if from < end {
                // SAFETY: whole pages of the chunk's memory, which is mapped as long as `self` is.
                unsafe {
                    ask_for_huge_pages(self.starts[chunk].load(Acquire).cast::<u8>().add(from), end - from)
                };
            }
        }
    }

    fn grow(&self, chunk: usize) -> io::Result<()> {
        let mut maps = self.maps.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.starts[chunk].load(Acquire).is_null() {
            return Ok(());
        }
        let bytes = (self.length * size_of::<T>()) << (self.first as usize + chunk);
        let huge = bytes >= HUGE;
        let mut map = MmapMut::map_anon(if huge { bytes + HUGE } else { bytes.max(1) })?;
        let mut start = map.as_mut_ptr();
        if huge {
            // Where all memory gets huge pages that asks for none, these wait for `widen`, too.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::NoHugePage);
            let skipped = start.align_offset(HUGE);
            debug_assert!(skipped < HUGE);
            // SAFETY: the map is `HUGE` longer than needed.
            start = unsafe { start.add(skipped) };
        }
        // The map itself moves into the list; its memory stays where it is.
        maps.push(map);
        self.watch.made(chunk);
        self.starts[chunk].store(start.cast(), Release);
        Ok(())
    }

    /// The chunk of a slot, and the place in it: chunk `n` has slots `(2^n - 1) << first` and on.
    #[inline]
    fn place(&self, slot: u32) -> (usize, usize) {
        if slot >> self.first == 0 {
            return (0, slot as usize);
        }
        let shifted = u64::from(slot) + (1 << self.first);
        let chunk = 63 - shifted.leading_zeros() - self.first;
        (chunk as usize, (shifted - (1 << (chunk + self.first))) as usize)
    }

    /// Where a record starts.
    #[inline]
    fn start(&self, slot: u32) -> *mut T {
        let (chunk, at) = self.place(slot);
        let start = self.starts[chunk].load(Acquire);
        if start.is_null() {
            no_room(slot);
        }
        self.watch.used(chunk);
        // Within the chunk, so it overflows no more than the chunk's size did, where that was checked.
        let at = at.wrapping_mul(self.length);
        // SAFETY: `place` gives a place within the chunk of that number, for every slot.
        unsafe { start.add(at) }
    }

    /// Tells the processor that a record will be read soon.
    // As a call it was 2 % of a walk.
    #[inline(always)]
    pub fn prefetch(&self, slot: u32) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.start(slot).cast::<i8>();
            for line in 0..self.lines {
                // SAFETY: a prefetch faults at no address; this one is within the record.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(64 * line)) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = slot;
    }
}

impl<T: Element> Arena<T> {
    /// The stretches of memory of the first `count` records: where each starts, and its bytes.
    fn stretches(&self, count: u32) -> impl Iterator<Item = (*mut u8, usize)> {
        let mut left = count as usize;
        let start = |chunk: &AtomicPtr<T>| chunk.load(Acquire).cast::<u8>();
        self.starts.iter().enumerate().map_while(move |(chunk, at)| {
            let records = left.min(1 << (self.first as usize + chunk));
            left -= records;
            (records > 0).then(|| (start(at), records * self.record()))
        })
    }
}

impl<T: Element> Stored for Arena<T> {
    fn record(&self) -> usize {
        self.length * size_of::<T>()
    }

    fn end(&self) -> u32 {
        Self::end(self)
    }

    fn reserve(&self, slot: u32) -> io::Result<()> {
        Self::reserve(self, slot)
    }

    fn write(&self, out: &mut dyn io::Write) -> io::Result<()> {
        for (start, bytes) in self.stretches(self.end()) {
            // SAFETY: room was made for these records, so their chunk is there and mapped; elements are
            // bytes without padding; and nobody changes them, as `Stored` asks of the caller.
            out.write_all(unsafe { slice::from_raw_parts(start, bytes) })?;
        }
        Ok(())
    }

    fn read(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        let count = bytes.len() / self.record();
        let last = u32::try_from(count).ok().filter(|count| *count as usize * self.record() == bytes.len());
        let last = last.ok_or_else(|| io::Error::other(format!("{} bytes are no records", bytes.len())))?;
        if let Some(slot) = last.checked_sub(1) {
            self.reserve(slot)?;
        }
        for (start, length) in self.stretches(last) {
            let (part, rest) = bytes.split_at(length);
            // SAFETY: room was made for these records; any bytes are elements; nobody else is here (`&mut`).
            unsafe { start.copy_from_nonoverlapping(part.as_ptr(), length) };
            bytes = rest;
        }
        Ok(())
    }
}

impl<T: Plain> Arena<T> {
    /// A record, that was filled before its number was given away.
    #[inline]
    pub fn get(&self, slot: u32) -> &[T] {
        self.watch.read(slot);
        // SAFETY: in bounds, aligned (chunks start at pages), initialised (zeroed or filled), and no
        // longer written, by the rule of the module.
        unsafe { slice::from_raw_parts(self.start(slot), self.length) }
    }

    /// These records, of one length, in slots from 0 on.
    #[cfg(test)]
    pub fn of(records: &[Vec<T>]) -> Self {
        let arena = Self::new(records.first().map_or(1, Vec::len), records.len());
        for (slot, record) in (0..).zip(records) {
            arena.reserve(slot).unwrap();
            // SAFETY: room was made, and nobody reads yet.
            unsafe { arena.fill(slot, record) };
        }
        arena
    }

    /// Writes a record for which room was made.
    ///
    /// # Safety
    /// Once per record, and before its number is given to anyone who reads it.
    pub unsafe fn fill(&self, slot: u32, record: &[T]) {
        assert_eq!(record.len(), self.length, "a whole record");
        self.watch.wrote(slot);
        // SAFETY: in bounds (asserted), and nobody reads or writes it yet, as the caller promises.
        unsafe { self.start(slot).copy_from_nonoverlapping(record.as_ptr(), self.length) }
    }
}

impl Arena<AtomicU32> {
    /// A record of atomics, which anyone may change at any time.
    #[inline]
    pub fn atoms(&self, slot: u32) -> &[AtomicU32] {
        // SAFETY: as in `get`, but for the writes, which atomics allow.
        unsafe { slice::from_raw_parts(self.start(slot), self.length) }
    }
}

/// What is resident of these pages is copied into huge ones now, and the rest will be huge when it is first written. Without them,
/// as with an older Linux, which only has them made in the background, searches are slower, nothing else.
///
/// # Safety
/// The pages are mapped.
unsafe fn ask_for_huge_pages(start: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", not(miri)))]
    for advice in [libc::MADV_HUGEPAGE, libc::MADV_COLLAPSE] {
        // SAFETY: neither advice changes what is in memory, whoever reads or writes it meanwhile.
        unsafe { libc::madvise(start.cast(), bytes, advice) };
    }
    #[cfg(not(all(target_os = "linux", not(miri))))]
    let _ = (start, bytes);
}

#[cold]
fn no_room(slot: u32) -> ! {
    unreachable!("slot {slot} is read before room was made for it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_dense_and_chunks_double() {
        let arena = Arena::<u8>::new(1, 0);
        let place = |slot| arena.place(slot);
        assert_eq!(place(0), (0, 0));
        assert_eq!(place((1 << FIRST) - 1), (0, (1 << FIRST) - 1));
        assert_eq!(place(1 << FIRST), (1, 0));
        assert_eq!(place(3 << FIRST), (2, 0));
        assert_eq!(place((1 << 31) - 1).0, CHUNKS - 1);
        for slot in (0..1_u32 << 22).step_by(997) {
            let (chunk, at) = place(slot);
            assert!(at < 1 << (FIRST as usize + chunk));
        }
        assert_eq!(Arena::<u8>::new(1, 1_000_000).place(1_000_000), (0, 1_000_000));
    }

    #[test]
    fn records_keep_their_place_while_the_arena_grows() {
        let arena = Arena::<u8>::new(3, 0);
        arena.reserve(5).unwrap();
        // SAFETY: nobody reads yet.
        unsafe { arena.fill(5, &[1, 2, 3]) };
        let early = arena.get(5);
        let far = 5 << FIRST;
        arena.reserve(far).unwrap();
        // SAFETY: nobody reads yet.
        unsafe { arena.fill(far, &[4, 5, 6]) };
        assert_eq!(
            (early, arena.get(5), arena.get(far), arena.get(6)),
            (&[1, 2, 3][..], early, &[4, 5, 6][..], &[0; 3][..])
        );
        assert_eq!((arena.end(), arena.bytes()), (far + 1, u64::from(far + 1) * 3));
        arena.prefetch(far);
    }

    #[cfg(all(target_os = "linux", not(miri)))]
    #[test]
    fn no_more_is_resident_than_was_written() {
        const PAGE: usize = 4 << 10;
        let arena = Arena::<u64>::new(4, 0);
        let resident = || {
            let mut pages = vec![0_u8; (32 << FIRST) / PAGE];
            // SAFETY: a byte for each page of the chunk, which is mapped and starts at a page.
            let done = unsafe { libc::mincore(arena.start(0).cast(), 32 << FIRST, pages.as_mut_ptr()) };
            assert_eq!(done, 0, "{}", io::Error::last_os_error());
            pages.iter().filter(|page| *page & 1 == 1).count() * PAGE
        };
        let count = (HUGE / 32) as u32 + 100;
        for slot in 0..count {
            arena.reserve(slot).unwrap();
            // SAFETY: nobody reads yet.
            unsafe { arena.fill(slot, &[u64::from(slot) + 1; 4]) };
        }
        // Large pages may be up to 64 KiB.
        let written = count as usize * 32;
        assert!(resident() >= written && resident() < written + (64 << 10), "{} {written}", resident());
        assert!((0..count).all(|slot| arena.get(slot) == [u64::from(slot) + 1; 4]));
    }

    #[test]
    fn records_come_back_as_they_were_written() {
        for count in [0, 1, 3 << FIRST] {
            let arena = Arena::<u64>::new(2, 0);
            for slot in (0..count).step_by(1_001) {
                arena.reserve(slot).unwrap();
                // SAFETY: nobody reads yet.
                unsafe { arena.fill(slot, &[u64::from(slot), !0]) };
            }
            let mut bytes = Vec::new();
            arena.write(&mut bytes).unwrap();
            // Chunks of other sizes.
            let mut again = Arena::<u64>::new(2, 1 << 20);
            again.read(&bytes).unwrap();
            assert_eq!(again.end(), arena.end());
            assert!((0..arena.end()).all(|slot| again.get(slot) == arena.get(slot)));
            assert!(count == 0 || again.read(&bytes[1..]).is_err());
        }
    }

    #[test]
    fn floats_come_back_bit_by_bit() {
        // All that a half can be, and with it the largest, the smallest and what is no number.
        let halves: Vec<u16> = (0..=u16::MAX).collect();
        let rows: Vec<Vec<f16>> =
            halves.chunks(64).map(|row| row.iter().copied().map(f16::from_bits).collect()).collect();
        let floats: Vec<Vec<f32>> = rows
            .iter()
            .map(|row| row.iter().map(|x| f32::from_bits(u32::from(x.to_bits()) << 16 | 1)).collect())
            .collect();
        let brief: Vec<Vec<bf16>> =
            rows.iter().map(|row| row.iter().map(|x| bf16::from_bits(x.to_bits())).collect()).collect();
        fn check<T: Plain, B: PartialEq>(rows: &[Vec<T>], bits: impl Fn(&T) -> B) {
            let arena = Arena::of(rows);
            let mut bytes = Vec::new();
            arena.write(&mut bytes).unwrap();
            let mut again = Arena::<T>::new(64, 0);
            again.read(&bytes).unwrap();
            for (slot, row) in (0..).zip(rows) {
                assert!(row.iter().map(&bits).eq(arena.get(slot).iter().map(&bits)));
                assert!(row.iter().map(&bits).eq(again.get(slot).iter().map(&bits)));
            }
        }
        check(&rows, |x| x.to_bits());
        check(&floats, |x| x.to_bits());
        check(&brief, |x| x.to_bits());
    }

    #[test]
    fn atoms_are_shared() {
        let arena = Arena::<AtomicU32>::new(2, 0);
        arena.reserve(1).unwrap();
        arena.atoms(1)[0].store(7, Relaxed);
        assert_eq!(arena.atoms(1)[0].load(Relaxed), 7);
        assert_eq!(arena.atoms(0)[1].load(Relaxed), 0);
    }

    #[test]
    #[should_panic(expected = "before room was made")]
    fn reading_without_room_is_a_bug_not_a_wild_read() {
        Arena::<u8>::new(3, 0).get(1);
    }
}
