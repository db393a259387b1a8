//! Files in memory, to be read.
//!
//! A file is mapped after it has got its final name, and nobody here ever writes to such a file or
//! cuts it: a new one takes its place, and this one's bytes stay until the last map of it is gone. So a
//! map does not change under its readers. Someone else who cuts a file of the data directory while
//! the daemon runs ends the daemon (SIGBUS), as with any program that maps its files; the folder is
//! the daemon's alone.

#![allow(unsafe_code)]

use std::{fs::File, io, ops::Range, slice, sync::Arc};

use memmap2::Mmap;

/// Part of a mapped file.
#[derive(Clone)]
pub(in super::super) struct Span {
    map: Arc<Mmap>,
    start: usize,
    len: usize,
}

impl Span {
    /// The whole of a file.
    pub fn of(file: &File) -> io::Result<Self> {
        // SAFETY: nobody changes the file, as the module says.
        let map = unsafe { Mmap::map(file)? };
        Ok(Self { start: 0, len: map.len(), map: Arc::new(map) })
    }

    /// A part of this part; `None` when there is no such part.
    pub fn part(&self, range: Range<usize>) -> Option<Self> {
        let inside = range.start <= range.end && range.end <= self.len;
        inside.then(|| Self { map: Arc::clone(&self.map), start: self.start + range.start, len: range.len() })
    }

    /// This part and the one that begins where it ends; `None` when `next` does not.
    pub fn with(&self, next: &Self) -> Option<Self> {
        let follows = Arc::ptr_eq(&self.map, &next.map) && self.start + self.len == next.start;
        follows.then(|| Self { len: self.len + next.len, ..self.clone() })
    }

    pub fn bytes(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }

    /// Whole numbers of floats, at an address for floats; nothing otherwise.
    #[inline]
    pub fn floats(&self) -> &[f32] {
        // SAFETY: every bit pattern is a float.
        let (before, floats, after) = unsafe { self.bytes().align_to() };
        if before.is_empty() && after.is_empty() { floats } else { &[] }
    }
}

/// The bytes of floats, as they are in memory.
pub(super) fn bytes_of(floats: &[f32]) -> &[u8] {
    // SAFETY: the same memory, and floats have no padding.
    unsafe { slice::from_raw_parts(floats.as_ptr().cast(), size_of_val(floats)) }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_part_is_inside_and_floats_come_back() {
        let mut file = tempfile::tempfile().unwrap();
        let floats = [1.0, -0.0, f32::MIN_POSITIVE];
        file.write_all(bytes_of(&floats)).unwrap();
        let whole = Span::of(&file).unwrap();
        assert_eq!(whole.floats(), floats);
        let part = whole.part(4..12).unwrap();
        assert_eq!((part.floats(), part.part(4..8).unwrap().floats()), (&floats[1..], &floats[2..]));
        let (first, second) = (whole.part(0..4).unwrap(), whole.part(4..8).unwrap());
        assert_eq!(first.with(&second).map(|both| both.floats().len()), Some(2));
        assert!(second.with(&first).is_none() && first.with(&whole.part(8..12).unwrap()).is_none());
        assert!(part.part(4..9).is_none() && part.part(8..8).is_some_and(|none| none.bytes().is_empty()));
        assert!(whole.part(1..5).unwrap().floats().is_empty(), "not at an address for floats");
    }
}
