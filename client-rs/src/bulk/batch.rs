//! Cuts a stream of entries into batches, by bytes and by count.

use std::hash::{DefaultHasher, Hash, Hasher};

use prost::Message;
use vecgrid_proto::v1 as pb;

use crate::call::request_id;

/// Entries that travel together.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) entries: Vec<pb::Entry>,
    /// Position of the first entry in the input; batches are contiguous.
    pub(crate) first: u64,
    /// On the wire, without the request's own few bytes.
    pub(crate) bytes: usize,
    pub(crate) request_id: String,
    /// The ids, hashed, as often as they occur.
    pub(crate) ids: Vec<u64>,
    /// A try of it ended unknown.
    pub(crate) unknown: bool,
}

impl Batch {
    fn new(entries: Vec<pb::Entry>, first: u64) -> Self {
        let bytes = entries.iter().map(wire_bytes).sum();
        let ids = entries.iter().map(|entry| hash(&entry.id)).collect();
        Self { entries, first, bytes, request_id: request_id(), ids, unknown: false }
    }

    /// Two halves under fresh request ids. A refused batch had no effect, so nothing is known to be
    /// unknown about them.
    pub(crate) fn halves(mut self) -> [Self; 2] {
        let half = self.entries.len() / 2;
        let rest = self.entries.split_off(half);
        let second = Self::new(rest, self.first + half as u64);
        [Self::new(self.entries, self.first), second]
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// Bytes of an entry inside a request: its own, its tag and its length.
fn wire_bytes(entry: &pb::Entry) -> usize {
    let length = entry.encoded_len();
    1 + prost::encoding::encoded_len_varint(length as u64) + length
}

/// Collects entries until a batch is full.
#[derive(Debug)]
pub(crate) struct Batcher {
    limit_bytes: usize,
    limit_entries: usize,
    entries: Vec<pb::Entry>,
    bytes: usize,
    /// Position of the first waiting entry.
    first: u64,
}

impl Batcher {
    pub(crate) fn new(limit_bytes: usize, limit_entries: usize) -> Self {
        Self { limit_bytes, limit_entries, entries: Vec::new(), bytes: 0, first: 0 }
    }

    /// Takes an entry; gives back the batch that it filled, or did not fit into.
    pub(crate) fn push(&mut self, entry: pb::Entry) -> Option<Batch> {
        let bytes = wire_bytes(&entry);
        let full = if self.bytes + bytes > self.limit_bytes { self.take() } else { None };
        self.entries.push(entry);
        self.bytes += bytes;
        // When the old ones were just cut off there is room for at least this one.
        if full.is_none() && (self.entries.len() >= self.limit_entries || self.bytes >= self.limit_bytes) {
            return self.take();
        }
        full
    }

    /// Position of the first entry that waits.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Whatever waits.
    pub(crate) fn take(&mut self) -> Option<Batch> {
        if self.entries.is_empty() {
            return None;
        }
        self.bytes = 0;
        let batch = Batch::new(std::mem::take(&mut self.entries), self.first);
        self.first += batch.entries.len() as u64;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(id: usize, bytes: usize) -> pb::Entry {
        pb::Entry { id: id.to_string(), metadata_json: "x".repeat(bytes), ..pb::Entry::default() }
    }

    fn cut(limit_bytes: usize, limit_entries: usize, sizes: &[usize]) -> Vec<Batch> {
        let mut batcher = Batcher::new(limit_bytes, limit_entries);
        let mut batches: Vec<Batch> = Vec::new();
        for (id, &size) in sizes.iter().enumerate() {
            batches.extend(batcher.push(entry(id, size)));
        }
        batches.extend(batcher.take());
        assert!(batcher.take().is_none());
        batches
    }

    #[test]
    fn batches_keep_order_and_limits_and_lose_nothing() {
        let sizes: Vec<usize> = (0..500).map(|i| (i * 37) % 301).collect();
        let batches = cut(2_000, 20, &sizes);
        let mut next = 0;
        for batch in &batches {
            assert_eq!(batch.first, next);
            assert!(
                batch.entries.len() <= 20 && batch.bytes <= 2_000,
                "{} {}",
                batch.entries.len(),
                batch.bytes
            );
            for (offset, entry) in batch.entries.iter().enumerate() {
                assert_eq!(entry.id, (next as usize + offset).to_string());
            }
            next += batch.entries.len() as u64;
        }
        assert_eq!(next, 500);
    }

    #[test]
    fn the_bytes_are_those_of_the_encoded_request() {
        let batch = cut(usize::MAX, 100, &[0, 1, 127, 128, 16_384, 40]).remove(0);
        let request = pb::UpsertRequest { entries: batch.entries, ..pb::UpsertRequest::default() };
        assert_eq!(request.encoded_len(), batch.bytes);
    }

    #[test]
    fn a_giant_travels_alone() {
        let lengths: Vec<usize> =
            cut(1_000, 10, &[10, 10, 5_000, 10]).iter().map(|b| b.entries.len()).collect();
        assert_eq!(lengths, [2, 1, 1]);
        assert_eq!(cut(1_000, 10, &[5_000, 5_000]).len(), 2);
    }

    #[test]
    fn halves_cover_the_whole() {
        let batch = cut(usize::MAX, 100, &[1, 2, 3]).remove(0);
        let [a, b] = batch.clone().halves();
        assert_eq!((a.first, a.entries.len(), b.first, b.entries.len()), (0, 1, 1, 2));
        assert_eq!(a.bytes + b.bytes, batch.bytes);
        assert!(a.request_id != b.request_id && a.request_id != batch.request_id);
    }
}
